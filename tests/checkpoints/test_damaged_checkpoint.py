"""What is left of a checkpoint of which a file is damaged."""

import errno
import json
import random
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from sobolev.checkpoints import files
from sobolev.checkpoints.slots import Checkpoints
from sobolev.errors import UserError
from tests.checkpoints.checkpoints import (
    assert_loads,
    assert_same,
    cut,
    flip,
    make_empty,
    names,
    save,
    state_of,
    steps_in,
    steps_of,
)


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
    assert_same(steps_in(checkpoints), steps_of(*kept))
    (note,) = loaded.notes
    assert f"replay has damage in steps {lost} to {lost + 9} ({name}" in note
    assert "resumes without them" in note and "no longer the same to the bit" in note
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
    assert "replay holds NaN or infinity in steps 3 to 4 and 9: the run resumes without them" in loaded.notes[0]
    found = steps_in(checkpoints)
    assert np.isfinite(found["observation/x"]).all() and len(found["first"]) == 17
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

    monkeypatch.setattr(files, "_sha256", refused)
    with pytest.raises(UserError, match="cannot be read .permission denied"):
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
        checkpoints = Checkpoints(folder)
        loaded = checkpoints.load()
        assert loaded is not None and loaded.iteration in (29, 30)
        assert_same(loaded.state, state_of(loaded.iteration))
        numbers = np.concatenate([np.arange(a, b) for a, b in loaded.whole])
        np.testing.assert_array_equal(steps_in(checkpoints)["observation/x"][:, 0], numbers)
        whole = loaded.iteration == 30 and len(numbers) == 300
        older = file.name in ("state-29.safetensors", "checkpoint-0.json")
        assert whole or loaded.notes, (file.name, how)
        assert whole == older, (file.name, how)
        found["the newest" if whole else "the one before" if loaded.iteration == 29 else "without some steps"] += 1
    print(dict(found))
    assert found["without some steps"] > 60 and found["the one before"] > 0
