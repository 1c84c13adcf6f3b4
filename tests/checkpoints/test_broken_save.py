"""A save that is killed, or meets a disk that is full: the checkpoint before stays."""

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError

from sobolev.checkpoints import files
from sobolev.checkpoints.files import NotSaved
from sobolev.checkpoints.slots import Checkpoints
from sobolev.errors import UserError
from tests.checkpoints.checkpoints import (
    assert_loads,
    content,
    kill_states,
    names,
    save,
    steps_of,
    watched,
)


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
from sobolev.checkpoints.slots import Checkpoints
checkpoints = Checkpoints(sys.argv[1])
loaded = checkpoints.load()
start = loaded.iteration if loaded else 0
for i in range(start + 1, start + 1000):
    steps = np.arange(checkpoints.next_step(), i)
    checkpoints.save(i, {"x": np.full(20000, i)}, {"y": steps}, {})
    print(i, flush=True)
"""


def test_a_real_kill(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(Path(files.__file__).parents[2])}
    for lines in (1, 4, 7):
        child = subprocess.Popen(
            [sys.executable, "-c", LOOP, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment
        )
        assert child.stdout is not None
        seen = [int(child.stdout.readline()) for _ in range(lines)]
        child.send_signal(signal.SIGKILL)
        child.stdout.close()
        child.wait()
        loaded, arrays = content(tmp_path)
        assert loaded.iteration >= seen[-1] and loaded.notes == []
        np.testing.assert_array_equal(arrays["x"], np.full(20000, loaded.iteration))
        np.testing.assert_array_equal(arrays["steps/y"], np.arange(loaded.iteration))


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

    with watched(monkeypatch, on_call), pytest.raises(UserError, match=rf"bytes in {folder}"):
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
        with pytest.raises(UserError, match=r"no room for a checkpoint of 8[0-9]{2}\.[0-9] kB"):
            checkpoints.save(3, {"x": np.zeros(100_000)}, steps_of(20, 30), {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(folder) == before
    assert_loads(folder, 2)


def test_room_is_asked_for_before_anything_is_written(folder, monkeypatch):
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    checkpoints = Checkpoints(folder)
    checkpoints.load()
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6 - 100, 100))
    with pytest.raises(UserError, match=r"\(100 bytes free\)"):
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
