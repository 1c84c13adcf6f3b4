"""What methods say of themselves is what their agents can do."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest

from sobolev.agents.api import Agent, Chooses, Dreams, LongUpdates, Snapshots
from sobolev.agents.method import AgentConfig, variant
from sobolev.checkpoints.pytree_io import flatten, forms, unflatten
from sobolev.config.registry import OURS, agent_of
from sobolev.smoothness.regularizers.registry import regularized
from tests import tiny
from tests.agents import family

STATELESS = "tests.own_regularizer:STATELESS"


def agent(method: str) -> Any:
    return tiny.agent(method) if method in ("gpld", "dreamer") else agent_of(family.config(method), family.SPACES)


@pytest.mark.parametrize("method", OURS)
def test_an_agent_can_do_what_its_method_says(method: str) -> None:
    known, made = OURS[method], agent(method)
    assert isinstance(made, Agent) and isinstance(made.config, AgentConfig) and isinstance(made.config, known.config)
    assert isinstance(made, Chooses) == known.host_replay
    assert isinstance(made, Dreams) == (method in ("gpld", "dreamer"))
    assert isinstance(made, LongUpdates) == (method == "mage")
    state = jax.eval_shape(made.init, jax.random.key(0))
    names = list(forms(state))
    for part, places in known.parts.items():
        assert all(any(name.startswith(place) for name in names) for place in places), part
    assert set(known.warm) <= set(known.parts)


@pytest.mark.parametrize(
    ("method", "regularizer"),
    [
        *((name, None) for name in OURS),
        *((name, regularizer) for name in ("gpld", "dsdpg") for regularizer in ("spectral", STATELESS)),
    ],
)
def test_a_snapshot_has_all_that_acting_reads(method: str, regularizer: str | None) -> None:
    """Actions do not change where everything else in the state is not a number, or −1."""
    made = agent(method)
    if regularizer is not None:
        made = replace(made, config=regularized(made.config, regularizer))
    assert isinstance(agent(method), Snapshots)
    rng, flag = np.random.default_rng(0), np.zeros(2, bool)
    seen: dict[str, Any] = {"reward": np.zeros(2, np.float32), "first": flag, "last": flag, "terminal": flag}
    spaces = made.spaces.observation
    seen["observation"] = {name: rng.normal(size=(2, *spec.shape)).astype(np.float32) for name, spec in spaces}
    with tiny.quickly():
        state = jax.jit(made.init)(jax.random.key(0))
        kept = flatten(made.snapshot(state))
        rest = {name: np.full_like(x, np.nan if x.dtype.kind == "f" else -1) for name, x in flatten(state).items()}
        assert kept.keys() < rest.keys() and forms(made.snapshot(jax.eval_shape(lambda: state))).keys() == kept.keys()
        act = jax.jit(partial(made.act, mode="evaluate"))
        key, carry = jax.random.key(1), made.initial_carry(2)
        whole, part = (act(each, carry, seen, key)[0] for each in (state, unflatten(state, rest | kept)))
    np.testing.assert_array_equal(part, whole)
    assert np.isfinite(whole).all()


def test_the_parts_of_dreamer_are_all_of_its_networks() -> None:
    names = forms(jax.eval_shape(tiny.agent().init, jax.random.key(0)).model)
    places = tuple(place for places in OURS["gpld"].parts.values() for place in places)
    assert names and all(f"model/{name}".startswith(places) for name in names)


def test_a_variant_differs_by_its_change_alone() -> None:
    base = OURS["td3"]
    ours = variant(base, "slow", "td3 with fewer updates", lambda config: type(config)(updates_per_step=1))
    assert (ours.name, ours.about, ours.sizes, ours.pace) == ("slow", "td3 with fewer updates", base.sizes, base.pace)
    assert {preset.agent.updates_per_step for preset in ours.presets.values()} == {1}
    assert {name: preset.settings for name, preset in ours.presets.items()} == {
        name: preset.settings for name, preset in base.presets.items()
    }
