"""Runs from images: resumed bit for bit, with replay on the device or the host, and what they leave to look at."""

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import jax
import numpy as np
import pytest

from sobolev.agents.api import Report
from sobolev.config import TrainConfig
from sobolev.errors import UserError
from sobolev.logs import dreams
from sobolev.logs.dreams import Dream
from sobolev.training import evaluation
from sobolev.training.loop import Training
from sobolev.training.program import Program
from tests import tiny
from tests.quick_runs import quick_runs
from tests.training.test_resume import content, crash_late, run

pytestmark = pytest.mark.long

SEEDS = (2,)
CAPACITY = 48
"""Steps per environment of replay, fewer than a run has."""


def config(**settings: Any) -> TrainConfig[Any]:
    """A run of the dot from its images."""
    pixels = {name.replace(".", "__"): value for name, value in tiny.PIXELS.items()}
    return tiny.config(tiny.DOT, seeds=SEEDS, **(pixels | settings))


def assert_same(folder: Path, wanted: Path) -> None:
    """All that is needed to go on, and all scores. How much older steps a folder holds depends on when it was saved."""
    ours, theirs = content(folder), content(wanted)
    assert set(ours) == set(theirs)
    kept = slice(-CAPACITY, None)
    for name in ours:
        at = kept if name.startswith("steps/") else ...
        assert ours[name][at].tobytes() == theirs[name][at].tobytes(), name
    for name in ("scores.json", "train_scores.json"):
        assert json.loads((folder / name).read_text()) == json.loads((wanted / name).read_text())


