"""The fused step, interpreted, against the plain form for accelerators, and lowered for a GPU that is not here."""

import os
import subprocess
import sys
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractDevice, AbstractMesh, use_abstract_mesh
from jaxtyping import Array

from sobolev.agents.dreamer import fused, rollouts
from sobolev.agents.dreamer.behavior import Actor, imagine
from sobolev.agents.dreamer.config import SIZES, BehaviorConfig, ModelConfig
from sobolev.agents.dreamer.method import make
from sobolev.agents.dreamer.rssm import RSSM
from sobolev.errors import UserError
from sobolev.nn import cast_floating
from sobolev.nn.fused import kernels as fused_kernels
from sobolev.system import target
from sobolev.system.target import check_fused_step, fused_step, traced_for
from tests import tiny

# On a GPU newer versions of jax warn of every kernel.
TRITON = "ignore:The Pallas Triton backend is deprecated:DeprecationWarning"
pytestmark = [pytest.mark.long, pytest.mark.filterwarnings(TRITON)]

TINY = ModelConfig(deter=64, hidden=16, classes=4, units=16, rows=4, blocks=4)
ODD = replace(TINY, deter=96, hidden=48, classes=5, rows=6, blocks=2)
"""No side is a power of two, and the posterior's table has columns that are no class."""

NEAR_12M = replace(SIZES["12m"], deter=512, hidden=128, units=64)
"""The blocks, rows and classes of 12m, and several tiles and pieces of every side, as there."""


@pytest.fixture(autouse=True)
def _quick():
    with tiny.quickly(), jax.default_matmul_precision("highest"):  # on a GPU too
        yield


@dataclass(frozen=True)
class Case:
    """Arguments of `observe`, and what its results are weighed with."""

    networks: rollouts.Observed
    state: Any
    inputs: tuple[Array, ...]
    weights: list[Array]


def case(config: ModelConfig, steps: int, batch: int, dtype: Any) -> Case:
    """Random networks whose biases and scales are not those of a fresh agent, and a random window with first steps."""
    keys = iter(jax.random.split(jax.random.key(1), 100))

    def normal(*shape: int, scale: float = 1.0) -> Array:
        return (scale * jax.random.normal(next(keys), shape)).astype(dtype)

    rssm = cast_floating(RSSM.init(next(keys), 3, 5, config), dtype)
    step, _ = rollouts.networks(rssm.cell(), rssm.action_in)
    networks = rollouts.Observed(step, rssm.posterior.first_kernel[: config.deter], rssm.posterior)
    shifted = [x + normal(*x.shape, scale=0.1).astype(x.dtype) if x.ndim == 1 else x for x in jax.tree.leaves(networks)]
    networks = jax.tree.unflatten(jax.tree.structure(networks), shifted)
    stoch = config.rows * config.classes
    keep = (jax.random.uniform(next(keys), (steps, batch, 1)) > 0.2).astype(dtype)
    uniform = jax.random.uniform(next(keys), (steps, batch, config.rows))
    state = rollouts.begun(normal(batch, config.deter, scale=0.3), normal(batch, stoch), jnp.ones((batch, 1), dtype))
    inputs = normal(steps, batch, config.deter), normal(steps, batch, config.hidden), keep, uniform
    sides = (config.deter,), (stoch,), (config.rows, config.classes)
    return Case(networks, state, inputs, [normal(steps, batch, *side) for side in sides])


def learned(observe: Any, given: Case) -> Any:
    """Results, and gradients for networks, state, and the inputs that have one."""

    def loss(networks: Any, state: Any, action: Array, token: Array) -> tuple[Array, Any]:
        outputs = observe(networks, state, (action, token, *given.inputs[2:]))
        wide = [(x.astype(jnp.float32), w.astype(jnp.float32)) for x, w in zip(outputs, given.weights, strict=True)]
        return sum((jnp.sum(x * w) for x, w in wide), jnp.zeros(())), outputs

    with traced_for("accelerator"):
        gradient = jax.jit(jax.grad(loss, (0, 1, 2, 3), has_aux=True))
        gradients, outputs = gradient(given.networks, given.state, *given.inputs[:2])
    return outputs, gradients


def away_from_ends(given: Case) -> Case:
    """The same draws, from the middle of what each class has of [0, 1): rounding makes no other class of it."""
    with traced_for("accelerator"):
        _, stochs, probs = jax.jit(rollouts.observe)(given.networks, given.state, given.inputs)
    samples, ends = stochs.reshape(probs.shape).astype(jnp.float32), jnp.cumsum(probs, -1)
    middle = jnp.sum(samples * (ends - probs / 2), -1)
    return replace(given, inputs=(*given.inputs[:3], middle))


def assert_close(new: Any, old: Any, share: float) -> None:
    """Every array up to a share of the largest number in it."""
    for (path, x), y in zip(jax.tree.leaves_with_path(new), jax.tree.leaves(old), strict=True):
        x, y = (np.asarray(each.astype(jnp.float32)) for each in (x, y))
        np.testing.assert_allclose(x, y, rtol=0, atol=share * np.abs(y).max(), err_msg=jax.tree_util.keystr(path))


@pytest.mark.parametrize(
    ("config", "steps", "batch", "dtype", "share"),
    [
        (TINY, 3, 3, jnp.float32, 1e-5),
        (TINY, 3, 3, jnp.bfloat16, 2e-2),
        (ODD, 10, 17, jnp.float32, 1e-5),
        (NEAR_12M, 2, 5, jnp.float32, 1e-5),
        (NEAR_12M, 2, 5, jnp.bfloat16, 2e-2),
    ],
    ids=["tiny", "tiny-bfloat16", "odd", "near-12m", "near-12m-bfloat16"],
)
def test_a_window_and_its_gradients_are_those_of_the_plain_form(
    config: ModelConfig, steps: int, batch: int, dtype: Any, share: float
) -> None:
    given = away_from_ends(case(config, steps, batch, dtype))
    plain, other = (learned(observe, given) for observe in (rollouts.observe, fused.observe))
    assert np.array_equal(plain[0][1].astype(jnp.float32), other[0][1].astype(jnp.float32)), "other latents are drawn"
    assert_close(other, plain, share)


