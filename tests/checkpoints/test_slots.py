"""Checkpoints that are whole."""

import numpy as np
import pytest

from sobolev.checkpoints.slots import Checkpoints
from tests.checkpoints.checkpoints import (
    assert_loads,
    assert_same,
    names,
    save,
    state_of,
    steps_in,
    steps_of,
)


def test_no_folder_is_no_checkpoint(tmp_path):
    assert Checkpoints(tmp_path / "none").load() is None


def test_round_trip_with_segments_in_order(folder):
    assert_loads(folder, 2)
    manifests, states = ["checkpoint-0.json", "checkpoint-1.json"], ["state-1.safetensors", "state-2.safetensors"]
    assert names(folder) == [*manifests, *states, "steps-0-10.safetensors", "steps-10-20.safetensors"]


def test_goes_on_after_load(folder):
    checkpoints = Checkpoints(folder)
    checkpoints.load()
    for iteration in (3, 4, 5):
        save(checkpoints, iteration)
    assert_loads(folder, 5)
    assert len(list(folder.glob("state-*"))) == 2, "disk use is bounded: two states"


def test_growing_data_can_be_left_unread(folder):
    (folder / "steps-0-10.safetensors").unlink()
    loaded = Checkpoints(folder).load(growing="leave")
    assert loaded is not None and loaded.notes == []
    assert_same(loaded.state, state_of(2))


def test_save_without_new_steps_writes_no_segment(folder):
    checkpoints = Checkpoints(folder)
    checkpoints.load()
    checkpoints.save(3, state_of(3), steps_of(20, 20), {})
    checkpoints.save(4, state_of(4), {}, {})
    assert len(list(folder.glob("steps-*"))) == 2
    checkpoints = Checkpoints(folder)
    loaded = checkpoints.load()
    assert loaded is not None and loaded.iteration == 4
    assert_same(steps_in(checkpoints), steps_of(0, 20))


def test_stale_segments_are_deleted_once_no_slot_needs_them(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for iteration in (1, 2, 3):
        save(checkpoints, iteration)
    save(checkpoints, 4, keep_from=20)
    assert (tmp_path / "steps-0-10.safetensors").exists(), "the older slot still needs it"
    assert_loads(tmp_path, 4, start=20)
    save(checkpoints, 5, keep_from=29)
    assert [path.name for path in tmp_path.glob("steps-*-[12]0.safetensors")] == []
    assert_loads(tmp_path, 5, start=20)


def test_steps_that_were_never_saved_may_be_overwritten(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 1)
    assert checkpoints.next_step(15) == 15
    save(checkpoints, 3, keep_from=15)
    assert_loads(tmp_path, 3, start=15)


def test_bad_arguments_leave_nothing_behind(folder):
    before = names(folder)
    checkpoints = Checkpoints(folder)
    checkpoints.load()
    with pytest.raises(ValueError, match="different lengths"):
        checkpoints.save(3, {}, {"a": np.zeros(3), "b": np.zeros(2)}, {})
    with pytest.raises(ValueError, match="complex"):
        checkpoints.save(3, {"a": np.zeros(3, complex)}, steps_of(20, 30), {})
    with pytest.raises(TypeError, match="JSON"):
        checkpoints.save(3, {}, steps_of(20, 30), {"a": object()})
    assert names(folder) == before
    assert_loads(folder, 2)


def test_strided_arrays_are_saved_by_value(tmp_path):
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    state = {"transposed": array.T, "moved": np.moveaxis(array, 1, 0), "sliced": array[:, ::2]}
    Checkpoints(tmp_path).save(1, state, {}, {})
    loaded = Checkpoints(tmp_path).load()
    assert loaded is not None
    assert_same(loaded.state, state)