@pytest.fixture(autouse=True)
def _quick():
    with quick_runs(CAPACITY):
        yield


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never broken off, with dreams at its evaluations."""
    with quick_runs(CAPACITY):
        folder = tmp_path_factory.mktemp("straight") / "run"
        return run(folder, config(log__dreams=60, log__tensorboard=True))


def test_a_run_from_images_is_resumed_bit_for_bit(straight, tmp_path):
    crash_late(tmp_path / "run", (41,), 52, config())
    assert_same(run(tmp_path / "run", config()), straight)
    arrays = content(straight)
    images = arrays["steps/observation/image"]
    assert images.dtype == np.uint8 and images.shape[-3:] == (16, 16, 3) and len(np.unique(images)) == 2
    assert not any(name.startswith("steps/observation/") and "image" not in name for name in arrays)
    assert arrays["agent/updates"].tolist() == [112]


def test_a_run_with_replay_in_host_memory_is_resumed_bit_for_bit(tmp_path, capfd):
    """Over the wrap of its ring, and broken off twice."""
    host = config(replay__memory="host")
    wanted = run(tmp_path / "whole", host)
    assert "in host memory" in capfd.readouterr().out
    crash_late(tmp_path / "run", (33,), 35, host)
    crash_late(tmp_path / "run", (47,), 50, host)
    assert_same(run(tmp_path / "run", host), wanted)


def test_a_run_may_move_to_host_memory(straight, tmp_path):
    """The first update after it is made on the same batch, and the run ends with as many."""
    batches = []

    def keep(training: Training, reports: list[Report]) -> None:
        if training.now.iteration == 34:
            batch = reports[-1].batch
            chosen = (batch.environment, batch.start, batch.steps["observation"])
            batches.append(jax.tree.map(np.array, chosen))

    for memory in ("device", "host"):
        crash_late(tmp_path / memory, (33,), 35, config())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Training, "check_finite", keep)
            run(tmp_path / memory, config(replay__memory=memory))
    jax.tree.map(np.testing.assert_array_equal, *batches)
    assert_same(tmp_path / "device", straight)
    assert content(tmp_path / "host")["agent/updates"].tolist() == [112]


def test_images_are_bytes_until_they_are_on_the_device(straight):
    """What goes into the compiled update and policy, and what comes out of replay, is uint8."""
    program, device, number = program_of(config()), jax.eval_shape, tiny.ENVIRONMENTS
    replay = device(lambda: program.initial_replay(number, 64))
    state = program.state_shapes()
    _, _, report = device(program.functions.learn, state, replay, np.int32(0))
    assert report.batch.steps["observation"]["image"].dtype == np.uint8
    assert replay.steps["observation"]["image"].dtype == np.uint8


def program_of(config: TrainConfig) -> Program:
    from sobolev.config.registry import agent_of
    from sobolev.training.environments import spaces

    return tiny.program(agent_of(config, spaces(config)), SEEDS)  # pyright: ignore[reportArgumentType]


def test_no_convolution_is_inside_a_loop():
    """On a CPU its gradient would be many times slower there."""
    program, number = program_of(config()), np.int32(0)
    replay, state = jax.eval_shape(lambda: program.initial_replay(tiny.ENVIRONMENTS, CAPACITY)), program.state_shapes()
    learn, (_, _, report) = jax.make_jaxpr(program.functions.learn, return_shape=True)(state, replay, number)
    outside, inside = convolutions(learn.jaxpr, False)
    assert (outside > 20, inside) == (True, 0)
    inspect = jax.make_jaxpr(program.functions.inspect)(state, report, number)
    outside, inside = convolutions(inspect.jaxpr, False)
    assert (outside > 6, inside) == (True, 0)


def convolutions(jaxpr: Any, looping: bool) -> tuple[int, int]:
    """How many convolutions there are outside of loops, and inside."""
    found = [0, 0]
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        found[looping] += name == "conv_general_dilated"
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                below = convolutions(inner, looping or name in ("scan", "while"))
                found = [a + b for a, b in zip(found, below, strict=True)]
    return found[0], found[1]


# What there is to see.


def test_dreams_are_kept_and_shown(straight):
    """At 60 and 120 env steps: a film of 24 steps at most, its twin in TensorBoard, and the error as a number."""
    films = sorted((straight / "dreams").iterdir())
    assert [film.name for film in films] == ["000000060.mp4", "000000120.mp4"]
    assert films[0].stat().st_size > 1000
    lines = [json.loads(line) for line in (straight / "metrics.jsonl").read_text().splitlines()]
    errors = [line["dream/image"] for line in lines if "dream/image" in line]
    assert len(errors) == 2 and all(0.0 < error < 1.0 for error in errors)
    (events,) = (straight / "tensorboard" / "seed-2").glob("events*")
    assert events.read_bytes().count(b"GIF89a") == 2


def test_a_dream_on_request(straight, tmp_path):
    evaluation.evaluate(straight, tiny.ENVIRONMENTS, dream=tmp_path / "dream.gif")
    frames = imageio.imread(tmp_path / "dream.gif", index=None)
    assert frames.ndim == 4 and len(frames) >= 2
    evaluation.evaluate(straight, tiny.ENVIRONMENTS, dream=tmp_path / "dream.png")
    assert imageio.imread(tmp_path / "dream.png").shape[0] == 3 * 128 + 8
    with pytest.raises(UserError, match=r"sees images alone, so name a film"):
        evaluation.evaluate(straight, 1, dream=tmp_path / "dream.pdf")


def made_up(time: int = 4, size: int = 16) -> Dream:
    """Truth black, prediction white in the second episode only."""
    truth = np.zeros((time, 2, size, size, 3), np.uint8)
    prediction = truth.copy()
    prediction[:, 1] = 255
    vectors = np.zeros((time, 2, 3), np.float32)
    return Dream({"image": truth, "speed": vectors}, {"image": prediction, "speed": vectors + 0.5}, time // 2)


def test_the_layout_of_a_film():
    """Episodes side by side; truth, prediction and difference from top to bottom; the frame tells when it predicts."""
    frames = dreams.film(made_up())
    assert len(frames) == 4
    assert all(frame.shape[0] % 16 == frame.shape[1] % 16 == 0 for frame in frames)
    first, last = frames[0].astype(int), frames[-1].astype(int)
    assert first[0, 0].tolist() == [0, 160, 0] and last[0, 0].tolist() == [200, 0, 0]
    side, left, right = 128, 4 + 64, 4 + 64 + 136
    middles = [[int(last[4 + 64 + side * row, column, 0]) for row in range(3)] for column in (left, right)]
    assert middles == [[0, 0, 127], [0, 255, 255]]


def test_a_still_has_moments_of_the_first_episode_side_by_side():
    found = made_up(time=100)
    found.truth["image"][-1, 0] = 255
    picture = dreams.still(found).astype(int)
    assert picture.shape == (3 * 128 + 8, 10 * 136, 3)
    assert picture[0, ::136].tolist() == 5 * [[0, 160, 0]] + 5 * [[200, 0, 0]]
    truth, prediction, difference = (picture[68 + 128 * row, 68::136, 0].tolist() for row in range(3))
    assert (truth, prediction, difference) == (9 * [0] + [255], 10 * [0], 9 * [127] + [0])
    assert dreams.still(made_up()).shape[1] == 4 * 136, "no moment twice"


def test_errors_count_the_predicted_half():
    found = made_up()
    found.prediction["image"][:2] = 0  # what is observed does not count
    errors = found.errors()
    assert errors["speed"] == pytest.approx(0.5)
    assert errors["image"] == pytest.approx(np.sqrt(0.5))


def test_vectors_are_plotted(tmp_path):
    dreams.write(made_up(), tmp_path / "dream.png")
    picture = imageio.imread(tmp_path / "dream.png")
    assert picture.shape[0] > 100 and len(np.unique(picture.reshape(-1, picture.shape[-1]), axis=0)) > 20
    kept = dreams.keep(made_up(), tmp_path / "dreams", 60)
    assert sorted(kept) == ["dream/images", "dream/vectors"]
    for picture in kept.values():
        decoded = imageio.imread(io.BytesIO(picture.encoded), index=0)
        assert decoded.shape[:2] == (picture.height, picture.width)


def test_a_plot_has_something_of_every_observation():
    vectors = {"large": np.zeros((4, 1, 40), np.float32), "small": np.zeros((4, 1, 2), np.float32)}
    titles = [ax.get_title() for ax in dreams.plot(Dream(vectors, vectors, 2)).axes]
    assert titles == [f"large {i}" for i in range(22)] + ["small 0", "small 1"]


# A warm start.


def test_a_warm_start_takes_the_parts_and_nothing_else(straight, tmp_path):
    begun = config(warm_start=straight, steps=2)
    folder = run(tmp_path / "run", begun)
    ours, theirs, fresh = content(folder), content(straight), content(run(tmp_path / "fresh", config(steps=2)))
    parts = ("agent/model/world/encoder/", "agent/model/world/decoder/")
    taken = [name for name in ours if name.startswith(parts)]
    assert len(taken) > 20
    for name in ours:
        if name.startswith("agent/"):
            same = theirs if name in taken else fresh
            np.testing.assert_array_equal(ours[name], same[name], err_msg=name)


def test_a_warm_started_run_does_not_need_the_other_again(straight, tmp_path):
    source = tmp_path / "source"
    source.symlink_to(straight)
    warm = config(warm_start=source, steps=120)
    wanted = run(tmp_path / "wanted", warm)
    crash_late(tmp_path / "early", (), 30, warm)
    crash_late(tmp_path / "late", (40,), 45, warm)
    source.unlink()
    ours, theirs = content(wanted), content(straight)
    for part in ("encoder", "decoder"):
        name = f"agent/model/world/{part}/image/stages/0/convolution/kernel"
        assert np.any(ours[name] != theirs[name]), "what was taken is trained on"
    assert_same(run(tmp_path / "early", warm), wanted)
    assert_same(run(tmp_path / "late", warm), wanted)


def test_parts_that_do_not_fit_are_named_one_by_one(straight, tmp_path):
    larger = config(warm_start=straight, model__depth=2)
    with pytest.raises(UserError, match=r"encoder \('image/stages/0/.* decoder \('image/.*take the same --size"):
        run(tmp_path / "run", larger)
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match="has seeds 2 3, not 4|has no checkpoint|is not a run"):
        run(tmp_path / "run", config(warm_start=tmp_path / "nowhere"))


def test_warm_starts_are_runs_of_their_own(straight):
    from sobolev.checkpoints.run_folder import digest

    digests = {digest(config()), digest(config(warm_start=straight))}
    digests.add(digest(config(warm_start=straight, warm_start_parts=("encoder",))))
    assert len(digests) == 3
    assert digest(dataclasses.replace(config(), replay=config(replay__memory="host").replay)) in digests
