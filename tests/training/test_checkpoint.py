import errno
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError

from sobolev.errors import UserError
from sobolev.training import segments, storage
from sobolev.training.checkpoint import Checkpoints
from sobolev.training.segments import LARGE, MANY, plan
from sobolev.training.storage import NotSaved

DTYPES = ("bool", "uint8", "uint16", "uint32", "int32", "int64", "float32")


def state_of(iteration):
    arrays = {f"part/{dtype}": (np.arange(6).reshape(2, 3) + iteration).astype(dtype) for dtype in DTYPES}
    return arrays | {"scalar": np.asarray(iteration, np.int32), "empty": np.zeros((0, 3), np.float32)}


def steps_of(start, stop):
    numbers = np.arange(start, stop)
    return {"observation/x": numbers[:, None].astype(np.float32), "first": numbers % 5 == 0}


def save(checkpoints, iteration, **kwargs):
    """Ten steps an iteration."""
    steps = steps_of(checkpoints.next_step(kwargs.get("keep_from", 0)), 10 * iteration)
    checkpoints.save(iteration, state_of(iteration), steps, {"iteration": iteration, "name": "é"}, **kwargs)


def assert_same(found, wanted):
    assert sorted(found) == sorted(wanted)
    for name, value in wanted.items():
        assert found[name].dtype == value.dtype and found[name].shape == value.shape, name
        np.testing.assert_array_equal(found[name], value)


def assert_loads(folder, iteration, start=0, notes=0):
    loaded = Checkpoints(folder).load()
    assert loaded is not None and loaded.iteration == iteration
    assert loaded.meta == {"iteration": iteration, "name": "é"}
    assert_same(loaded.state, state_of(iteration))
    assert (loaded.growing_from, loaded.growing_to) == (start, 10 * iteration)
    assert_same(loaded.growing, steps_of(start, 10 * iteration))
    assert (len(loaded.notes) > 0) == (notes > 0), loaded.notes
    return loaded


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def folder(tmp_path):
    """Two checkpoints, of iterations 1 and 2."""
    checkpoints = Checkpoints(tmp_path / "run")
    save(checkpoints, 1)
    save(checkpoints, 2)
    return tmp_path / "run"


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
    assert loaded is not None and loaded.growing == {} and loaded.notes == []
    assert_same(loaded.state, state_of(2))


def test_save_without_new_steps_writes_no_segment(folder):
    checkpoints = Checkpoints(folder)
    checkpoints.load()
    checkpoints.save(3, state_of(3), steps_of(20, 20), {})
    checkpoints.save(4, state_of(4), {}, {})
    assert len(list(folder.glob("steps-*"))) == 2
    loaded = Checkpoints(folder).load()
    assert loaded is not None and loaded.iteration == 4
    assert_same(loaded.growing, steps_of(0, 20))


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


def flip(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def make_empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [flip, cut, make_empty, Path.unlink])
def test_a_damaged_newest_state_falls_back_and_says_so(folder, damage):
    damage(folder / "state-2.safetensors")
    loaded = assert_loads(folder, 1, notes=1)
    assert "iteration 2 is damaged" in loaded.notes[0] and "state-2.safetensors" in loaded.notes[0]
    assert "went back to the checkpoint of iteration 1" in loaded.notes[1]
    with pytest.raises(UserError, match="went back .*--strict-resume stops here"):
        Checkpoints(folder).load(strict=True)


@pytest.mark.parametrize("damage", [flip, cut, make_empty, Path.unlink])
@pytest.mark.parametrize("lost", [0, 10])
def test_of_damaged_steps_these_alone_are_lost(folder, damage, lost):
    name = f"steps-{lost}-{lost + 10}.safetensors"
    damage(folder / name)
    checkpoints = Checkpoints(folder)
    loaded = checkpoints.load()
    assert loaded is not None and loaded.iteration == 2
    assert_same(loaded.state, state_of(2))
    kept = (10 - lost, 20 - lost)
    assert loaded.had == [(0, 20)] and loaded.whole == checkpoints.held() == [kept]
    assert_same(loaded.growing, steps_of(*kept))
    (note,) = loaded.notes
    assert f"replay has damage in steps {lost} to {lost + 9} ({name}" in note
    assert "goes on without them" in note and "no longer the same to the bit" in note
    with pytest.raises(UserError, match="replay has damage.*--strict-resume stops here"):
        Checkpoints(folder).load(strict=True)
    save(checkpoints, 3)
    again = Checkpoints(folder).load(strict=True)
    assert again is not None and again.notes == [], "it is said once"
    assert again.had == again.whole == ([(0, 10), (20, 30)] if lost == 10 else [(10, 30)])


