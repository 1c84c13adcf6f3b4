"""Runs and policies within a program that has told JAX to use 64 bits."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev import jacobian_penalty
from sobolev.config.train import TrainConfig
from sobolev.training.evaluation import evaluate, load_policy
from sobolev.training.start import start
from tests import tiny
from tests.agents import family
from tests.checkpoints import checkpoints
from tests.quick_runs import quick_runs


@contextmanager
def in_64_bits() -> Iterator[None]:
    """As in a user's script: for every thread of the process."""
    jax.config.update("jax_enable_x64", True)
    try:
        assert jnp.zeros(()).dtype == np.float64
        yield
    finally:
        jax.config.update("jax_enable_x64", False)


def config(method: str) -> TrainConfig:
    if method in ("gpld", "dreamer"):
        return tiny.config(method=method, seeds=(2,), steps=60, evaluation__every=40)
    return family.config(method, seeds=family.SEED, steps=60)


def run(folder: Path, method: str, steps: int = 60) -> dict[str, np.ndarray]:
    """The content of the last checkpoint of a run, begun or resumed."""
    assert start(dataclasses.replace(config(method), run=folder, steps=steps)) == (folder, 0)
    loaded, arrays = checkpoints.content(folder / "checkpoint")
    assert loaded.meta["updates"] > 0
    return arrays


@pytest.mark.long
@pytest.mark.parametrize("method", ["gpld", "dreamer", *family.METHODS])
def test_the_rest_of_a_program_may_have_64_bits(method: str, tmp_path: Path) -> None:
    """Training, evaluation and the policy give the same bits, and a run begun in one goes on in the other."""
    with quick_runs():
        wanted = run(tmp_path / "wanted", method)
        with in_64_bits():
            found = run(tmp_path / "found", method)
            returns, policy = evaluate(tmp_path / "wanted", 1), load_policy(tmp_path / "wanted")
            observation = {name: np.ones(spec.shape) for name, spec in policy.spaces.observation}
            actions = [policy(observation) for _ in range(2)]
        assert_equal(found, wanted)
        assert returns == evaluate(tmp_path / "found", 1)
        policy = load_policy(tmp_path / "found")
        for action in actions:
            assert action.dtype == np.float32
            np.testing.assert_array_equal(action, policy(observation))
        with in_64_bits():
            wanted = run(tmp_path / "wanted", method, 80)
        assert_equal(run(tmp_path / "found", method, 80), wanted)


def assert_equal(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    """To the bit, types included."""
    assert found.keys() == wanted.keys()
    differ = [
        name for name, x in found.items() if (x.dtype, x.tobytes()) != (wanted[name].dtype, wanted[name].tobytes())
    ]
    assert differ == []


def test_the_penalty_of_a_users_model_has_the_users_bits() -> None:
    with in_64_bits():
        x = jnp.ones((2, 3))
        found = jacobian_penalty(lambda x: jax.nn.softmax(jnp.stack([x, 2 * x])), x, jax.random.key(0))
        assert found.value.dtype == np.float64
