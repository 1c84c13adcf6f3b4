"""Reading the reference vectors: numbers of the public DreamerV3 code, and modules built from its parameters."""

import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from sobolev.agents.dreamer.rssm import RSSM, LatentTable
from sobolev.nn import MLP, BlockLinear, Convolution, ConvolutionStage, Head, Hidden, Linear, Norm

FOLDER = Path(os.environ.get("REFERENCE_VECTORS", Path(__file__).parent / "data" / "reference_vectors"))
UNIMIX = 0.01


def load(name: str) -> dict[str, np.ndarray]:
    """The arrays of one file."""
    with np.load(FOLDER / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


def group(arrays: dict, prefix: str) -> dict[str, Array]:
    """The arrays below a prefix, without it."""
    return {key.removeprefix(prefix + "/"): jnp.asarray(x) for key, x in arrays.items() if key.startswith(prefix + "/")}


def linear(params: dict, name: str) -> Linear:
    return Linear(params[f"{name}/kernel"], params[f"{name}/bias"])


def block_linear(params: dict, name: str) -> BlockLinear:
    return BlockLinear(params[f"{name}/kernel"], params[f"{name}/bias"])


def norm(params: dict, name: str) -> Norm:
    return Norm(params[f"{name}/scale"])


def hidden(params: dict, name: str) -> Hidden:
    """A layer `name` with its norm `name`norm, as in encoder and recurrent model."""
    return Hidden(linear(params, name), norm(params, f"{name}norm"))


def convolution(params: dict, name: str) -> Convolution:
    return Convolution(params[f"{name}/kernel"], params[f"{name}/bias"])


def stage(params: dict, name: str) -> ConvolutionStage:
    return ConvolutionStage(convolution(params, name), norm(params, f"{name}norm"))


def mlp(params: dict, name: str = "mlp") -> MLP:
    """Layers linear0, norm0, linear1, norm1, … as in decoder and heads."""
    numbers = range(sum(key.startswith(f"{name}/linear") and key.endswith("kernel") for key in params))
    return MLP(tuple(Hidden(linear(params, f"{name}/linear{i}"), norm(params, f"{name}/norm{i}")) for i in numbers))


def head(params: dict, output: str) -> Head:
    return Head(mlp(params), linear(params, output))


def table(params: dict, name: str, logits: str, classes: int) -> LatentTable:
    """The layers `name`0, `name`1, … and the logits."""
    count = sum(key.startswith(name) and key.endswith("/kernel") and key[len(name)].isdigit() for key in params)
    layers = tuple(hidden(params, f"{name}{i}") for i in range(count))
    return LatentTable(layers, linear(params, logits), classes, UNIMIX)


def rssm(params: dict, classes: int) -> RSSM:
    return RSSM(
        deter_in=hidden(params, "dynin0"),
        stoch_in=hidden(params, "dynin1"),
        action_in=hidden(params, "dynin2"),
        hidden=block_linear(params, "dynhid0"),
        hidden_norm=norm(params, "dynhid0norm"),
        gates=block_linear(params, "dyngru"),
        prior=table(params, "prior", "priorlogit", classes),
        posterior=table(params, "obs", "obslogit", classes),
    )


def assert_close(ours, theirs, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    """The tolerance of the reference vectors, unless one is given."""
    np.testing.assert_allclose(np.asarray(ours, np.float64), np.asarray(theirs, np.float64), rtol=rtol, atol=atol)
