"""Copies of the networks that a run keeps on its way."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

from sobolev.agents.dreamer.agent import Dreamer
from sobolev.checkpoints.files import write_arrays
from sobolev.checkpoints.pytree_io import flatten
from sobolev.checkpoints.run_folder import digest
from sobolev.config import from_json, to_json
from sobolev.errors import UserError
from sobolev.training.snapshot import kept_weights, read_weights
from sobolev.training.start import start
from tests import tiny
from tests.quick_runs import quick_runs


def test_networks_are_kept_every_so_many_env_steps(tmp_path: Path) -> None:
    settings = {"train_ratio": 0.0, "steps": 40, "evaluation__episodes": 0}
    config = tiny.config(**settings, checkpoint__snapshots=15)
    assert digest(config) == digest(tiny.config(**settings))
    with quick_runs(None):
        run, status = start(dataclasses.replace(config, run=tmp_path / "run"))
    assert status == 0
    kept = kept_weights(run)
    # Two env steps per iteration: the first one at or beyond each multiple of 15.
    assert list(kept) == [16, 30]
    assert [path.name for path in kept.values()] == ["000000016.safetensors", "000000030.safetensors"]
    agent = Dreamer(config.agent, tiny.SPACES)
    state = tiny.program(agent, (0,)).initial_state()
    expected, found = flatten(state.model), flatten(read_weights(kept[30], agent, state).model)
    assert expected.keys() == found.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


def test_files_of_a_run_can_be_read_by_whom_the_user_allows(tmp_path: Path) -> None:
    """By the umask, checkpoints included: members of a group can evaluate a run."""
    settings = {"train_ratio": 0.0, "steps": 40, "evaluation__episodes": 0, "checkpoint__snapshots": 15}
    before = os.umask(0o027)
    try:
        with quick_runs(None):
            run, _ = start(dataclasses.replace(tiny.config(**settings), run=tmp_path / "run"))
    finally:
        os.umask(before)
    modes = {str(path.relative_to(run)): path.stat().st_mode & 0o777 for path in run.rglob("*") if path.is_file()}
    assert len([name for name in modes if name.endswith(".safetensors")]) >= 4
    assert {name: oct(mode) for name, mode in modes.items() if mode != 0o640} == {}


def test_snapshots_of_version_0_2_can_be_read(tmp_path: Path) -> None:
    """They name the networks without the field of the state that has them."""
    agent = tiny.agent()
    state = tiny.program(agent, (0,)).initial_state()
    arrays = {name: np.full_like(x, 0.5) for name, x in flatten(agent.snapshot(state)).items()}
    for file, prefix in (("now", ""), ("old", "model/")):
        path = tmp_path / f"{file}.safetensors"
        write_arrays(path, {name.removeprefix(prefix): x for name, x in arrays.items()})
        found = flatten(read_weights(path, agent, state))
        for name, x in flatten(state).items():
            np.testing.assert_array_equal(found[name], arrays.get(name, x))
    write_arrays(tmp_path / "odd.safetensors", arrays | {"model/other": np.zeros(1)})
    with pytest.raises(UserError, match="it has 'model/other', which is not expected here"):
        read_weights(tmp_path / "odd.safetensors", agent, state)
    first = next(iter(arrays))
    write_arrays(tmp_path / "less.safetensors", {name: x for name, x in arrays.items() if name != first})
    with pytest.raises(UserError, match=f"it lacks '{first}'"):
        read_weights(tmp_path / "less.safetensors", agent, state)


def test_nothing_is_kept_unless_asked_for(tmp_path: Path) -> None:
    assert kept_weights(tmp_path) == {} and tiny.config().checkpoint.snapshots == 0


def test_a_config_that_lacks_a_setting_is_refused() -> None:
    tree = json.loads(to_json(tiny.config()))
    del tree["checkpoint"]["minutes"]
    with pytest.raises(UserError, match=r"'checkpoint\.minutes' is missing"):
        from_json(json.dumps(tree))
    with pytest.raises(UserError, match=r"'checkpoint' is missing"):
        from_json(json.dumps({name: value for name, value in tree.items() if name != "checkpoint"}))
    with pytest.raises(UserError, match="must be a table"):
        from_json("[]")
