"""Files of steps that become fewer and larger."""

import json
import random

import numpy as np
import pytest

from sobolev.checkpoints import files, segments
from sobolev.checkpoints.segments import LARGE, MANY, plan
from sobolev.checkpoints.slots import Checkpoints
from tests.checkpoints.checkpoints import (
    assert_loads,
    flip,
    kill_states,
    save,
)


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
                files.checked(tmp_path, segment["file"])
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
