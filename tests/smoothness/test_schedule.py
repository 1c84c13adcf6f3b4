"""The coefficient's schedules beside the reference numbers: start, zero, floor, custom, bad settings."""

from dataclasses import make_dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.errors import UserError
from sobolev.smoothness import PenaltyConfig, coefficient
from sobolev.smoothness.config import BY_PAIRS

NAMES = ("none", "sqrt", "linear", "exponential", "cosine", "step", "custom", "values")


def at(config, initial, *updates) -> list[float]:
    return [float(coefficient(config, initial, jnp.asarray(update, jnp.int32))) for update in updates]


def config_of(schedule, **settings):
    first = 0.5 if schedule == "values" else 1.0  # a coefficient, and not a factor of it
    pairs = {"custom": ((0, first), (10, 0.5), (20, 0.0))} if schedule in BY_PAIRS else {}
    return PenaltyConfig(schedule=schedule, **pairs, **settings)


@pytest.mark.parametrize("schedule", NAMES)
def test_start_shifts_the_schedule(schedule):
    plain, late = config_of(schedule), config_of(schedule, start=100)
    assert at(late, 0.5, 0, 50, 99) == [0, 0, 0]
    assert at(late, 0.5, 100, 101, 107, 30_100) == at(plain, 0.5, 0, 1, 7, 30_000)
    assert at(plain, 0.5, 0) == [0.5]


@pytest.mark.parametrize("schedule", NAMES)
def test_zero_stays_zero(schedule):
    assert at(config_of(schedule, floor=0.1), 0.0, 0, 10, 10**6) == [0, 0, 0]


@pytest.mark.parametrize("schedule", NAMES)
def test_traced_update_gives_the_same_number(schedule):
    config = config_of(schedule, start=3)
    value = jax.jit(lambda update: coefficient(config, 0.5, update))(jnp.asarray(12, jnp.int32))
    assert value.dtype == jnp.float32 and value.shape == ()
    np.testing.assert_allclose(value, at(config, 0.5, 12)[0], rtol=1e-6)


def test_hand_calculation():
    assert at(PenaltyConfig(decay_scale=4.0), 1.0, 0, 12) == [1.0, 0.5]
    np.testing.assert_allclose(
        at(PenaltyConfig(schedule="step", step_size=2, step_factor=0.5), 1.0, 1, 2, 5), [1, 0.5, 0.25]
    )
    np.testing.assert_allclose(at(PenaltyConfig(schedule="linear", decay_updates=4, floor=0.2), 1.0, 1, 9), [0.8, 0.2])
    np.testing.assert_allclose(at(PenaltyConfig(schedule="cosine", decay_updates=2, floor=0.2), 1.0, 1), [0.6])


def test_custom_joins_its_pairs_linearly():
    np.testing.assert_allclose(at(config_of("custom"), 0.5, 0, 5, 10, 15, 20, 99), [0.5, 0.375, 0.25, 0.125, 0, 0])


def test_values_hold_until_the_next_one():
    """As `custom` of the authors' code: lambda0, then the values, none below the floor."""
    config = PenaltyConfig(schedule="values", custom=((10, 0.3), (20, 0.7), (30, 0.01)), floor=0.1)
    wanted = np.array([0.5, 0.5, 0.3, 0.3, 0.7, 0.1, 0.1], np.float32)
    np.testing.assert_array_equal(at(config, 0.5, 0, 9, 10, 19, 20, 30, 10**6), wanted)


@pytest.mark.parametrize("schedule", ["sqrt", "step"])
def test_floor_binds(schedule):
    assert at(PenaltyConfig(schedule=schedule, floor=0.25), 0.5, 10**6) == [0.25]


@pytest.mark.parametrize(
    "settings, word",
    [
        ({"rho": 0.0}, "rho"),
        ({"rho": 1.1}, "rho"),
        ({"rho": float("nan")}, "rho"),
        ({"posterior": -1.0}, "posterior"),
        ({"prior": -0.1}, "prior"),
        ({"floor": -0.1}, "floor"),
        ({"rows": 0}, "rows"),
        ({"start": -1}, "start"),
        ({"decay_scale": 0.0}, "decay-scale"),
        ({"decay_updates": 0}, "decay-updates"),
        ({"step_size": 0}, "step-size"),
        ({"step_factor": 0.0}, "step-factor"),
        ({"schedule": "custom"}, "custom"),
        ({"schedule": "values"}, "schedule is values: give --penalty.custom"),
        ({"custom": ((5, 1.0),)}, "not for --penalty.schedule sqrt"),
        ({"schedule": "custom", "custom": ((5, 1.0), (5, 0.5))}, "increase"),
        ({"schedule": "values", "custom": ((5, -1.0),)}, "negative"),
    ],
)
def test_bad_settings_are_refused(settings, word):
    with pytest.raises(UserError, match=word):
        PenaltyConfig(**settings)


def test_unknown_schedule_names_the_nearest():
    kind = make_dataclass("Misspelled", [("schedule", Any, "cosin")], bases=(PenaltyConfig,), frozen=True)
    with pytest.raises(UserError, match="did you mean cosine"):
        coefficient(kind(), 0.5, jnp.zeros((), jnp.int32))