def test_steps_that_are_not_finite_are_left_out(tmp_path):
    """As an earlier version wrote them; huge numbers are finite."""
    checkpoints, steps = Checkpoints(tmp_path), steps_of(0, 20)
    steps["observation/x"][[3, 4, 9], 0] = np.nan, -np.inf, np.inf
    steps["observation/x"][11:, 0] = 3e38
    checkpoints.save(1, state_of(1), steps, {})
    loaded = checkpoints.load()
    assert loaded is not None
    assert loaded.had == [(0, 20)] and loaded.whole == [(0, 3), (5, 9), (10, 20)]
    assert "replay holds NaN or infinity in steps 3 to 4 and 9: the run goes on without them" in loaded.notes[0]
    assert np.isfinite(loaded.growing["observation/x"]).all() and len(loaded.growing["first"]) == 17
    checkpoints.save(2, state_of(2), steps_of(20, 25), {})
    loaded = Checkpoints(tmp_path).load(strict=True)
    assert loaded is not None and loaded.notes == [] and loaded.whole == [(0, 3), (5, 9), (10, 25)]


def test_a_state_that_is_not_finite_falls_back_where_it_must_be_finite(folder):
    checkpoints, poison = Checkpoints(folder), {"agent/w": np.array([1.0, np.nan], np.float32)}
    checkpoints.load()
    checkpoints.save(3, poison | {"pending/loss": np.array([np.nan])}, steps_of(20, 30), {})
    loaded = Checkpoints(folder).load(finite=["pending/none"])
    assert loaded is not None and loaded.iteration == 3
    loaded = Checkpoints(folder).load(finite=["agent/"])
    assert loaded is not None and loaded.iteration == 2
    assert "'agent/w' in state-3.safetensors holds NaN or infinity" in loaded.notes[0]
    checkpoints.save(4, poison, steps_of(30, 30), {})
    with pytest.raises(UserError, match="no checkpoint in .* is whole.*NaN or infinity.*--fresh"):
        Checkpoints(folder).load(finite=["agent/"])


@pytest.mark.parametrize("gone", [(1,), (0, 1)])
def test_a_manifest_that_is_gone_is_missed(folder, gone):
    for slot in gone:
        (folder / f"checkpoint-{slot}.json").unlink()
    if len(gone) == 2:
        with pytest.raises(UserError, match="checkpoint-1.json is missing.*--fresh"):
            Checkpoints(folder).load()
    else:
        assert "checkpoint-1.json is missing" in assert_loads(folder, 1, notes=1).notes[0]


def test_the_older_manifest_is_not_needed(folder):
    (folder / "checkpoint-0.json").unlink()
    assert_loads(folder, 2)


def test_a_file_that_may_not_be_read_is_not_called_damaged(folder, monkeypatch):
    """Else its steps would be dropped for good."""

    def refused(path):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(storage, "_sha256", refused)
    with pytest.raises(UserError, match="may not be read"):
        Checkpoints(folder).load()


def test_files_of_others_in_the_folder_are_left_alone(folder):
    others = ["steps-best.safetensors", "state-final.safetensors", "notes.tmp", ".tmpx", "checkpoint-2.json.tmp"]
    ours = ["state-9.safetensors", "steps-3-4.safetensors.tmp", ".tmpAbCdEf", "checkpoint-1.json.tmp"]
    for name in others + ours:
        (folder / name).write_text("x")
    checkpoints = Checkpoints(folder)
    checkpoints.load()
    save(checkpoints, 3)
    assert set(others) < set(names(folder)) and not set(ours) & set(names(folder))


@pytest.mark.parametrize("damage", [cut, make_empty])
def test_damaged_manifest_falls_back_and_says_so(folder, damage):
    damage(folder / "checkpoint-1.json")
    assert "checkpoint-1.json" in assert_loads(folder, 1, notes=1).notes[0]


def test_changed_manifest_does_not_match_its_checksum(folder):
    path = folder / "checkpoint-1.json"
    whole = json.loads(path.read_text())
    whole["record"]["iteration"] = 7
    path.write_text(json.dumps(whole))
    assert "does not match its checksum" in assert_loads(folder, 1, notes=1).notes[0]


def test_damaged_older_one_does_not_matter(folder):
    flip(folder / "state-1.safetensors")
    assert_loads(folder, 2)


