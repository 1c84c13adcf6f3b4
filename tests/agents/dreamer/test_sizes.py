"""Parameter counts of the published sizes (reference_vectors/README.md), and what a fresh agent is like."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.agents.dreamer.agent import Dreamer
from sobolev.agents.dreamer.config import SIZES, DreamerConfig
from sobolev.envs.specs import ArraySpec, Spaces
from tests import tiny

WALKER = Spaces(
    (
        ("height", ArraySpec((), "float32")),
        ("orientations", ArraySpec((14,), "float32")),
        ("velocity", ArraySpec((9,), "float32")),
    ),
    6,
)
PUBLISHED = {
    "1m": (640_867, 364_416, 66_111, 51_096, 50_316, 57_663, 41_153, 10_112),
    "12m": (9_738_019, 5_783_040, 853_503, 794_136, 791_052, 721_407, 656_129, 138_752),
}


def count(tree) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("size", PUBLISHED)
def test_parameter_counts(size):
    agent = Dreamer(DreamerConfig(model=SIZES[size], precision="float32"), WALKER)
    model = jax.eval_shape(agent.init, jax.random.key(0)).model
    world = model.world
    parts = (model, world.rssm, model.critic, world.decoder, model.actor, world.reward, world.cont, world.encoder)
    assert tuple(map(count, parts)) == PUBLISHED[size]


def test_a_fresh_agent():
    with tiny.quickly():
        state: Any = tiny.program(tiny.agent(), (2,)).initial_state()
    model = state.model
    for head in (model.world.reward, model.critic):
        assert not head.output.kernel.any() and not head.output.bias.any()
    for output in (model.actor.mean, model.actor.std):
        kernel = np.asarray(output.kernel)
        assert 0 < np.abs(kernel).max() <= 0.01 * 2 * 1.1368 / math.sqrt(kernel.shape[-2]) * (1 + 1e-6)
    assert np.abs(model.world.cont.output.kernel).max() > 0.1
    for slow, fast in zip(jax.tree.leaves(state.slow), jax.tree.leaves(model.critic), strict=True):
        np.testing.assert_array_equal(slow, fast)
    assert int(state.updates[0]) == 0 and float(state.scale.high[0]) == 0
    biases = [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(model) if "bias" in jax.tree_util.keystr(path)]
    assert len(biases) > 20 and not any(bias.any() for bias in biases)


def test_block_kernels_count_their_whole_input():
    """fan_in of the first one: deter + 3 · hidden · blocks; of the gates: deter."""
    with tiny.quickly():
        model = tiny.program(tiny.agent(), (2,)).initial_state().model.world.rssm
    for kernel, inputs in ((model.hidden.kernel, 32 + 3 * 16 * 4), (model.gates.kernel, 32)):
        wanted = 1 / math.sqrt(inputs)
        assert float(jnp.std(kernel)) == pytest.approx(wanted, rel=4 / math.sqrt(2 * kernel.size))
        assert 0.9 < float(jnp.abs(kernel).max()) / (2 * 1.1368 * wanted) <= 1.000001


def test_latents_fit_how_they_are_stored():
    assert max(size.classes for size in SIZES.values()) <= 256
    extras = tiny.agent().extras()
    assert (extras["deter"].shape, extras["stoch"].shape) == ((32,), (4,))
