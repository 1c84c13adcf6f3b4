"""The interface: what makes a regularizer, flat settings, how they are found, and what nothing costs."""

from dataclasses import dataclass, fields, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.agents.dsdpg.config import TransitionPenalty
from sobolev.errors import UserError
from sobolev.smoothness import (
    JACOBIAN,
    NOISE,
    REGULARIZERS,
    LatentPenalty,
    Latents,
    Penalty,
    PenaltyConfig,
    Regularizer,
    Sampling,
    Schedule,
    Smoothing,
    at_sampled_states,
    coefficients,
    default_settings,
    find,
    input_noise,
    settings_type,
)
from tests.smoothness.sampled import sampled_penalty


@dataclass(frozen=True)
class Own:
    """Settings of a regularizer that is not built in."""

    power: float = 2.0

    def __post_init__(self) -> None:
        if not self.power > 0:
            raise UserError(f"penalty.power is {self.power}")


def mean_power(settings, table, inputs, key):
    rows = (jnp.abs(jax.vmap(table)(inputs)) ** settings.power).mean((0, 2))
    return Penalty(rows.mean(), rows)


OWN = Regularizer(Own, "own", penalty=mean_power, coefficient=0.25, defaults={"schedule": "none"})


@pytest.mark.parametrize("name", REGULARIZERS)
def test_settings_are_flat_and_of_one_class(name):
    kind = settings_type(find(name), LatentPenalty)
    assert settings_type(find(name), LatentPenalty) is kind and issubclass(kind, LatentPenalty)
    names = [item.name for item in fields(kind)]
    assert names[:3] == ["posterior", "prior", "start"] and len(set(names)) == len(names)
    assert {item.name for item in fields(find(name).settings)} < set(names)
    assert issubclass(kind, Sampling) == (find(name).penalty is not None)
    chosen = default_settings(find(name), LatentPenalty)
    assert coefficients(chosen) == {"posterior": find(name).coefficient, "prior": 0.0} and hash(chosen)
    assert kind() == kind() and replace(chosen, prior=0.5) != chosen


def test_the_jacobian_penalty_has_the_settings_of_the_paper():
    assert settings_type(JACOBIAN, LatentPenalty) is PenaltyConfig
    assert default_settings(JACOBIAN, LatentPenalty) == PenaltyConfig()


def test_a_setting_with_the_name_of_a_map_is_refused():
    """One field would be both. Which maps there are, the agent says."""

    @dataclass(frozen=True)
    class Clash:
        transition: float = 0.1

    regularizer = Regularizer(Clash, "clash", penalty=mean_power)
    assert "transition" in {item.name for item in fields(settings_type(regularizer, LatentPenalty))}
    with pytest.raises(UserError, match="regularizer clash cannot have a setting transition, which is a map's"):
        settings_type(regularizer, TransitionPenalty)


def test_every_part_of_flat_settings_is_checked():
    kind: Any = settings_type(OWN, LatentPenalty)
    assert kind.__doc__ == Own.__doc__ and kind(power=3.0).power == 3.0
    changes: dict[str, Any]
    for changes, message in (
        ({"power": 0.0}, "power is 0"),
        ({"rho": 0.0}, r"rho is 0.0, but must be in \(0, 1\]"),
        ({"decay_scale": -1.0}, "penalty.decay-scale is -1.0, but must be above 0"),
        ({"posterior": -1.0}, "posterior is -1.0, but must be at least 0"),
        ({"prior": float("nan")}, "prior is nan"),
        ({"floor": float("inf")}, "floor is inf"),
    ):
        with pytest.raises(UserError, match=message):
            kind(**changes)


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        ("finite-difference", "step", 0.0),
        ("finite-difference", "directions", 0),
        ("jacobian-norm", "bound", -1.0),
        ("jacobian-norm", "iterations", 0),
        ("spectral", "bound", 0.0),
        ("spectral", "iterations", 0),
        ("noise", "std", -0.1),
        ("noise", "std", float("inf")),
        ("jacobian", "rows", 0),
    ],
)
def test_settings_outside_their_range_are_refused(name, setting, value):
    with pytest.raises(UserError, match=f"penalty.{setting} is {value}"):
        replace(default_settings(find(name), LatentPenalty), **{setting: value})


def test_what_is_no_regularizer_is_refused():
    @dataclass(frozen=True)
    class NoDefault:
        power: float

    @dataclass(frozen=True)
    class Taken:
        rho: float = 0.1

    arguments: dict[str, Any]
    for arguments, message in (
        ({"settings": Own}, "does nothing"),
        ({"settings": int, "penalty": mean_power}, "no dataclass"),
        ({"settings": NoDefault, "penalty": mean_power}, "power of regularizer regularizer needs a default"),
        ({"settings": Taken, "penalty": mean_power}, "cannot have a setting rho"),
    ):
        with pytest.raises(UserError, match=message):
            Regularizer(**arguments)


def test_regularizers_are_found_by_name_and_by_place():
    assert find("noise") is NOISE
    assert find("sobolev.smoothness.regularizers.noise:NOISE") is NOISE
    for name, message in (
        ("spectrl", "unknown regularizer 'spectrl': did you mean spectral"),
        ("no_such_package.at_all:X", "there is no module 'no_such_package' for no_such_package.at_all:X"),
        (":X", "has no module: give module:OBJECT"),
        ("sobolev.smoothness.regularizers.noise:NOSE", "did you mean NOISE"),
        ("sobolev.smoothness.regularizers.noise:math", "must be a sobolev.smoothness.regularizers.api.Regularizer"),
        ("json:nothing", "unknown regularizer of json 'nothing'"),
    ):
        with pytest.raises(UserError, match=message):
            find(name)


