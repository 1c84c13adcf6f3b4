"""What methods say of themselves is what their agents can do."""

from typing import Any

import jax
import pytest

from sobolev.agents.api import Agent, Chooses, Dreams, State
from sobolev.agents.method import AgentConfig, variant
from sobolev.checkpoints.pytree_io import forms
from sobolev.config.registry import OURS, agent_of
from tests import tiny
from tests.agents import family


def agent(method: str) -> Any:
    return tiny.agent(method) if method in ("gpld", "dreamer") else agent_of(family.config(method), family.SPACES)


@pytest.mark.parametrize("method", OURS)
def test_an_agent_can_do_what_its_method_says(method: str) -> None:
    known, made = OURS[method], agent(method)
    assert isinstance(made, Agent) and isinstance(made.config, AgentConfig) and isinstance(made.config, known.config)
    assert isinstance(made, Chooses) == known.host_replay
    assert isinstance(made, Dreams) == (method in ("gpld", "dreamer"))
    state = jax.eval_shape(made.init, jax.random.key(0))
    assert isinstance(state, State)
    names = list(forms(state))
    for part, places in known.parts.items():
        assert all(any(name.startswith(place) for name in names) for place in places), part
    assert set(known.warm) <= set(known.parts)


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
