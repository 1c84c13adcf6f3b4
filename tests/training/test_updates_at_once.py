"""Several updates in one call, as on an accelerator, are the same updates one by one."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny

pytestmark = pytest.mark.long


@pytest.mark.parametrize("seeds", [(2,), (0, 1)])
def test_loop_of_updates_equals_single_calls(seeds):
    program = tiny.program(tiny.agent(), seeds)
    with tiny.quickly():
        state, replay, metrics = program.initial_state(), tiny.filled(program, seeds), []
        for update in (5, 6, 7):
            state, replay, report = program.learn(state, replay, update)
            metrics.append(report.metrics)
        together, buffer, all_of_them = program.learn(program.initial_state(), tiny.filled(program, seeds), 5, 3)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), state, together)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool(jnp.all(a == b)), replay.steps, buffer.steps))
    assert int(buffer.taken) == int(replay.taken)
    for name, value in all_of_them.metrics.items():
        np.testing.assert_allclose(value, np.mean([m[name] for m in metrics], 0), rtol=1e-3, atol=1e-5)
    assert all_of_them.finite.shape == (len(seeds),) and bool(all_of_them.finite.all())
    assert jax.tree.all(jax.tree.map(lambda a, b: bool(jnp.all(a == b)), report.batch, all_of_them.batch))


def test_first_failure_is_the_batch_that_is_kept():
    program = tiny.program(tiny.agent(), (2,))
    with tiny.quickly():
        state: Any = program.initial_state()
        replay = tiny.filled(program, (2,))
        broken = dataclasses.replace(replay, steps=replay.steps | {"reward": replay.steps["reward"] * jnp.nan})
        before = jax.tree.map(np.array, state.model)
        state, _, report = program.learn(state, broken, 0, 3)
        _, _, first = program.learn(program.initial_state(), tiny.filled(program, (2,)), 0)
    assert not bool(report.finite[0]) and int(state.updates[0]) == 0
    jax.tree.map(np.testing.assert_array_equal, before, state.model)
    np.testing.assert_array_equal(report.batch.start, first.batch.start)
    np.testing.assert_array_equal(report.batch.environment, first.batch.environment)
