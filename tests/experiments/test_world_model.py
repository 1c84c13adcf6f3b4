"""The study of the world model alone: its data, its measures, one tiny study from end to end, and its figures."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.agents.dreamer.config import SIZES
from sobolev.checkpoints.run_folder import write_text
from sobolev.cli import study as command
from sobolev.config.codec import to_json
from sobolev.envs import VectorEnv, Workers
from sobolev.errors import UserError
from sobolev.experiments.api import Record
from sobolev.experiments.intervals import half_width, student
from sobolev.experiments.world_model import comparison, datasets, figures, prediction
from sobolev.experiments.world_model.config import WorldModelConfig, agent_config, check
from sobolev.experiments.world_model.datasets import Noise, TrainedPolicy, play
from sobolev.experiments.world_model.training import filled
from sobolev.smoothness import PenaltyConfig
from sobolev.smoothness.schedule import coefficient
from sobolev.training.playing import Limit
from tests import tiny
from tests.experiments import drawn

SEEDS = (0, 1)
MULTIPLES = (0.0, 0.1, 1.0)
SMALL = "--multiples 0 0.1 1 --seeds 0 1 --episodes 1 2 --held-out 1 --updates 3 --horizon 4 --states 8"
SMALL += " --batch-size 2 --batch-length 6"


@pytest.fixture(autouse=True, scope="module")
def _quick():
    with tiny.quickly():
        yield


@pytest.fixture
def envs():
    with Workers(0) as workers:
        yield VectorEnv(workers, "cartpole-swingup", 100, SEEDS, 2, 0)


@pytest.mark.long
@pytest.mark.parametrize("behavior", ["random", "mixed"])
def test_episodes_are_whole_and_depend_on_their_seed_alone(envs: VectorEnv, behavior: str) -> None:
    """1000 control steps at repeat 100: eleven steps, of which the last one's action is zero."""
    few, more = (play(envs, SEEDS, behavior, number, Limit(10_000, 2)) for number in (1, 3))
    assert [len(episodes) for episodes in more] == [3, 3]
    for episodes in more:
        for episode in episodes:
            assert episode["first"].tolist() == [True] + [False] * 10
            assert episode["last"].tolist() == [False] * 10 + [True]
            assert episode["reward"][0] == 0 and not episode["action"][-1].any() and episode["action"][:-1].all()
            assert np.abs(episode["action"]).max() <= 1
    for index in range(2):
        jax.tree.map(np.testing.assert_array_equal, few[index][0], more[index][0])
    starts = {tuple(episode["observation"]["position"][0]) for episodes in more for episode in episodes}
    actions = {float(episode["action"][0, 0]) for episodes in more for episode in episodes}
    assert len(starts) == len(actions) == 6


@pytest.mark.long
@pytest.mark.parametrize("behavior", ["random", "mixed"])
def test_held_out_episodes_have_actions_of_their_own(behavior: str) -> None:
    """Else a model that knows the training episodes by heart would know them."""
    with Workers(0) as workers:
        kinds = [
            VectorEnv(workers, "cartpole-swingup", 100, SEEDS, 2, kind)
            for kind in (datasets.TRAINING, datasets.HELD_OUT)
        ]
        played = [play(one, SEEDS, behavior, 4, Limit(10_000, 2)) for one in kinds]
    actions = [tuple(episode["action"][:-1, 0]) for one in played for episodes in one for episode in episodes]
    assert len(set(actions)) == len(actions) == 16
    assert abs(np.corrcoef(np.ravel(actions[:8]), np.ravel(actions[8:]))[0, 1]) < 0.5


class Always(TrainedPolicy):
    """A policy whose actions are 5, more than any noise takes away."""

    def __init__(self) -> None:
        """Needs no run."""

    def begin(self, envs: VectorEnv, episode: int) -> Any:
        return lambda transition: np.full((*envs.shape, envs.spaces.action), 5.0)


def test_every_other_episode_is_the_policys(envs: VectorEnv) -> None:
    for episodes in play(envs, SEEDS, "mixed", 3, Limit(10_000, 2), Always()):
        by_policy = [bool((episode["action"][:-1] == 1).all()) for episode in episodes]
        assert by_policy == [True, False, True]


def test_strengths_are_multiples_at_every_update() -> None:
    config = WorldModelConfig("walker-walk", penalty=PenaltyConfig(decay_scale=12.0))
    for update in (0, 3000, 10**6):
        found = [
            float(coefficient(agent_config(config, multiple).penalty, multiple * 0.5, jnp.asarray(update)))
            for multiple in (0.01, 1.0)
        ]
        assert found[1] == pytest.approx(100 * found[0])