@pytest.mark.parametrize("name", ["state-2.safetensors", "checkpoint-1.json"])
def test_saving_goes_on_after_a_fall_back(folder, name):
    cut(folder / name)
    checkpoints = Checkpoints(folder)
    checkpoints.load()
    save(checkpoints, 2)
    assert_loads(folder, 2)
    save(checkpoints, 3)
    assert_loads(folder, 3)
    assert len(names(folder)) == 7


def test_both_damaged_is_an_error(folder):
    cut(folder / "state-1.safetensors")
    cut(folder / "state-2.safetensors")
    with pytest.raises(UserError, match="--fresh"):
        Checkpoints(folder).load()


def test_saving_over_checkpoints_that_were_not_loaded_is_an_error(folder):
    with pytest.raises(ValueError, match="not loaded"):
        save(Checkpoints(folder), 3)
    assert_loads(folder, 2)


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


# What a kill -9 can leave: every call that changes the disk, before it, after it, and half of it.


@contextmanager
def watched(monkeypatch, on_call):
    """Calls on_call(name, path, stage) before and after everything that changes the disk."""

    def watch(owner, name):
        real = getattr(owner, name)

        def call(*args, **kwargs):
            paths = [arg for arg in args if isinstance(arg, Path)]
            on_call(name, paths[0] if paths else None, "before")
            result = real(*args, **kwargs)
            on_call(name, paths[0] if paths else None, "after")
            return result

        patch.setattr(owner, name, call)

    with monkeypatch.context() as patch:
        watch(storage.safetensors, "save_file")
        watch(storage.os, "fsync")
        watch(storage.os, "replace")
        watch(Path, "write_text")
        watch(Path, "unlink")
        yield