def smoothing(regularizer, **changes):
    return Smoothing(regularizer, replace(default_settings(regularizer, LatentPenalty), **changes))


def test_penalties_are_summed_with_their_coefficients(make_network, make_inputs):
    """At all states or at a share of them; the sum over maps, what is logged, and lambda from the schedule."""
    network, inputs, keys = make_network(), make_inputs(states=8), jax.random.split(jax.random.key(0))
    table = lambda x: network.probabilities(x.reshape(3, 2))  # noqa: E731
    maps = {"posterior": (table, (inputs[:, :2], inputs[:, 2:]), keys[0]), "prior": (table, inputs, tuple(keys))}
    chosen = smoothing(OWN, prior=0.5, rho=1.0, schedule="step", step_size=1, step_factor=0.5)
    total, metrics = chosen.penalties(maps, jnp.int32(1))
    wanted = jnp.square(jax.vmap(table)(inputs)).mean((0, 2))
    assert float(total) == pytest.approx((0.125 + 0.25) * float(wanted.mean()), rel=1e-6)
    assert set(metrics) == {
        f"own/{name}{end}" for name in ("posterior", "prior") for end in ("", "_lambda", "_row_std")
    }
    assert float(metrics["own/prior_lambda"]) == 0.25
    assert float(metrics["own/posterior"]) == pytest.approx(float(wanted.mean()), rel=1e-6)
    assert float(metrics["own/posterior_row_std"]) == pytest.approx(float(wanted.std()), rel=1e-4)
    assert chosen.shown == {"own": "own/posterior", "λ": "own/posterior_lambda"}


def test_a_share_of_the_states_is_sampled(make_inputs):
    seen = []

    def count(inputs, key):
        seen.append(inputs.shape)
        return Penalty(jnp.ones(()), jnp.ones(2))

    inputs, key = make_inputs(states=10), jax.random.key(0)
    plain = at_sampled_states(count, inputs, key, Sampling(rho=0.3))
    batch = at_sampled_states(count, (inputs[:, :1], inputs[:, 1:]), key, Sampling(rho=0.3, average="batch"))
    assert seen == [(3, 6), (3, 6)]
    assert float(plain.value) == 1 and float(batch.value) == pytest.approx(0.3)


@dataclass(frozen=True)
class Three(Latents):
    """A third map."""

    decoder: float = 0.3


@dataclass(frozen=True)
class ThreePenalty(Schedule, Three):
    """What all regularizers of three maps have."""


@dataclass(frozen=True)
class Misplaced(LatentPenalty):
    """A map's coefficient where none is looked for."""

    decoder: float = 0.3


def test_maps_are_added_in_a_subclass_of_maps():
    settings = default_settings(JACOBIAN, ThreePenalty)
    assert coefficients(settings) == {"posterior": 0.5, "prior": 0.0, "decoder": 0.0}
    for name in REGULARIZERS:
        assert tuple(coefficients(settings_type(find(name), ThreePenalty)())) == ("posterior", "prior", "decoder")
    with pytest.raises(UserError, match="Misplaced has the setting decoder: if it is a map's, put it in a subclass"):
        settings_type(JACOBIAN, Misplaced)


def test_sampled_penalty_is_the_jacobian_regularizer(make_network, make_inputs):
    network, inputs, key = make_network(), make_inputs(states=8), jax.random.key(1)
    config = PenaltyConfig(schedule="none")
    found, _ = Smoothing(JACOBIAN, config).penalties({"posterior": (network, inputs, key)}, jnp.int32(0))
    assert float(found) == 0.5 * float(sampled_penalty(network, inputs, key, config).value)


@pytest.mark.parametrize("name", REGULARIZERS)
def test_coefficients_of_zero_do_nothing(name, make_network, make_inputs):
    chosen = smoothing(find(name), posterior=0.0)
    maps = {"posterior": make_network(), "prior": make_network(seed=1)}
    assert (chosen.penalised, chosen.perturbed, chosen.constrained_maps, chosen.shown) == ((), (), (), {})
    total, metrics = chosen.penalties({}, jnp.int32(0))
    assert float(total) == 0 and metrics == {}
    assert chosen.init(maps, jax.random.key(0)) == {} == chosen.refreshed(maps, {})
    assert chosen.constrained(maps, {}, jnp.int32(0)) == maps
    assert chosen.constraint_metrics(maps, {}, jnp.int32(0)) == {}


def test_noise():
    """Zeros for a standard deviation of 0; else normal, with the coefficient times the standard deviation."""
    key = jax.random.key(0)
    np.testing.assert_array_equal(input_noise((3, 4), key, 0.0), np.zeros((3, 4)))
    added, metrics = smoothing(NOISE, posterior=0.5, std=0.2).noise("posterior", (100, 200), key, jnp.int32(0))
    assert added.shape == (100, 200) and added.dtype == jnp.float32
    assert float(added.std()) == pytest.approx(0.1, rel=0.02) and abs(float(added.mean())) < 5e-3
    assert float(metrics["noise/posterior"]) == pytest.approx(0.1, rel=0.02)
    assert float(metrics["noise/posterior_lambda"]) == 0.5
    x = jax.random.normal(jax.random.key(1), (3, 4))
    none, _ = smoothing(NOISE, std=0.0).noise("posterior", x.shape, key, jnp.int32(0))
    np.testing.assert_array_equal(x + none, x)
