"""What experiments share: intervals, checks of settings, columns, and rounds of episodes."""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy import stats

from sobolev.envs import VectorEnv, Workers
from sobolev.errors import UserError
from sobolev.experiments import checks
from sobolev.experiments.episodes import play_round
from sobolev.experiments.intervals import NORMAL, half_width, student
from sobolev.system.columns import aligned
from sobolev.training.playing import Limit
from tests import tiny


def test_half_widths_are_those_of_scipy() -> None:
    values = np.random.default_rng(0).normal(size=(5, 3))
    for index in range(3):
        low, high = stats.t.interval(0.95, 4, values[:, index].mean(), stats.sem(values[:, index]))
        assert np.asarray(half_width(values, student(5)))[index] == pytest.approx((high - low) / 2)
    assert stats.norm.ppf(0.975) == pytest.approx(NORMAL, abs=1e-6)


@dataclass(frozen=True)
class Some:
    """Settings."""

    held_out: int = 1
    rates: tuple[float, ...] = (0.1,)
    rate: float = 1.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Some(held_out=0), "--held-out is 0, but must be at least 1"),
        (Some(rates=()), "--rates needs one value at least"),
        (Some(rates=(1.0, 0.0)), "--rates is 0.0, but must be above 0"),
        (Some(rate=float("inf")), "--rate is inf, but must be above 0 and finite"),
    ],
)
def test_checks_name_the_flag(settings: Some, message: str) -> None:
    checks.at_least(Some(), held_out=1)
    checks.positive(Some(), "rates", "rate")
    with pytest.raises(UserError, match=message):
        checks.at_least(settings, held_out=1)
        checks.positive(settings, "rates", "rate")


def test_seeds_and_growing_numbers() -> None:
    checks.seeds((0,))
    checks.seeds((3, 1), fewest=2)
    checks.increasing("sizes", (1, 4), "1 4 16")
    for seeds in ((), (-1,), (1, 1)):
        with pytest.raises(UserError, match="--seeds needs one seed at least, from 0 on, and none twice$"):
            checks.seeds(seeds)
    for sizes in ((), (0, 1), (4, 1), (1, 1)):
        with pytest.raises(UserError, match="--sizes must increase, from 1 on, as in --sizes 1 4 16"):
            checks.increasing("sizes", sizes, "1 4 16")


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert aligned([["a", "bb", "c"], ["dddd", "e", ""]]) == ["a     bb  c", "dddd  e"]


def test_a_round_has_every_step_of_every_environment() -> None:
    """Environments end at different steps; each goes on, not valid, until the last has ended."""
    with Workers(0) as workers:
        envs = VectorEnv(workers, tiny.TASK, 1, (0, 5), 3, 0)
        pushed = np.array([[0.0, 1.0, -1.0], [0.5, 1.0, 0.0]], np.float32)[..., None]
        played = play_round(envs, lambda transition: pushed, 2, Limit(10_000, 1))
        lengths = played.valid.sum(1)
        assert played.valid.shape == (2, lengths.max(), 3) and len(set(lengths.ravel())) > 1
        again = [envs.reset(2)]
        for _ in range(lengths.max() - 1):
            envs.send(pushed)
            again.append(envs.receive())
    np.testing.assert_array_equal(played.steps["reward"], np.stack([t["reward"] for t in again], 1))
    np.testing.assert_array_equal(played.steps["observation"]["velocity"][:, 4], again[4]["observation"]["velocity"])
    taken = np.broadcast_to(pushed[:, None], (2, lengths.max() - 1, 3, 1))
    np.testing.assert_array_equal(played.steps["action"][:, :-1], taken)
    assert not played.steps["action"][:, -1].any()
    for seed, env in np.ndindex(2, 3):
        steps = lengths[seed, env]
        assert played.valid[seed, :steps, env].all()
        assert played.steps["last"][seed, :steps, env].tolist() == [False] * (steps - 1) + [True]
        rewards = played.steps["reward"][seed, :steps, env].astype(np.float64)
        assert played.returns()[seed, env] == pytest.approx(sum(rewards.tolist()), rel=1e-15)
