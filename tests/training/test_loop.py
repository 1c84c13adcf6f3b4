"""A tiny run from end to end: what it writes, says and counts, and how it stops at a non-finite update."""

import dataclasses
import json
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from sobolev.checkpoints.slots import Checkpoints
from sobolev.errors import UserError
from sobolev.training.loop import Training
from sobolev.training.start import start
from tests import tiny
from tests.checkpoints import checkpoints
from tests.quick_runs import quick_runs


@pytest.fixture(autouse=True)
def _quick():
    """All runs here have the seed and the replay of other tests, and so their compiled programs."""
    with quick_runs():
        yield


def run(folder: Path, **settings) -> Path:
    assert start(dataclasses.replace(tiny.config(seeds=(2,), **settings), run=folder)) == (folder, 0)
    return folder


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_what_a_run_writes_and_says(tmp_path, capfd):
    folder = run(tmp_path / "run")
    said = capfd.readouterr().out
    assert "gym:tests.spring:Spring-v0 gpld 12m, seed 2: trains 160 env steps, 112 updates of 4×8 each" in said
    assert f"complete at 160 env steps: sobolev evaluate {folder}" in said
    assert said.count("evaluation seed 2") == 3
    (scores,) = json.loads((folder / "scores.json").read_text())
    assert scores["seed"] == 2 and scores["method"] == "gpld" and scores["xs"] == [0, 60, 120]
    logged = [line for line in lines(folder) if "loss" in line]
    assert [line["step"] for line in logged] == [80, 120, 160]
    assert [line["updates"] for line in logged] == [32, 72, 112]
    for name in (
        "loss/reconstruction/position",
        "loss/dyn",
        "loss/replay_value",
        "penalty/posterior",
        "penalty/posterior_lambda",
        "penalty/gradient_norm",
    ):
        assert all(np.isfinite(line[name]) for line in logged), name
    assert all(line["penalty/gradient_share"] > 0 for line in logged)
    # the mean of 0.5 / sqrt(1 + u / 1000) over updates 0 to 31
    wanted = np.mean(0.5 / np.sqrt(1 + np.arange(32) / 1000))
    assert logged[0]["penalty/posterior_lambda"] == pytest.approx(wanted, rel=1e-5)


def test_returns_of_training_episodes_are_sums_of_the_rewards_in_replay(tmp_path):
    folder = run(tmp_path / "run", steps=100, evaluation__episodes=0)
    _, arrays = checkpoints.content(folder / "checkpoint")
    steps, found = {name: arrays[f"steps/{name}"] for name in ("first", "last", "reward", "action")}, []
    assert steps["first"][0].all()
    for e in range(tiny.ENVIRONMENTS):
        total, length = 0.0, 0
        for t in range(50):
            total, length = (0.0, 0) if steps["first"][t, 0, e] else (total, length)
            total, length = total + float(steps["reward"][t, 0, e]), length + 1
            if steps["last"][t, 0, e]:
                found.append((2 * t, total, length))
                assert t + 1 == 50 or steps["first"][t + 1, 0, e]
                assert not steps["action"][t, 0, e].any()
            assert not (steps["first"][t, 0, e] and steps["reward"][t, 0, e])
    episodes = [line for line in lines(folder) if "episode/return" in line]
    seen = [(line["step"], line["episode/return"], line["episode/length"]) for line in episodes if line["step"] < 100]
    assert len(seen) > 6
    np.testing.assert_allclose(sorted(seen), sorted(found), rtol=1e-6)


def test_a_non_finite_update_stops_the_run(tmp_path, monkeypatch):
    """With a sentence, its batch on the disk, and the checkpoint before it intact."""
    iterate = Training.iterate

    def poisoned(training: Training) -> None:
        if training.now.iteration == 40:
            training.save()
            state = training.now.state
            kernel = state.model.critic.output.kernel
            training.now.state = eqx.tree_at(lambda state: state.model.critic.output.kernel, state, kernel * jnp.nan)
        iterate(training)

    monkeypatch.setattr(Training, "iterate", poisoned)
    config = dataclasses.replace(tiny.config(seeds=(2,)), run=tmp_path / "run")
    with pytest.raises(UserError, match="seed 2.*learning rate"):
        start(config)
    (file,) = (tmp_path / "run" / "failure").iterdir()
    assert file.name == "seed-2-update-32.safetensors"
    batch = load_file(file)
    shapes = {name: array.shape for name, array in batch.items()}
    assert any(name.endswith("steps/observation/position") and shape == (4, 9, 3) for name, shape in shapes.items())
    assert any(name.endswith("loss") and np.isnan(array) for name, array in batch.items())
    loaded = Checkpoints(tmp_path / "run" / "checkpoint").load()
    assert loaded and loaded.iteration == 40
    assert all(np.isfinite(x).all() for name, x in loaded.state.items() if name.startswith("agent/"))


def test_the_first_steps_make_no_update(tmp_path):
    """Of a run that ends before training starts, the agent is the initial one."""
    folder = run(tmp_path / "run", steps=2 * 24)
    loaded = Checkpoints(folder / "checkpoint").load()
    assert loaded and loaded.meta["updates"] == 0
    initial = tiny.program(tiny.agent(), (2,)).initial_state()
    kernel = initial.model.world.rssm.gates.kernel
    (name,) = (name for name in loaded.state if name == "agent/model/world/rssm/gates/kernel")
    np.testing.assert_array_equal(loaded.state[name], jax.device_get(kernel))
