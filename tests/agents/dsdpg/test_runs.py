"""Runs of every method: broken off and resumed bit for bit, evaluated, loaded; seeds side by side and alone."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from sobolev.errors import UserError
from sobolev.experiments.sensitivity.runs import grouped
from sobolev.training.evaluation import evaluate, load_policy
from sobolev.training.loop import Training
from sobolev.training.start import start
from tests import tiny
from tests.agents import family
from tests.checkpoints import checkpoints
from tests.quick_runs import quick_runs
from tests.training.broken_off import Crash, at, crash

SEEDS = (0, 1, 2)


@pytest.fixture(autouse=True)
def _quick():
    with quick_runs():
        yield


def run(folder: Path, method: str) -> Path:
    config = dataclasses.replace(family.config(method, seeds=family.SEED), run=folder)
    assert start(config) == (folder, 0)
    return folder


def content(folder: Path) -> dict[str, np.ndarray]:
    loaded, arrays = checkpoints.content(folder / "checkpoint")
    assert loaded.iteration == 60 and loaded.meta["updates"] == 4 * 47
    return arrays


@pytest.mark.long
@pytest.mark.parametrize("method", ["dsdpg", "mage", "td3"])
def test_a_run_that_is_broken_off_ends_as_one_that_was_not(method: str, tmp_path: Path):
    wanted = run(tmp_path / "wanted", method)
    with pytest.MonkeyPatch.context() as patch:
        at(patch, 31, Training.save)
        at(patch, 37, crash)
        with pytest.raises(Crash):
            run(tmp_path / "run", method)
    ours, theirs = content(run(tmp_path / "run", method)), content(wanted)
    assert set(ours) == set(theirs)
    assert [name for name in ours if ours[name].tobytes() != theirs[name].tobytes()] == []
    assert (tmp_path / "run" / "scores.json").read_text() == (wanted / "scores.json").read_text()

    # what the run left: random steps first, actor and critics that learned, scores, and a policy that acts
    actions = theirs["steps/action"][:, 0]
    assert np.abs(actions[:12]).max() > 0.5 and theirs["agent/steps"].tolist() == [120]
    (metrics,) = [json.loads(line) for line in (wanted / "metrics.jsonl").read_text().splitlines()][-1:]
    assert metrics
    (found,) = evaluate(wanted, 2)
    assert len(found["returns"]) == 2 and found["method"] == method
    policy = load_policy(wanted)
    observation = {name: np.ones(2, np.float32) for name in family.SPACES.keys}
    first = policy(observation)
    np.testing.assert_array_equal(first, policy(observation))  # deterministic, without memory
    assert first.shape == (2,) and (np.abs(first) <= 1).all()
    with pytest.raises(UserError, match=f"{method}, which has no latent distributions"):
        grouped([wanted])


@pytest.mark.long
@pytest.mark.parametrize("method", ["dsdpg", "mage", "td3"])
def test_seeds_do_not_depend_on_the_company(method: str):
    """Three updates on the same data, the model's training among them: the same batches, and close parameters."""
    results: list[Any] = []
    for seeds in (SEEDS[-1:], SEEDS):
        program = family.program(method, seeds)
        steps = [
            family.steps_of(np.random.default_rng(seed), 5, 100, lambda n, a: a.sum(-1), terminal=True)
            for seed in seeds
        ]
        state, replay = family.observed(program, steps)
        for update in (19, 20, 21):
            state, replay, report = program.learn(state, replay, update)
        results.append(jax.tree.map(lambda leaf: np.asarray(leaf)[-1:], (state, report)))
    (state, report), (others, their_report) = results
    np.testing.assert_array_equal(report.batch.start, their_report.batch.start)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)  # noqa: E731
    jax.tree.map(close, state.model, others.model)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-4), report.metrics, their_report.metrics
    )


@pytest.mark.long
def test_an_update_does_not_copy_the_replay():
    """The compiled update, the model's training in it, takes less than a tenth of the replay's memory beside it."""
    program = family.program("mage")
    replay = program.initial_replay(tiny.ENVIRONMENTS, tiny.CAPACITY)
    analysis = program.trace("update", tiny.ENVIRONMENTS, tiny.CAPACITY).lower().compile().memory_analysis()
    assert analysis and 0 < analysis.temp_size_in_bytes < 0.1 * sum(leaf.nbytes for leaf in jax.tree.leaves(replay))


def test_images_are_refused():
    from sobolev.agents.dsdpg.networks import vector_size
    from sobolev.envs.specs import ArraySpec, Spaces

    with pytest.raises(UserError, match="is an image"):
        vector_size(Spaces((("camera", ArraySpec((8, 8, 3), "uint8")),), 2))
