"""Scores are kept with what made them."""

import json
from pathlib import Path
from typing import Any

import pytest

from sobolev.errors import UserError
from sobolev.reports.results.collect import collect
from sobolev.reports.results.runs import find, load
from tests.reports import made_up


def told(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text())


def test_a_run_is_kept_with_what_made_it(tmp_path: Path) -> None:
    run = made_up.run(tmp_path / "runs" / "a", seconds=1234.4)
    (place,) = collect([run], tmp_path / "scores")
    assert place == tmp_path / "scores" / "walker-walk-gpld-paper"
    assert {path.name for path in place.iterdir()} == {
        *("config.json", "scores.json", "train_scores.json", "evaluation.json", "run.json")
    }
    assert told(place) == {
        "command": "sobolev train walker-walk",
        "commit": "0123456789",
        "machine": "2 cores of A Chip, 24 GiB, Python 3.11.7, jax 0.10.1",
        "protocol": (
            "the paper's protocol: 12m parameters, 16 environments, action repeat 2, batch 16, batch length 64, "
            "horizon 25, train ratio 512, learning rate 4e-05; evaluation every 5000 env steps, 3 episodes, "
            "and 20 after training"
        ),
        "env_steps": 100_000,
        "wall_seconds": 1234,
    }
    (ours,) = load(place)
    (theirs,) = load(run)
    assert ours.facts["seconds"] == 1234 and ours.settings == theirs.settings and ours.seeds == theirs.seeds


def test_the_env_steps_of_a_kept_run_are_those_of_its_wall_time(tmp_path: Path) -> None:
    """Which go on after the last evaluation."""
    run = made_up.run(tmp_path / "a", end=20_000)
    made_up.write(run, "record.json", {"processes": [made_up.record(500.0, 24_000)]})
    (place,) = collect([run], tmp_path / "scores")
    (ours,), (theirs,) = load(place), load(run)
    assert (ours.facts["seconds"], ours.facts["env_steps"]) == (500, 24_000)
    assert ours.facts["env_steps"] == theirs.facts["env_steps"]
    (run / "record.json").unlink()
    collect([run], tmp_path / "scores")
    assert told(place)["env_steps"] == 20_000  # not known: that of the last evaluation


def test_variants_have_folders_of_their_own_and_say_what_they_changed(tmp_path: Path) -> None:
    runs = [made_up.run(tmp_path / name, penalty__rho=rho) for name, rho in (("a", 0.5), ("b", 0.25))]
    first, second = collect(runs, tmp_path / "scores")
    assert second.name.startswith("walker-walk-gpld-paper-") and len(second.name) == len(first.name) + 9
    assert told(second)["protocol"].startswith("preset paper: 12m") and "penalty.rho 0.25;" in told(second)["protocol"]
    assert told(second)["command"] == "unknown" and told(second)["wall_seconds"] is None
    assert collect(runs, tmp_path / "scores") == [first, second]
    assert len(find([tmp_path / "scores"])) == 2


def test_nobody_learns_where_a_run_lay(tmp_path: Path) -> None:
    run, command = made_up.run(tmp_path / "a", run=tmp_path / "a"), f"sobolev train t --run {tmp_path}/a --seeds 0 1"
    made_up.write(run, "record.json", {"processes": [made_up.record(1.0, 10) | {"command": command}]})
    (place,) = collect([run], tmp_path / "scores")
    assert told(place)["command"] == "sobolev train t --seeds 0 1"
    assert all(str(tmp_path) not in path.read_text() for path in place.iterdir())


def test_a_note_is_kept_and_a_kept_run_is_left_alone(tmp_path: Path) -> None:
    run = made_up.run(tmp_path / "a")
    (place,) = collect([run], tmp_path / "scores")
    (place / "run.json").write_text(json.dumps({**told(place), "note": "a busy machine", "commit": "old"}))
    collect([run], tmp_path / "scores")
    assert told(place)["note"] == "a busy machine" and told(place)["commit"] == "unknown"
    assert collect([place], tmp_path / "scores") == []


def test_what_cannot_be_kept_is_told(tmp_path: Path) -> None:
    run = made_up.run(tmp_path / "a")
    made_up.write(run, "scores.json", [{"task": "dmc_walker_walk", "method": "gpld", "seed": 0, "xs": [], "ys": []}])
    with pytest.raises(UserError, match="has no evaluation yet"):
        collect([run], tmp_path / "scores")
    (run / "config.json").unlink()
    with pytest.raises(UserError, match="is not a run of sobolev"):
        collect([run], tmp_path / "scores")
    assert not (tmp_path / "scores").exists()