def test_kernels_that_would_be_wrong_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison fails where the norm in the kernels has another epsilon."""
    given = case(TINY, 2, 3, jnp.float32)
    plain = learned(rollouts.observe, given)
    monkeypatch.setattr(fused_kernels, "NORM_EPSILON", 1e-2)
    with pytest.raises(AssertionError):
        assert_close(learned(fused.observe, given), plain, 1e-5)


@pytest.mark.parametrize(("config", "starts"), [(ODD, 19), (NEAR_12M, 70)], ids=["odd", "near-12m"])
def test_imagined_steps_are_those_of_the_plain_form(config: ModelConfig, starts: int) -> None:
    keys = jax.random.split(jax.random.key(3), 4)
    rssm = RSSM.init(keys[0], 3, 5, config)
    actor = Actor.init(keys[1], 3, config, BehaviorConfig())
    deter = 0.3 * jax.random.normal(keys[2], (starts, config.deter))
    stoch = jax.nn.one_hot(jnp.arange(starts)[:, None] % config.classes, config.classes)
    stoch = jnp.tile(stoch, (1, config.rows, 1)).reshape(starts, -1)
    found = {}
    for form in ("accelerator", "fused"):
        jax.clear_caches()
        with traced_for(form):
            found[form] = jax.jit(lambda: imagine(rssm, actor, deter, stoch, 2, keys[3]))()
    jax.clear_caches()
    assert_close(found["fused"], found["accelerator"], 1e-5)


def test_a_draw_at_the_ends_of_its_range() -> None:
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(5), (6, 1)).astype(np.float32)
    padded = jnp.pad(probs, ((0, 0), (0, 0), (0, 3)))
    uniform = jnp.asarray([0, np.nextafter(np.float32(1), np.float32(0)), 0.2, 0.4, 0.6, 0.8], jnp.float32)[:, None]
    sample = fused_kernels.one_hot(padded, uniform, 5)
    assert np.array_equal(sample.sum(-1), np.ones((6, 1))) and not sample[..., 5:].any()
    index = np.asarray(sample.argmax(-1))[:, 0]
    assert index[0] == 0 and index[1] == 4
    ends = np.cumsum(probs[:, 0], -1)
    assert list(index[2:]) == [int(np.sum(e <= u)) for e, u in zip(ends[2:], np.asarray(uniform)[2:, 0], strict=True)]


def test_the_kernels_of_12m_are_lowered_for_a_gpu_that_is_not_here() -> None:
    shapes = jax.eval_shape(lambda: astuple(case(SIZES["12m"], 64, 16, jnp.bfloat16)))

    def gradient(*given: Any) -> Any:
        return learned(fused.observe, Case(*given))

    device = AbstractDevice(device_kind="NVIDIA H200", num_cores=132, platform="gpu")
    with use_abstract_mesh(AbstractMesh((), (), abstract_device=device)), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Triton in Pallas, by newer versions of jax
        text = jax.jit(gradient).trace(*shapes).lower(lowering_platforms=("cuda",)).as_text()
    kernels = ("gate", "multiply", "enter", "pull_state", "pull_gates", "pull_embedded")
    assert "@__gpu$xla.gpu.triton" in text and all(f'"fused_{name}"' in text for name in kernels)


def astuple(given: Case) -> tuple[Any, ...]:
    return given.networks, given.state, given.inputs, given.weights


def test_it_is_off_unless_asked_for_and_refused_where_it_has_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(target.FUSED_STEP, raising=False)
    check_fused_step()
    assert not fused_step()
    monkeypatch.setenv(target.FUSED_STEP, "yes")
    with pytest.raises(UserError, match="SOBOLEV_FUSED_STEP is yes: give 1"):
        check_fused_step()
    monkeypatch.setenv(target.FUSED_STEP, "1")
    assert fused_step()
    if jax.default_backend() == "cpu":
        with pytest.raises(UserError, match="is for GPUs of NVIDIA, and jax computes on cpu here: unset it"):
            check_fused_step()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"posterior_layers": 2}, "--model.posterior-layers 1"),
        ({"hidden": 40}, "--model.hidden to be divisible by 16"),
        ({"deter": 64}, "--model.deter over --model.blocks to be divisible by 16"),
        ({"classes": 2, "rows": 3}, "--model.classes from 9 on"),
    ],
)
def test_sizes_that_the_kernels_cannot_have(
    change: dict[str, int], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny.agent().config
    config = replace(config, model=replace(SIZES["1m"], **change))
    make(config, tiny.SPACES)
    monkeypatch.setenv(target.FUSED_STEP, "1")
    with pytest.raises(UserError, match=sentence):
        make(config, tiny.SPACES)


@pytest.mark.parametrize("size", list(SIZES))
def test_every_size_can_be_fused(size: str) -> None:
    fused.check(SIZES[size])


def test_pallas_is_imported_only_where_the_step_is_asked_for():
    """It takes a fifth of a second, at every start of a run."""
    program = "import sys, sobolev.agents.dreamer.agent; sys.exit('jax.experimental.pallas' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "src")}
    assert subprocess.run([sys.executable, "-c", program], env=environment, timeout=120).returncode == 0