def kill_states(folder, monkeypatch, action, target):
    """Copies of the folder as a kill at every stage of the action leaves it."""
    copies = []

    def on_call(name, path, stage):
        copy = target / f"{len(copies)}-{name}-{stage}"
        shutil.copytree(folder, copy)
        copies.append(copy)
        if stage == "after" and name in ("save_file", "write_text") and path is not None:
            for size in (0, 1, path.stat().st_size // 2):
                torn = target / f"{len(copies)}-{name}-torn-{size}"
                shutil.copytree(folder, torn)
                os.truncate(torn / path.name, size)
                (torn / ".tmpAbCdEf").write_bytes(b"half of a file of safetensors' own")
                copies.append(torn)

    with watched(monkeypatch, on_call):
        action()
    return copies


def test_a_kill_at_any_stage_leaves_a_loadable_checkpoint(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    checkpoints = Checkpoints(folder)
    for iteration in (1, 2, 3):
        save(checkpoints, iteration)
    copies = kill_states(folder, monkeypatch, lambda: save(checkpoints, 4, keep_from=12), tmp_path / "copies")
    found = []
    for copy in copies:
        resumed = Checkpoints(copy)
        loaded = resumed.load()
        assert loaded is not None and loaded.notes == [], copy.name
        found.append(loaded.iteration)
        start = {3: 0, 4: 10}[loaded.iteration]
        assert_loads(copy, loaded.iteration, start=start)
        for iteration in range(loaded.iteration + 1, 7):
            save(resumed, iteration, keep_from=12)
        assert_loads(copy, 6, start=10)
        assert len(names(copy)) == 9, (copy.name, names(copy))
    assert found == sorted(found) and set(found) == {3, 4} and len(copies) > 20


def test_a_kill_in_the_first_save_leaves_no_checkpoint_or_a_whole_one(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    folder.mkdir()
    copies = kill_states(folder, monkeypatch, lambda: save(Checkpoints(folder), 1), tmp_path / "copies")
    for copy in copies:
        checkpoints = Checkpoints(copy)
        loaded = checkpoints.load()
        if loaded is None:
            save(checkpoints, 1)
        assert_loads(copy, 1)
        save(checkpoints, 2)
        assert_loads(copy, 2)
        assert len(names(copy)) == 6, names(copy)


def test_of_a_single_checkpoint_any_manifest_may_be_lost(tmp_path):
    save(Checkpoints(tmp_path), 1)
    for slot, notes in ((1, 0), (0, 1)):
        shutil.copytree(tmp_path, tmp_path / "copy")
        (tmp_path / "copy" / f"checkpoint-{slot}.json").unlink()
        assert_loads(tmp_path / "copy", 1, notes=notes)
        shutil.rmtree(tmp_path / "copy")


LOOP = """
import sys, numpy as np
from sobolev.training.checkpoint import Checkpoints
checkpoints = Checkpoints(sys.argv[1])
loaded = checkpoints.load()
start = loaded.iteration if loaded else 0
for i in range(start + 1, start + 1000):
    steps = np.arange(checkpoints.next_step(), i)
    checkpoints.save(i, {"x": np.full(20000, i)}, {"y": steps}, {})
    print(i, flush=True)
"""


def test_a_real_kill(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(Path(storage.__file__).parents[2])}
    for lines in (1, 4, 7):
        child = subprocess.Popen(
            [sys.executable, "-c", LOOP, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment
        )
        assert child.stdout is not None
        seen = [int(child.stdout.readline()) for _ in range(lines)]
        child.send_signal(signal.SIGKILL)
        child.stdout.close()
        child.wait()
        loaded = Checkpoints(tmp_path).load()
        assert loaded is not None and loaded.iteration >= seen[-1] and loaded.notes == []
        np.testing.assert_array_equal(loaded.state["x"], np.full(20000, loaded.iteration))
        np.testing.assert_array_equal(loaded.growing["y"], np.arange(loaded.iteration))


# A full disk.

NO_SPACE = {
    "system": OSError(errno.ENOSPC, "No space left on device"),
    "safetensors": SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
}


@pytest.mark.parametrize("call", range(9))
@pytest.mark.parametrize("error", NO_SPACE)
def test_a_full_disk_leaves_the_checkpoint_before_and_nothing_else(folder, monkeypatch, call, error):
    """Nine calls write: save_file, two fsyncs and a replace (segment, state: 8 in all), write_text of the manifest."""
    before = names(folder)
    checkpoints = Checkpoints(folder)
    checkpoints.load()
    calls = []

    def on_call(name, path, stage):
        if stage == "before" and name != "unlink":
            calls.append(name)
            if len(calls) == call + 1:
                raise NO_SPACE[error]

    with watched(monkeypatch, on_call), pytest.raises(UserError, match=rf"MB in {folder}"):
        save(checkpoints, 3)
    assert names(folder) == before
    assert_loads(folder, 2)
    save(checkpoints, 3)
    assert_loads(folder, 3)


def test_a_file_that_the_system_refuses_to_write(folder):
    """The same with a real error from the kernel, met half-way through a file."""
    before = names(folder)
    checkpoints = Checkpoints(folder)
    checkpoints.load()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(UserError, match="no room for a checkpoint of 0.8 MB"):
            checkpoints.save(3, {"x": np.zeros(100_000)}, steps_of(20, 30), {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(folder) == before
    assert_loads(folder, 2)


def test_room_is_asked_for_before_anything_is_written(folder, monkeypatch):
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    checkpoints = Checkpoints(folder)
    checkpoints.load()
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6 - 100, 100))
    with pytest.raises(UserError, match=r"0\.0 MB free"):
        save(checkpoints, 3)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EIO])
def test_other_errors_of_the_system_are_told_as_they_are(folder, monkeypatch, number):
    def on_call(name, path, stage):
        if name == "replace":
            raise OSError(number, os.strerror(number))

    checkpoints = Checkpoints(folder)
    checkpoints.load()
    with (
        watched(monkeypatch, on_call),
        pytest.raises(NotSaved, match=rf"cannot be written in .* \({os.strerror(number)}\): make"),
    ):
        save(checkpoints, 3)
    assert_loads(folder, 2)


# Many segments.


def segments_of(sizes, start=0):
    edges = np.cumsum([start, *sizes]).tolist()
    return [{"from": a, "to": b, "file": {"size": size}} for a, b, size in zip(edges, edges[1:], sizes, strict=False)]


@pytest.mark.parametrize("shape", ["equal", "growing", "random"])
def test_segments_stay_few_and_steps_are_not_written_again_often(shape):
    dice = random.Random(shape)
    segments, written, new = [], 0, 0
    for number in range(4000):
        size = {"equal": 10, "growing": 1 + number // 40, "random": dice.choice([1, 10, 100])}[shape]
        start = segments[-1]["to"] if segments else 0
        segments, new = [*segments, *segments_of([size], start)], new + size
        after = []
        for group in plan(segments, MANY, LARGE):
            size = sum(segment["file"]["size"] for segment in group)
            written += size if len(group) > 1 else 0
            after.append({"from": group[0]["from"], "to": group[-1]["to"], "file": {"size": size}})
        segments = after
        assert len(segments) <= MANY
    assert segments[0]["from"] == 0 and segments[-1]["to"] == new
    assert written <= 2 * np.log2(4000 / MANY) * new


def test_large_segments_and_those_beside_a_hole_stay_as_they_are():
    assert len(plan(segments_of([10] * 100), many=3, large=25)) == 50
    apart = [*segments_of([1, 1]), *segments_of([1, 1], start=5)]
    assert [len(group) for group in plan(apart, many=1, large=25)] == [2, 2]


def test_merged_segments_hold_the_same_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(segments, "MANY", 4)
    checkpoints = Checkpoints(tmp_path)
    for iteration in range(1, 40):
        save(checkpoints, iteration)
        assert_loads(tmp_path, iteration)
        assert len(list(tmp_path.glob("steps-*"))) <= 8, "four of each slot, most of them the same"
        older = json.loads((tmp_path / f"checkpoint-{iteration % 2}.json").read_text())["record"]
        if iteration > 1:
            for segment in older["segments"]:
                storage.checked(tmp_path, segment["file"])
    save(checkpoints, 40, keep_from=395)
    assert_loads(tmp_path, 40, start=json.loads(newest_manifest(tmp_path).read_text())["record"]["segments"][0]["from"])


def newest_manifest(folder):
    return max(folder.glob("checkpoint-?.json"), key=lambda path: json.loads(path.read_text())["record"]["serial"])


def test_a_kill_while_segments_are_merged_leaves_a_loadable_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(segments, "MANY", 2)
    folder = tmp_path / "run"
    checkpoints = Checkpoints(folder)
    for iteration in (1, 2, 3):
        save(checkpoints, iteration)
    copies = kill_states(folder, monkeypatch, lambda: save(checkpoints, 4), tmp_path / "copies")
    found = []
    for copy in copies:
        resumed = Checkpoints(copy)
        loaded = resumed.load()
        assert loaded is not None and loaded.notes == [], copy.name
        found.append(loaded.iteration)
        for iteration in range(loaded.iteration + 1, 6):
            save(resumed, iteration)
        assert_loads(copy, 5)
    assert set(found) == {3, 4} and len(copies) > 30


def test_damage_is_not_merged_into_a_file_with_a_good_checksum(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    for iteration in (1, 2, 3):
        save(checkpoints, iteration)
    flip(tmp_path / "steps-10-20.safetensors")
    monkeypatch.setattr(segments, "MANY", 1)
    save(checkpoints, 4)
    loaded = Checkpoints(tmp_path).load()
    assert loaded is not None and loaded.iteration == 4 and loaded.whole == [(0, 10), (20, 40)]


def test_nothing_is_merged_where_the_disk_has_no_room_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr(segments, "MANY", 1)
    monkeypatch.setattr(segments, "free_room", lambda folder: 100)
    checkpoints = Checkpoints(tmp_path)
    for iteration in (1, 2, 3):
        save(checkpoints, iteration)
    assert len(list(tmp_path.glob("steps-*"))) == 3
    assert_loads(tmp_path, 3)


def test_a_hundred_damages(tmp_path):
    """One file of a folder with many segments: a bit flipped, cut, grown, empty, gone. All go on, none silently."""
    good = tmp_path / "good"
    checkpoints = Checkpoints(good)
    for iteration in range(1, 31):
        save(checkpoints, iteration)
    dice, found = random.Random(0), Counter()
    for _ in range(100):
        folder = tmp_path / "damaged"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(good, folder)
        file = dice.choice(sorted(folder.iterdir()))
        content = bytearray(file.read_bytes())
        how = dice.choice(["flip", "cut", "grow", "empty", "gone"])
        if how == "flip":
            content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        content = content[: dice.randrange(len(content))] if how == "cut" else content
        content += bytes(dice.randrange(1, 99)) if how == "grow" else b""
        file.write_bytes(b"" if how == "empty" else content)
        if how == "gone":
            file.unlink()
        loaded = Checkpoints(folder).load()
        assert loaded is not None and loaded.iteration in (29, 30)
        assert_same(loaded.state, state_of(loaded.iteration))
        numbers = np.concatenate([np.arange(a, b) for a, b in loaded.whole])
        np.testing.assert_array_equal(loaded.growing["observation/x"][:, 0], numbers)
        whole = loaded.iteration == 30 and len(numbers) == 300
        older = file.name in ("state-29.safetensors", "checkpoint-0.json")
        assert whole or loaded.notes, (file.name, how)
        assert whole == older, (file.name, how)
        found["the newest" if whole else "the one before" if loaded.iteration == 29 else "without some steps"] += 1
    print(dict(found))
    assert found["without some steps"] > 60 and found["the one before"] > 0
