"""The film of `sobolev evaluate --video` in the views of a run: at the policy's env step, touching nothing else."""

import dataclasses
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest

from sobolev.checkpoints.run_folder import locked, opened
from sobolev.cli import evaluate
from sobolev.config import configure, resolved
from sobolev.config.train import LogConfig
from sobolev.logs import videos
from sobolev.logs.sinks import RunLog
from sobolev.training import evaluation
from tests.logs.fake_wandb import Service
from tests.logs.test_sinks import events

STEP, FRAMES = 40, 6


FILM = [np.full((32, 64, 3), 40 * index, np.uint8) for index in range(FRAMES)]


def film(
    run: Path, episodes: int, video: Path, *_: Any, filmed: Callable[..., None] = lambda frames: None, **__: Any
) -> list[dict[str, Any]]:
    """Stands for `evaluation.evaluate`: a short film, and the results of two seeds."""
    videos.write_video(video, FILM)
    filmed(FILM)
    each = {"task": "dmc_walker_walk", "method": "gpld", "episodes": 1, "mean": 1.0, "std": 0.0, "returns": [1.0]}
    return [each | {"seed": seed, "truncated": 0, "env_steps": STEP} for seed in (3, 5)]


@pytest.fixture(autouse=True)
def _film(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "evaluate", film)
    monkeypatch.setattr("sobolev.system.jax_setup.configure", lambda folder: None)


def trained(folder: Path, log: LogConfig) -> dict[str, Any]:
    """A run of two rows in the folder; returns the state of its log at the checkpoint after them."""
    chosen = configure("walker-walk", preset="demo", settings={"run": folder, "seeds": (3, 5)})
    with opened(resolved(dataclasses.replace(chosen, log=log), "cpu")):
        pass
    written = RunLog(folder, "walker-walk", "gpld", (3, 5), log=log)
    written.write(STEP, {"loss": np.ones(2)})
    state = written.state()
    written.close()
    return json.loads(json.dumps(state))


@pytest.mark.parametrize("knows", [False, True])
def test_the_film_goes_where_the_run_logs(
    knows: bool, service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twice, and a training that resumes after that repeats no row and loses none."""
    run, log, video = tmp_path / "run", LogConfig(wandb="project"), tmp_path / "film.mp4"
    service.knows_resumed = knows
    state = trained(run, log)
    lines = (run / "metrics.jsonl").read_bytes()
    before = [event.step for event in events(run / "tensorboard" / "seed-3")]
    capsys.readouterr()
    for _ in range(2):
        assert evaluate.main([str(run), "--video", str(video)]) == 0
    told = capsys.readouterr()
    assert f"the video is also in Weights & Biases, {run}/tensorboard\n" in told.out and not told.err
    assert (run / "metrics.jsonl").read_bytes() == lines

    found = events(run / "tensorboard" / "seed-3")
    images = [(event.step, value) for event in found for value in event.summary.value if value.HasField("image")]
    assert [(step, value.tag) for step, value in images] == 2 * [(STEP, "evaluation/video")]
    assert not any(event.HasField("session_log") for event in found), "no point is hidden"
    assert [event.step for event in found][: len(before)] == before
    gif = imageio.imread(io.BytesIO(images[0][1].image.encoded_image_string), index=None)
    assert gif.shape == (FRAMES, 16, 32, 3) and (images[0][1].image.height, images[0][1].image.width) == (16, 32)
    np.testing.assert_allclose(gif.mean((1, 2, 3)), 40 * np.arange(FRAMES), atol=6)
    assert not any(
        value.HasField("image") for event in events(run / "tensorboard" / "seed-5") for value in event.summary.value
    )

    resumed = RunLog(run, "walker-walk", "gpld", (3, 5), log=log, state=state)
    resumed.write(2 * STEP, {"loss": np.ones(2)})
    resumed.close()
    (rows,) = service.rows.values()
    numbers = [row["_step"] for row in rows]
    assert numbers == sorted(set(numbers)) and [row["env_steps"] for row in rows] == 4 * [STEP] + 2 * [2 * STEP]
    assert [row["seed-3/evaluation/video"] for row in rows[2:4]] == 2 * [("video", str(video), "mp4")]
    assert [{name for name in row if name.startswith("seed")} for row in rows[4:]] == [{"seed-3/loss"}, {"seed-5/loss"}]


@pytest.mark.parametrize("failure", ["missing", "offline"])
def test_a_view_that_fails_loses_nothing(
    failure: str, service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the result, nor what the other views get; the exit status tells of the film alone."""
    run = tmp_path / "run"
    trained(run, LogConfig(wandb="project", sinks=("tests.logs.test_views:BROKEN",)))
    if failure == "missing":
        monkeypatch.setitem(sys.modules, "wandb", None)
    service.fails = ConnectionError("no network")
    capsys.readouterr()
    assert evaluate.main([str(run), "--video", str(tmp_path / "film.gif"), "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out) == json.loads((run / "evaluation.json").read_text())
    why = "not installed: pip install 'sobolev[wandb]'" if failure == "missing" else "no network"
    assert [line.split(" cannot be written")[0] for line in told.err.splitlines()] == [
        "sobolev: wandb",
        "sobolev: tests.logs.test_views:BROKEN",
    ]
    assert why in told.err
    found = events(run / "tensorboard" / "seed-3")
    assert sum(value.HasField("image") for event in found for value in event.summary.value) == 1


def test_nothing_is_added_while_the_run_trains(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    trained(run, LogConfig(wandb="project"))
    before = len(events(run / "tensorboard" / "seed-3"))
    with locked(run):
        assert evaluate.main([str(run), "--video", str(tmp_path / "film.mp4")]) == 0
    told = capsys.readouterr()
    assert f"another process is training in {run}: the video is in" in told.err and "also in" not in told.out
    assert len(events(run / "tensorboard" / "seed-3")) == before and len(*service.rows.values()) == 2


def test_a_run_without_views_gets_its_film_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    trained(run, LogConfig(tensorboard=False))
    assert evaluate.main([str(run), "--video", str(tmp_path / "film.mp4")]) == 0
    told = capsys.readouterr()
    assert told.out.endswith(f"video: {tmp_path}/film.mp4\n") and not told.err
    assert not (run / "tensorboard").exists()


def test_an_older_film_is_not_taken_for_a_new_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, video = tmp_path / "run", tmp_path / "film.mp4"
    trained(run, LogConfig())
    before = len(events(run / "tensorboard" / "seed-3"))
    results = film(run, 1, video)
    monkeypatch.setattr(evaluation, "evaluate", lambda *_, **__: results)
    assert evaluate.main([str(run), "--video", str(video)]) == 1
    assert "film.mp4" not in capsys.readouterr().out and len(events(run / "tensorboard" / "seed-3")) == before


def test_long_films_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames are left out evenly, and those that stay are shown longer."""
    monkeypatch.setattr(videos, "MOST_FRAMES", 5)
    found = videos.excerpt(Path("film.mp4"), FILM)
    frames = imageio.imread(io.BytesIO(found.encoded), index=None)
    np.testing.assert_allclose(frames.mean((1, 2, 3)), [0, 80, 160], atol=6)
    assert imageio.immeta(io.BytesIO(found.encoded))["duration"] == 2 * 40
    assert found.film == Path("film.mp4") and (found.height, found.width) == (16, 32)
