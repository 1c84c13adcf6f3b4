"""Small checkpoints, ways to damage them, and every moment at which a save can be broken off."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from sobolev.checkpoints import files, ranges
from sobolev.checkpoints.slots import Checkpoints

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


def steps_in(checkpoints):
    """The growing data of the checkpoint that was loaded, from its pieces, as programs read it."""
    parts = {}
    for start, piece in checkpoints.pieces():
        length = len(next(iter(piece.values())))
        for a, b in ranges.common(checkpoints.held(), [(start, start + length)]):
            for name, array in piece.items():
                parts.setdefault(name, []).append(array[a - start : b - start])
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def content(folder):
    """The newest checkpoint, and every array of it: the state, and the growing data as "steps/<name>"."""
    checkpoints = Checkpoints(folder)
    loaded = checkpoints.load()
    assert loaded is not None
    return loaded, {**loaded.state, **{f"steps/{name}": array for name, array in steps_in(checkpoints).items()}}


def assert_loads(folder, iteration, start=0, notes=0):
    checkpoints = Checkpoints(folder)
    loaded = checkpoints.load()
    assert loaded is not None and loaded.iteration == iteration
    assert loaded.meta == {"iteration": iteration, "name": "é"}
    assert_same(loaded.state, state_of(iteration))
    assert loaded.whole == [(start, 10 * iteration)] and checkpoints.next_step() == 10 * iteration
    assert_same(steps_in(checkpoints), steps_of(start, 10 * iteration))
    assert (len(loaded.notes) > 0) == (notes > 0), loaded.notes
    return loaded


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def two(folder):
    """A folder with two checkpoints, of iterations 1 and 2."""
    checkpoints = Checkpoints(folder)
    save(checkpoints, 1)
    save(checkpoints, 2)
    return folder


def flip(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def make_empty(path):
    path.write_bytes(b"")


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
        watch(files.safetensors, "save_file")
        watch(files.os, "fsync")
        watch(files.os, "replace")
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
