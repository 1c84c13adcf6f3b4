"""Observations that are bytes but no images are numbers for every method."""

import jax
import numpy as np
import pytest

from sobolev.config.registry import agent_of
from sobolev.envs.specs import ArraySpec, Spaces
from tests import tiny
from tests.agents import family

BYTES = Spaces(
    (
        ("", ArraySpec((), "uint8")),
        ("a/board", ArraySpec((2, 3), "uint8")),
        ("speed", ArraySpec((2,), "float32")),
    ),
    1,
)


@pytest.mark.parametrize("method", ["gpld", "dreamer", *family.METHODS])
def test_every_method_takes_byte_vectors(method: str):
    """Traced under strict promotion of dtypes: an update on stored bytes, and an action from them."""
    config = tiny.config(method=method) if method in ("gpld", "dreamer") else family.config(method)
    program = tiny.program(agent_of(config, BYTES), (0,))
    state, replay = program.state_shapes(), jax.eval_shape(lambda: program.initial_replay(tiny.ENVIRONMENTS, 400))
    stored = replay.steps["observation"]
    assert {name: array.dtype for name, array in stored.items()} == {
        name: np.dtype(spec.dtype) for name, spec in BYTES.observation
    }
    learned, *_ = jax.eval_shape(program.functions.learn, state, replay, np.int32(0))
    assert jax.tree.map(lambda leaf: leaf.shape, learned) == jax.tree.map(lambda leaf: leaf.shape, state)
