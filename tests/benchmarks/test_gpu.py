"""Kernels counted in a compiled program's text, a run's programs traced for a GPU, and the whole path of a sitting."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import pytest

from sobolev.system.target import for_accelerator, traced_for
from sobolev.training.program import Program
from tests import tiny

FOLDER = Path(__file__).parents[2] / "benchmarks"
TEXT = """HloModule example

%fused (p0: f32[8,4], p1: s32[]) -> f32[1,4] {
  %p0 = f32[8,4]{1,0} parameter(0)
  %p1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %row = f32[1,4]{1,0} dynamic-slice(%p0, %p1, %zero), dynamic_slice_sizes={1,4}
}

%body (state: (s32[], f32[8,4], f32[4,4])) -> (s32[], f32[8,4], f32[4,4]) {
  %state = (s32[], f32[8,4], f32[4,4]) parameter(0)
  %i = s32[] get-tuple-element(%state), index=0
  %all = f32[8,4]{1,0} get-tuple-element(%state), index=1
  %kernel = f32[4,4]{1,0} get-tuple-element(%state), index=2
  %row = f32[1,4]{1,0} fusion(%all, %i), kind=kLoop, calls=%fused
  %copied-start = (f32[8,4], f32[1,4], u32[]) fusion-start(%all, %i), kind=kLoop, calls=%fused
  %copied = f32[1,4]{1,0} fusion-done(%copied-start)
  %y = f32[1,4]{1,0} dot(%row, %kernel), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  ROOT %next = (s32[], f32[8,4], f32[4,4]) tuple(%i, %all, %kernel)
}

ENTRY %main (a: (s32[], f32[8,4], f32[4,4])) -> f32[8,4] {
  %a = (s32[], f32[8,4], f32[4,4]) parameter(0)
  %loop = (s32[], f32[8,4], f32[4,4]) while(%a), condition=%c, body=%body, backend_config={"known_trip_count":{"n":"5"}}
  %all = f32[8,4]{1,0} get-tuple-element(%loop), index=1
  %sum = f32[8,4]{1,0} all-reduce(%all), to_apply=%add
  ROOT %copy = f32[8,4]{0,1} copy(%sum)
}
"""


@pytest.fixture(scope="module")
def kernels() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        return importlib.import_module("_kernels")


def test_kernels_bytes_and_operations_of_a_program(kernels: ModuleType) -> None:
    found = kernels.read(TEXT)
    assert (found.kernels, found.copies) == (5 * 2 + 2, 5)
    assert [(loop.trips, loop.kernels, loop.copies, loop.known) for loop in found.loops] == [(5, 2, 1, True)]
    assert found.collectives == {"all-reduce": 1} and found.by_part.total() == found.kernels
    assert found.operations == 5 * 2 * 4 * 4
    row = 4 * 4 + 4 + 4 * 4  # of the array a row is read, then the position, and a row is written
    product = 4 * (4 + 16 + 4)
    assert found.bytes == 5 * (2 * row + product) + 2 * 2 * 8 * 4 * 4


KERNELS = """HloModule example

%gathered (p0: u16[1,16,300,8], p1: s32[4,2]) -> u16[4,8] {
  %p0 = u16[1,16,300,8]{3,2,1,0} parameter(0)
  %p1 = s32[4,2]{1,0} parameter(1)
  %flat = u16[16,300,8]{2,1,0} bitcast(%p0)
  %rows = u16[4,1,1,8]{3,2,1,0} gather(%flat, %p1), slice_sizes={1,1,8}
  ROOT %seen = u16[4,8]{1,0} bitcast(%rows)
}

%scattered (p0: u16[16,300,8], p1: s32[4,2], p2: u16[4,1,1,8]) -> u16[1,16,300,8] {
  %p0 = u16[16,300,8]{2,1,0} parameter(0)
  %p1 = s32[4,2]{1,0} parameter(1)
  %p2 = u16[4,1,1,8]{3,2,1,0} parameter(2)
  %all = u16[16,300,8]{2,1,0} scatter(%p0, %p1, %p2), to_apply=%second
  ROOT %seen = u16[1,16,300,8]{3,2,1,0} bitcast(%all)
}

ENTRY %main (a: u16[1,16,300,8], i: s32[4,2]) -> u16[4,8] {
  %a = u16[1,16,300,8]{3,2,1,0} parameter(0)
  %i = s32[4,2]{1,0} parameter(1)
  %row = u16[4,8]{1,0} fusion(%a, %i), kind=kLoop, calls=%gathered
  %flat = u16[16,300,8]{2,1,0} bitcast(%a)
  %part = u16[4,1,1,8]{3,2,1,0} bitcast(%row)
  %kept = u16[1,16,300,8]{3,2,1,0} fusion(%flat, %i, %part), kind=kInput, calls=%scattered
  ROOT %own = u16[4,8]{1,0} custom-call(%row, %i), metadata={op_name="f/share_0.25_intensity_8/g"}
}
"""


def test_bytes_of_rows_in_a_large_array_and_of_kernels_that_say_what_they_move(kernels: ModuleType) -> None:
    found = kernels.read(KERNELS)
    rows, places = 4 * 8 * 2, 4 * 2 * 4
    own = (rows + places + rows) / 4
    assert found.kernels == 3
    assert found.bytes == (rows + places + rows) + (rows + places + rows) + own
    assert found.operations == 8 * own


CONDITION = """HloModule example

