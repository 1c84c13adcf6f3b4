"""Playing with a trained run: scores per seed, films, and a policy for one's own loop."""

import dataclasses
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from sobolev.envs import make
from sobolev.errors import UserError
from sobolev.training import playing
from sobolev.training.evaluation import evaluate, load_policy
from sobolev.training.start import start
from tests import tiny
from tests.quick_runs import quick_runs

SEEDS = (0, 1, 2)


@pytest.fixture(autouse=True)
def _quick():
    with quick_runs(None):
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three seeds that ended before its first update."""
    with quick_runs():
        folder = tmp_path_factory.mktemp("finished") / "run"
        start(dataclasses.replace(tiny.config(seeds=SEEDS, steps=20, evaluation__episodes=0), run=folder))
        return folder


def test_results_per_seed(finished):
    results = evaluate(finished, tiny.ENVIRONMENTS)
    assert [found["seed"] for found in results] == list(SEEDS)
    for found in results:
        assert found["method"] == "gpld" and found["episodes"] == len(found["returns"]) == 2
        assert found["mean"] == pytest.approx(np.mean(found["returns"]))
        assert found["std"] == pytest.approx(np.std(found["returns"]))
        assert found["env_steps"] == 20
    assert len({tuple(found["returns"]) for found in results}) == 3
    assert evaluate(finished, tiny.ENVIRONMENTS) == results


@pytest.mark.parametrize("at_once", [2, 3, 4])
def test_rounds_do_not_change_what_is_played(finished, monkeypatch, at_once):
    """Episodes have the seeds and the policy the draws that they would have all at once."""
    monkeypatch.setattr(playing, "AT_ONCE", 64)
    together = [found["returns"] for found in evaluate(finished, 7)]
    monkeypatch.setattr(playing, "AT_ONCE", at_once)
    in_rounds = [found["returns"] for found in evaluate(finished, 7)]
    np.testing.assert_allclose(in_rounds, together, rtol=1e-5)
    assert len(set(np.ravel(together))) == 21


@pytest.mark.parametrize(
    ("number", "rounds"), [(0, (0, 0)), (1, (1, 1)), (32, (1, 32)), (33, (2, 17)), (1000, (32, 32))]
)
def test_the_size_of_rounds(number, rounds):
    assert playing.rounds(number) == rounds


def test_an_episode_is_truncated_at_the_limit(finished):
    """Its return so far counts; an episode that ends by itself just then is whole."""
    whole, said = evaluate(finished, 2), []
    assert [found["truncated"] for found in whole] == [0, 0, 0]
    none = evaluate(finished, 2, max_steps=12, say=said.append)
    assert [found["returns"] for found in none] == [found["returns"] for found in whole] and not said
    cut = evaluate(finished, 2, max_steps=2, say=said.append)
    assert [found["truncated"] for found in cut] == [2, 2, 2]
    assert said == [playing.Limit(2, 1, "--max-steps").sentence()] and "--max-steps N" in said[0]
    assert all(0 < value <= 2 for found in cut for value in found["returns"])


def test_long_episodes_are_told_of():
    said, shown, now = [], [], [0.0]
    waiting = playing.Waiting(said.append, shown.append, lambda: now[0])
    for step in range(100):
        now[0] = float(step)
        waiting(2 * step, " of these")
    assert said == [f"evaluation of these: env step {2 * at} of its episodes, after {at} s" for at in (30, 60, 90)]
    assert len(shown) == 100


def test_a_film(finished, tmp_path):
    """One frame per step of the first episode, its first observation included."""
    evaluate(finished, tiny.ENVIRONMENTS, tmp_path / "film.mp4")
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(tmp_path / "film.mp4")]
    raw = subprocess.run([*command, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True, check=True).stdout
    frames = np.frombuffer(raw, np.uint8).reshape(-1, 480, 480, 3)
    assert 2 <= len(frames) <= 13
    levels = frames.astype(float).mean((1, 2, 3))
    np.testing.assert_allclose(levels, 20 * np.arange(len(frames)), atol=6)


def test_a_run_without_a_checkpoint(finished, tmp_path):
    (tmp_path / "config.json").write_text((finished / "config.json").read_text())
    with pytest.raises(UserError, match="has no checkpoint yet"):
        evaluate(tmp_path, 1)
    with pytest.raises(UserError, match="has no checkpoint yet"):
        load_policy(tmp_path)
    with pytest.raises(UserError, match="is not a run of sobolev"):
        load_policy(tmp_path / "nowhere")


def observation(value: float = 0.0) -> dict[str, np.ndarray]:
    return {"position": np.full(3, value), "velocity": np.full(2, value)}


def test_a_policy_acts_and_remembers(finished):
    policy, same = load_policy(finished, 2), load_policy(finished, 2)
    actions = [policy(observation(x)) for x in (0.0, 1.0, 2.0)]
    assert all(a.shape == (1,) and a.dtype == np.float32 and np.abs(a).max() <= 1 for a in actions)
    np.testing.assert_array_equal([same(observation(x)) for x in (0.0, 1.0, 2.0)], actions)
    policy.reset()
    again = [policy(observation(x)) for x in (0.0, 1.0, 2.0)]
    assert not np.array_equal(again, actions)


def test_a_policy_plays_an_episode(finished):
    policy, environment = load_policy(finished, 2), make(tiny.TASK, 1)
    step, length = environment.reset(0), 0
    while not step.last:
        step, length = environment.step(policy(step.observation)), length + 1
    assert 1 <= length <= 12


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"position": np.zeros(3)}, r"'velocity' of shape \(2,\) and got nothing"),
        (observation() | {"position": np.zeros(4)}, r"'position' of shape \(3,\) and got shape \(4,\)"),
    ],
)
def test_a_policy_refuses_other_observations(finished, wrong, sentence):
    with pytest.raises(UserError, match=sentence):
        load_policy(finished, 2)(wrong)


def test_a_policy_refuses_an_observation_with_nan(finished):
    with pytest.raises(UserError, match="NaN|finite"):
        load_policy(finished, 2)(observation(np.nan))


def test_an_unknown_seed(finished):
    with pytest.raises(UserError, match="has no seed 7: it has 0, 1, 2"):
        load_policy(finished, 7)
