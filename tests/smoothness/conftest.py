"""A network that starts with a linear layer, and the reference numbers."""

import os
from collections.abc import Callable
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest


class Layer(eqx.Module):
    """Linear, RMS norm, SiLU, as the reference vectors define them; `kernel` None leaves the linear part out."""

    kernel: jax.Array | None
    bias: jax.Array | None
    scale: jax.Array

    def __call__(self, y: jax.Array) -> jax.Array:
        if self.kernel is not None and self.bias is not None:
            y = y @ self.kernel + self.bias
        return jax.nn.silu(y * jax.lax.rsqrt(jnp.mean(y * y) + 1e-4) * self.scale)


class Network(eqx.Module):
    """Satisfies LinearFirst: one or more hidden layers, softmax with a uniform part."""

    first_kernel: jax.Array
    first_bias: jax.Array
    layers: tuple[Layer, ...]
    last_kernel: jax.Array
    last_bias: jax.Array
    classes: int = eqx.field(static=True)
    uniform: float = eqx.field(static=True, default=0.01)

    def hidden(self, y: jax.Array) -> jax.Array:
        for layer in self.layers:
            y = layer(y)
        return y

    def probabilities(self, logits: jax.Array) -> jax.Array:
        return (1 - self.uniform) * jax.nn.softmax(logits, -1) + self.uniform / self.classes


def random_network(
    inputs: int = 6,
    hidden: int = 8,
    rows: int = 3,
    classes: int = 4,
    layers: int = 1,
    seed: int = 0,
    dtype: str = "float32",
) -> Network:
    """A network whose every parameter is random, of the given sizes."""
    rng = np.random.default_rng(seed)

    def draw(*shape: int, scale: float = 1.0, shift: float = 0.0) -> jax.Array:
        return jnp.asarray(shift + scale * rng.standard_normal(shape), dtype)

    first = Layer(None, None, draw(hidden, scale=0.2, shift=1))
    others = [
        Layer(draw(hidden, hidden, scale=hidden**-0.5), draw(hidden, scale=0.1), draw(hidden, scale=0.2, shift=1))
        for _ in range(layers - 1)
    ]
    kernel, bias = draw(inputs, hidden, scale=inputs**-0.5), draw(hidden, scale=0.1)
    last, last_bias = draw(hidden, rows * classes, scale=2 * hidden**-0.5), draw(rows * classes, scale=0.1)
    return Network(kernel, bias, (first, *others), last, last_bias, classes)


@pytest.fixture
def make_network() -> Callable[..., Network]:
    return random_network


@pytest.fixture
def make_inputs() -> Callable[..., jax.Array]:
    def make(states: int = 5, inputs: int = 6, seed: int = 1, dtype: str = "float32") -> jax.Array:
        return jnp.asarray(np.random.default_rng(seed).standard_normal((states, inputs)), dtype)

    return make


@pytest.fixture
def vectors() -> Callable[[str], dict[str, np.ndarray]]:
    """Reads one file of the reference numbers, from $REFERENCE_VECTORS or the copy beside the tests."""
    default = Path(__file__).parents[1] / "data" / "reference_vectors"

    def read(name: str) -> dict[str, np.ndarray]:
        return dict(np.load(Path(os.environ.get("REFERENCE_VECTORS", default)) / f"{name}.npz"))

    return read


@pytest.fixture
def make_reference_network(vectors: Callable[[str], dict[str, np.ndarray]]) -> Callable[..., Network]:
    """The posterior (name obs, logits obslogit) or the prior of gpld.npz; as many layers as the file holds."""

    def make(name: str, logits: str, params: dict[str, np.ndarray]) -> Network:
        number = sum(1 for i in range(100) if f"{name}{i}/kernel" in params)
        layers = [
            Layer(
                jnp.asarray(params[f"{name}{i}/kernel"]) if i else None,
                jnp.asarray(params[f"{name}{i}/bias"]) if i else None,
                jnp.asarray(params[f"{name}{i}norm/scale"]),
            )
            for i in range(number)
        ]
        classes = vectors("gpld")["inputs/eps_post"].shape[2]
        first = [jnp.asarray(params[f"{name}0/{part}"]) for part in ("kernel", "bias")]
        last = [jnp.asarray(params[f"{logits}/{part}"]) for part in ("kernel", "bias")]
        return Network(first[0], first[1], tuple(layers), last[0], last[1], classes)

    return make