def test_noise_has_the_correlations_and_scales_asked_for(envs: VectorEnv) -> None:
    noise = Noise(envs, SEEDS, 0, (0.8,), (0.5,))
    drawn = np.stack([noise() for _ in range(4000)])
    assert drawn.shape == (4000, 2, 2, 1)
    np.testing.assert_allclose(drawn.std(0), 0.5, rtol=0.15)
    correlation = (drawn[1:] * drawn[:-1]).mean(0) / np.square(drawn).mean(0)
    np.testing.assert_allclose(correlation, 0.8, atol=0.05)
    drawn = [Noise(envs, SEEDS, episode, (0.0, 0.9), (1.0, 2.0)) for episode in range(20)]
    assert {float(x) for noise in drawn for x in noise.scale.ravel()} == {1.0, 2.0}


def test_errors_are_relative_to_the_variance() -> None:
    """A decoder that always says 0 has error 1 on entries that are -1 and 1 in turn, whatever is predicted."""
    world = jax.jit(tiny.agent().init)(jax.random.key(0)).model.world
    decoder = dataclasses.replace(world.decoder, outputs=jax.tree.map(jnp.zeros_like, world.decoder.outputs))
    world = dataclasses.replace(world, decoder=decoder)
    turns = np.where(np.arange(20) % 2, 1.0, -1.0) * np.expm1(1.0)  # symlog: 1 and -1
    steps = {
        "observation": {
            name: np.broadcast_to(turns[:, None, None], (20, 2, *spec.shape)).astype(np.float32)
            for name, spec in tiny.SPACES.observation
        },
        "action": np.zeros((20, 2, 1), np.float32),
        "reward": np.full((20, 2), 3.0, np.float32),
        "first": np.broadcast_to(np.arange(20)[:, None] == 0, (20, 2)),
    }
    found = prediction.measure(world, steps, 4, jax.random.key(0))
    np.testing.assert_allclose(found["observation"], 1, rtol=1e-5)
    # a fresh reward head says 0
    np.testing.assert_allclose(found["reward"], 3, rtol=1e-5)
    assert found["observation"].shape == found["reward"].shape == (4,) and found["kl"] > 0