%trained (x: f32[4]) -> f32[4] {
  %x = f32[4]{0} parameter(0)
  %y = f32[4]{0} add(%x, %x)
  ROOT %z = f32[4]{0} multiply(%y, %y)
}

%left (x: f32[4]) -> f32[4] {
  %x = f32[4]{0} parameter(0)
  ROOT %z = f32[4]{0} copy(%x)
}

%body (state: (s32[], f32[4])) -> (s32[], f32[4]) {
  %state = (s32[], f32[4]) parameter(0)
  %i = s32[] get-tuple-element(%state), index=0
  %x = f32[4]{0} get-tuple-element(%state), index=1
  %y = f32[4]{0} conditional(%i, %x, %x), branch_computations={%left, %trained}
  ROOT %next = (s32[], f32[4]) tuple(%i, %y)
}

ENTRY %main (p: pred[], a: (s32[], f32[4])) -> f32[4] {
  %p = pred[] parameter(0)
  %a = (s32[], f32[4]) parameter(1)
  %loop = (s32[], f32[4]) while(%a), condition=%c, body=%body, backend_config={"known_trip_count":{"n":"5"}}
  %x = f32[4]{0} get-tuple-element(%loop), index=1
  ROOT %y = f32[4]{0} conditional(%p, %x, %x), true_computation=%trained, false_computation=%left
}
"""


def test_a_condition_counts_as_the_longer_of_its_branches(kernels: ModuleType) -> None:
    found = kernels.read(CONDITION)
    assert found.kernels == 5 * 2 + 2 and found.by_part.total() == found.kernels
    assert found.sometimes == 5 + 1


@pytest.mark.parametrize("call", ["update", "updates", "step", "act"])
def test_programs_are_traced_and_not_run(call: str) -> None:
    program = Program(tiny.agent(), (0,), devices=jax.devices()[:1])
    with traced_for("accelerator"):
        assert for_accelerator() and program.updates_at_once
        traced = program.trace(call, tiny.ENVIRONMENTS, 100)
    assert not for_accelerator() or jax.default_backend() != "cpu"
    assert "while" in str(traced.jaxpr) or "scan" in str(traced.jaxpr)
    with pytest.raises(KeyError):
        program.trace("nothing", 1, 100)


def test_the_parts_of_a_sitting_leave_a_minute_of_nine_to_learn() -> None:
    script = (FOLDER / "gpu_session.sh").read_text()
    limits = re.findall(r"^ *(?:XLA_FLAGS=.* )?(?:part|updates) ([a-z-]+) (\d+)\b", script, re.MULTILINE)
    assert len(limits) == 13 and sum(int(seconds) for _, seconds in limits) <= 8 * 60


def test_a_sitting_without_a_gpu_is_refused(tmp_path: Path) -> None:
    """Its tests would pass with kernels that are interpreted, and its numbers would be of a CPU."""
    environment = {name: value for name, value in os.environ.items() if name != "TINY"}
    environment |= {"JAX_PLATFORMS": "cpu", "PYTHON": sys.executable}
    command = ["bash", str(FOLDER / "gpu_session.sh"), str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)
    assert ended.returncode == 1 and "jax computes on cpu here" in ended.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif("GPU_SESSION" not in os.environ, reason="minutes long: make test-gpu-session")
def test_a_sitting_at_a_gpu_goes_all_its_way_on_a_cpu(tmp_path: Path) -> None:
    environment = {**os.environ, **tiny.quick_environment(), "TINY": "1", "PYTHON": sys.executable, "MINUTES": "9"}
    command = ["bash", str(FOLDER / "gpu_session.sh"), str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=590)
    assert ended.returncode == 0, ended.stderr
    parts = _lines(tmp_path / "session.jsonl")
    statuses = {part["part"]: part["status"] for part in parts}
    assert statuses.pop("device") in (0, 127)  # no nvidia-smi here
    logs = {name: (tmp_path / f"{name}.log").read_text()[-600:] for name, status in statuses.items() if status}
    assert not logs, logs
    rows = {row["label"]: row for row in _lines(tmp_path / "updates.jsonl")}
    assert {"gpld", "gpld-fused", "gpld-seeds", "dsdpg", "dsdpg-seeds", "latency-hiding"} <= set(rows)
    assert all(row["updates_per_second"] > 0 for row in rows.values())
    assert rows["gpld-fused"]["form"] == "fused"
    assert rows["gpld"]["kernels"] > 0 and rows["gpld-seeds"]["seeds"] == 5
    assert (tmp_path / "run" / "metrics.jsonl").read_text()


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
