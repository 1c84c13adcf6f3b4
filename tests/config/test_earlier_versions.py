"""Configs of earlier versions are read: settings that were added since have the values that were in effect."""

import json
from pathlib import Path
from typing import Any

import pytest

from sobolev.checkpoints.run_folder import digest
from sobolev.config import defaults, from_json, to_json
from sobolev.config.codec import encode
from sobolev.config.registry import OURS
from sobolev.config.resolve import added, completed

RELEASED = json.loads((Path(__file__).parents[1] / "data" / "settings-0.2.0.json").read_text())
"""The settings that a config.json of version 0.2.0 has: those of "all", and others by method and regularizer."""


@pytest.mark.parametrize("choice", [name for name in RELEASED if name != "all"])
def test_runs_of_the_last_release_are_read(choice: str) -> None:
    """A setting that is added must be in `Method.added` or `ADDED`, with the value that it had in effect before."""
    method, *regularizer = choice.split()
    config = defaults("walker-walk", method, regularizer=regularizer[0] if regularizer else None)
    known, tree = {*RELEASED["all"].split(), *RELEASED[choice].split()}, encode(config)

    def cut(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        found = {}
        for name, value in tree.items():
            if isinstance(value, dict):
                found[name] = cut(value, f"{prefix}{name}.")
            elif prefix + name in known:
                found[name] = value
        return found

    earlier = cut(tree)
    assert earlier != tree
    assert encode(from_json(json.dumps(earlier))) == completed(earlier, added(OURS[method])) == tree


def test_runs_of_a_method_given_by_its_place_are_read() -> None:
    config = defaults("toy:point-mass", "sobolev.agents.dsdpg.method:METHOD")
    tree = json.loads(to_json(config))
    del tree["agent"]["critic"]["truncation"]
    assert from_json(json.dumps(tree)) == config and digest(from_json(json.dumps(tree))) == digest(config)


def test_groups_that_are_missing_are_not_made_up() -> None:
    tree = {"log": {"every": 5}, "agent": {"critic": {"drop": 0.1}}, "steps": None}
    assert completed(tree, {"log.sinks": [], "agent.critic.truncation": "pooled", "agent.model.x": 1, "new": 2}) == {
        "log": {"every": 5, "sinks": []},
        "agent": {"critic": {"drop": 0.1, "truncation": "pooled"}},
        "steps": None,
        "new": 2,
    }
    assert completed({"every": 3}, {"every": 5}) == {"every": 3} and completed(None, {"every": 5}) is None