def test_smaller_datasets_are_the_beginning_of_larger_ones() -> None:
    agent = tiny.agent()
    rng = np.random.default_rng(0)
    episodes = [jax.tree.map(lambda leaf: leaf[0], tiny.random_steps(rng, (1, 10))) for _ in range(3)]
    replay = filled(agent, episodes, 2)
    assert int(replay.count) == 20 and replay.steps["reward"].shape == (1, 30)
    np.testing.assert_array_equal(replay.steps["reward"][0, 10:20], episodes[1]["reward"])


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one study writes: a world model of a few units, episodes of eleven steps, environments in this process."""
    out = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "1m", tiny.config().agent.model)
        patch.setattr(datasets, "Workers", lambda count: Workers(0))
        patch.setattr(datasets, "VectorEnv", lambda workers, task, _, *rest: VectorEnv(workers, task, 100, *rest))
        assert command.main(["world-model", "cartpole-swingup", "--out", str(out), *SMALL.split()]) == 0
    return out


@pytest.mark.long
def test_the_study_writes_its_numbers_and_figures(written: Path) -> None:
    kinds = [f"cartpole-swingup{name}.{kind}" for name in ("", "-horizon", "-scale") for kind in ("png", "pdf")]
    assert {path.name for path in written.iterdir()} == {"cartpole-swingup.json", "parts", *kinds}
    facts = json.loads((written / "cartpole-swingup.json").read_text())
    assert facts["command"].startswith("sobolev study world-model cartpole-swingup --out")
    records = facts["records"]
    assert len(records) == 2 * 2 * 2 * 3
    for record in records:
        assert record["transitions"] == 10 * record["episodes"]
        assert len(record["observation"]) == len(record["reward"]) == 4
        assert all(np.isfinite(np.ravel(value)).all() for value in record.values() if not isinstance(value, str))
    by_strength = {record["multiple"]: record["posterior_jacobian"] for record in records}
    assert set(by_strength) == set(MULTIPLES) and len(set(by_strength.values())) == 3
    parts = [json.loads(file.read_text())["record"] for file in (written / "parts").rglob("*.json")]
    assert sorted(parts, key=str) == sorted(records, key=str)


def test_table_by_hand() -> None:
    """Three seeds, differences 1, 2, 3: mean 2, half-width 4.3027 / sqrt(3)."""
    base: Record = {"behavior": "random", "episodes": 1, "transitions": 500}
    base |= {name: 1.0 for name in (*comparison.NUMBERS, *comparison.SCALES)}
    records = []
    for seed, change in enumerate((1.0, 2.0, 3.0)):
        for multiple, by in ((0.0, 0.0), (1.0, change)):
            numbers = {"observation": [4.0 + by, 8.0], "reward": [1.0, 3.0], "kl": 5 - by}
            records.append(base | numbers | {"seed": seed, "multiple": multiple})
    assert half_width(np.array([1.0, 2.0, 3.0]), student(3)) == pytest.approx(4.302653 / np.sqrt(3), rel=1e-5)
    table = comparison.table(records, WorldModelConfig("walker-walk"))
    lines = dict(zip(["head", *comparison.NUMBERS, *comparison.SCALES], table, strict=True))
    assert "no penalty" in lines["head"] and "λ₀ = 0.5 [95%" in lines["head"]
    assert "  4  " in lines["one_step"] and "6 [-0.484, +4.48]" in lines["one_step"]
    assert "worse" not in lines["one_step"]
    assert "  8  " in lines["last_step"] and "8 [+0, +0]" in lines["last_step"]
    assert "  6  " in lines["open_loop"] and "7 [-0.242, +2.24]" in lines["open_loop"]
    assert "  2  " in lines["reward_error"] and "2 [+0, +0]" in lines["reward_error"]
    for record in records:
        record["kl"] += record["multiple"] * (0.1 - record["kl"])
    table = comparison.table(records, WorldModelConfig("walker-walk"))
    assert "better" in dict(zip(["head", *comparison.NUMBERS], table, strict=False))["kl"]


@pytest.mark.long
def test_figures_show_means_over_seeds(written: Path) -> None:
    records = json.loads((written / "cartpole-swingup.json").read_text())["records"]
    drawn_as = figures.curves(WorldModelConfig(multiples=MULTIPLES))
    assert [curve.label for curve in drawn_as.values()] == ["no penalty", "λ₀ = 0.05", "λ₀ = 0.5"]
    axes = drawn.grid(figures.draw_data(records, drawn_as).axes, 2, len(comparison.NUMBERS))
    for row, behavior in enumerate(("random", "mixed")):
        assert axes[row, 0].get_ylabel() == f"{behavior} data"
        for column, number in enumerate(comparison.NUMBERS):
            for line, multiple in zip(axes[row, column].lines, MULTIPLES, strict=True):
                facts = {"behavior": behavior, "multiple": multiple}
                means = [comparison.values(records, number, episodes=size, **facts).mean() for size in (1, 2)]
                np.testing.assert_allclose(drawn.y(line), means)
                assert list(drawn.x(line)) == [10, 20]
    axes = drawn.grid(figures.draw_horizon(records, drawn_as).axes, 2, 2)
    errors = [r["observation"] for r in records if (r["behavior"], r["episodes"], r["multiple"]) == ("mixed", 2, 0.1)]
    np.testing.assert_allclose(drawn.y(axes[1, 1].lines[1]), np.mean(errors, 0))
    axes = drawn.grid(figures.draw_scale(records, drawn_as).axes, 2, len(comparison.SCALES))
    for column, number in enumerate(comparison.SCALES):
        facts = {"behavior": "random", "episodes": 2}
        means = [comparison.values(records, number, multiple=each, **facts).mean() for each in MULTIPLES]
        np.testing.assert_allclose(drawn.y(axes[0, column].lines[1]), means)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seeds": (0,)}, "two different seeds"),
        ({"seeds": (0, 0)}, "two different seeds"),
        ({"episodes": (4, 1)}, "--episodes must increase"),
        ({"behaviors": ()}, "--behaviors takes"),
        ({"multiples": (0.1, 1.0)}, "--multiples must increase from 0"),
        ({"multiples": (0.0,)}, "--multiples must increase from 0"),
        ({"held_out": 0}, "--held-out is 0"),
        ({"penalty": PenaltyConfig(posterior=0.0)}, "the penalty is off"),
        ({"behaviors": ("random",), "policy": Path("run")}, "add mixed"),
    ],
)
def test_impossible_studies_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(WorldModelConfig(**values))


def test_a_policy_of_another_task_is_refused(envs: VectorEnv, tmp_path: Path) -> None:
    write_text(tmp_path / "config.json", to_json(tiny.config()))
    with pytest.raises(UserError, match="was trained on gym:tests.spring:Spring-v0"):
        TrainedPolicy(tmp_path, envs)
