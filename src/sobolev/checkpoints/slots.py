"""The checkpoints of a run, in two slots. This module knows files and arrays, not agents.

A folder has two slots, which are written in turn, and files that they share:

    checkpoint-0.json, checkpoint-1.json    manifest of a slot, renamed into place last: makes the checkpoint valid
    state-<serial>.safetensors              state of a slot, written in full at every save
    steps-<from>-<to>.safetensors           growing data: a segment per save, merged when there are many

A manifest has the size and checksum of every file. A file that it names is not changed or deleted before the other slot
has a newer checkpoint, so the previous checkpoint stays loadable whatever interrupts a save. There are at most three
states on the disk (two slots and the one being written).

If a segment is damaged, only its steps are lost: a checkpoint is valid if its state is. Lost steps are listed in the
manifests ("holes"), and so are steps that hold NaN or infinity.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from sobolev.checkpoints import ranges
from sobolev.checkpoints.files import (
    OWN_TEMPORARY,
    Damaged,
    checked,
    is_finite,
    load_arrays,
    need_room,
    not_finite,
    read_arrays,
    read_record,
    room_errors,
    write_arrays,
    write_record,
)
from sobolev.checkpoints.ranges import Range
from sobolev.checkpoints.segments import merged
from sobolev.errors import UserError
from sobolev.system.atomic_files import TEMPORARY

STATE = re.compile(r"state-(\d+)\.safetensors")
SHARED = rf"({STATE.pattern}|steps-\d+-\d+\.safetensors)({TEMPORARY})?|checkpoint-[01]\.json{TEMPORARY}|{OWN_TEMPORARY}"
"""A regular expression for the files of a checkpoint folder other than manifests."""
NAMES = rf"checkpoint-[01]\.json|{SHARED}"
"""A regular expression for all files of a checkpoint folder."""


class Loaded(NamedTuple):
    """A checkpoint as it was saved, without damaged steps."""

    iteration: int
    state: dict[str, np.ndarray]
    had: list[Range]
    """the steps with which it was saved"""
    whole: list[Range]
    """the steps that can be read now"""
    meta: dict[str, Any]
    notes: list[str]
    """messages for the user about damage"""


class Checkpoints:
    """The checkpoints in a folder, used by one program. A run that resumes calls `load` before its first `save`."""

    def __init__(self, folder: Path):
        """`folder` is created at the first save, if it is missing."""
        self.folder = Path(folder)
        self._current: dict[str, Any] | None = None

    def save(
        self,
        iteration: int,
        state: Mapping[str, np.ndarray],
        growing: Mapping[str, np.ndarray],
        meta: Mapping[str, Any],
        keep_from: int = 0,
    ) -> None:
        """Writes a checkpoint into the slot with the older one.

        state: arrays, written in full. growing: arrays [new steps, ...] of equal length, the steps from
        `next_step(keep_from)` on. meta: a JSON tree. keep_from: the first step that is still needed; segments that end
        before it are dropped.

        Raises NotSaved if the disk is full or the folder cannot be written; the earlier checkpoints are then unchanged,
        and no file is left over. Raises ValueError if the folder has checkpoints that were not loaded, or if the
        growing arrays differ in length."""
        if self._current is None and self.exists():
            raise ValueError(f"{self.folder} has checkpoints that were not loaded: saving would mix two runs")
        count = _length(growing)
        size = sum(array.nbytes for part in (state, growing) for array in part.values())
        with room_errors(self.folder, size):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._clean()
            need_room(self.folder, size)
            try:
                self._current = self._write(iteration, state, growing, count, meta, keep_from)
            finally:
                self._clean()

    def next_step(self, keep_from: int = 0) -> int:
        """Returns the first step of the growing data of the next save: the one after those saved, but at least
        `keep_from`."""
        return max(self._current["growing_to"] if self._current else 0, keep_from)

    def held(self) -> list[Range]:
        """Returns the readable steps of the checkpoint that was loaded or saved last."""
        return _held(self._current) if self._current else []

    def load(
        self,
        growing: Literal["check", "leave"] = "check",
        finite: Sequence[str] = (),
        strict: bool = False,
    ) -> Loaded | None:
        """Loads the newest checkpoint with an undamaged state; None if there is no checkpoint. Does not write.

        growing: whether to check the growing data, which `pieces` then reads, or to leave its files unopened. finite:
        prefixes of the names of arrays that must be finite, otherwise the state counts as damaged. If the newest state
        is damaged, the one before is loaded. Steps that are damaged, or hold NaN or infinity, are left out. `notes`
        reports both.

        Raises UserError if no state is undamaged, and with `strict` for any damage in what is needed."""
        manifests, lost = self._manifests()
        newest = max([*self._serials(), *(manifest["serial"] for manifest in manifests)])
        for manifest in sorted(manifests, key=lambda manifest: -manifest["serial"]):
            try:
                state = self._state(manifest, finite)
            except Damaged as error:
                lost.append(f"the checkpoint of iteration {manifest['iteration']} is damaged: {error}")
                continue
            if lost and newest > manifest["serial"]:
                lost.append(f"went back to the checkpoint of iteration {manifest['iteration']}")
            whole, found = self._without_damage(manifest) if growing != "leave" else (manifest, [])
            notes = [*lost, *found]
            if strict and notes:
                told = "; ".join(notes)
                raise UserError(f"{self.folder}: {told}: --strict-resume stops here, leave it out to resume")
            self._current = whole
            return Loaded(
                iteration=manifest["iteration"],
                state=state,
                had=_held(manifest),
                whole=self.held(),
                meta=manifest["meta"],
                notes=notes,
            )
        if lost:
            told = "; ".join(dict.fromkeys(lost))  # two manifests may name one file
            raise UserError(f"no checkpoint in {self.folder} is whole ({told}): sobolev train --fresh starts over")
        return None

    def pieces(self) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """Yields the growing data of the checkpoint that was loaded or saved last, by segment, since memory may not
        hold it twice: (number of the first step, arrays). Not all of these steps are in `held`.

        Raises UserError if a segment was damaged after it was checked."""
        for segment in self._current["segments"] if self._current else ():
            try:
                arrays = load_arrays(self.folder / segment["file"]["name"])
            except Damaged as error:
                raise UserError(
                    f"{self.folder}: {error}, although it was undamaged a moment ago: give the command again"
                ) from error
            yield segment["from"], arrays

    def exists(self) -> bool:
        """Returns whether the folder has a checkpoint, damaged or not."""
        return any(self._slot(slot).exists() for slot in (0, 1))

    def newest(self) -> dict[str, Any] | None:
        """Returns the `meta` of the newest checkpoint, without checking its arrays; None if there is no checkpoint."""
        manifests = self._manifests()[0]
        return max(manifests, key=lambda manifest: manifest["serial"])["meta"] if manifests else None

    def _write(self, iteration, state, growing, count: int, meta, keep_from: int) -> dict[str, Any]:
        before = self._current or {"serial": 0, "slot": 1, "segments": []}
        if self._current:
            self._fill_slots(before)
        serial = 1 + max([before["serial"]] + [manifest["serial"] for manifest in self._manifests()[0]])
        start = self.next_step(keep_from)
        stop = start + count
        segments = [segment for segment in before["segments"] if segment["to"] > keep_from]
        if count:
            file = write_arrays(self.folder / f"steps-{start}-{stop}.safetensors", growing)
            segments.append({"from": start, "to": stop, "file": file})
        segments = merged(self.folder, segments, sum(array.nbytes for array in state.values()))
        manifest = {
            "serial": serial,
            "slot": 1 - before["slot"],
            "iteration": iteration,
            "state": write_arrays(self.folder / f"state-{serial}.safetensors", state),
            "segments": segments,
            "holes": [hole for hole in before.get("holes", ()) if hole[1] > keep_from],
            "growing_to": stop,
            "meta": dict(meta),
        }
        write_record(self._slot(manifest["slot"]), manifest)
        self._fill_slots(manifest)
        return manifest

    def _fill_slots(self, manifest: dict[str, Any]) -> None:
        """Copies a manifest to the other slot if that has none. From then on a missing manifest means damage."""
        other = 1 - manifest["slot"]
        if not self._slot(other).exists():
            write_record(self._slot(other), manifest | {"serial": manifest["serial"] - 1, "slot": other})

    def _state(self, manifest: dict[str, Any], finite: Sequence[str]) -> dict[str, np.ndarray]:
        state = read_arrays(self.folder, manifest["state"])
        for name, array in state.items():
            if name.startswith(tuple(finite)) and not is_finite(array):
                file = manifest["state"]["name"]
                raise Damaged(f"'{name}' in {file} holds NaN or infinity, perhaps from a reward that was not finite")
        return state

    def _without_damage(self, manifest: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """Returns the manifest without steps that are damaged or not finite, and messages about these steps."""
        had, whole = _held(manifest), []
        damaged: list[Range] = []
        poisoned: list[Range] = []
        why = []
        for segment in manifest["segments"]:
            try:
                rows = not_finite(checked(self.folder, segment["file"]))
            except Damaged as error:
                damaged.append((segment["from"], segment["to"]))
                why.append(str(error))
                continue
            whole.append(segment)
            if rows is not None:
                poisoned += ranges.true_ranges(rows, segment["from"])
        notes, resumed = [], "the run resumes without them, and is no longer the same to the bit"
        if steps := ranges.common(damaged, had):
            files = why[0] + (f", and {len(why) - 1} more files" if len(why) > 1 else "")
            notes.append(f"replay has damage in {ranges.told(steps)} ({files}): {resumed}")
        if steps := ranges.common(poisoned, had):
            notes.append(f"replay holds NaN or infinity in {ranges.told(steps)}: {resumed}")
        holes = ranges.joined([*manifest.get("holes", ()), *damaged, *poisoned])
        return manifest | {"segments": whole, "holes": holes}, notes

    def _manifests(self) -> tuple[list[dict[str, Any]], list[str]]:
        """Returns the readable manifests, and a message about each one that is damaged or missing."""
        manifests, notes, missing = [], [], []
        for slot in (0, 1):
            try:
                manifests.append(read_record(self._slot(slot)))
            except FileNotFoundError:
                missing.append(self._slot(slot).name)
            except Damaged as error:
                notes.append(f"a checkpoint is damaged: {error}")
        # the first save may have been interrupted before its manifest, or between its two copies
        newer = max(self._serials()) > max((manifest["serial"] for manifest in manifests), default=1)
        notes += [f"a checkpoint is damaged: {name} is missing" for name in missing if newer]
        return manifests, notes

    def _serials(self) -> list[int]:
        """Returns the serial numbers of the states on the disk, and 0."""
        names = [path.name for path in self.folder.iterdir()] if self.folder.is_dir() else []
        return [0, *(int(found.group(1)) for found in map(STATE.fullmatch, names) if found)]

    def _clean(self) -> None:
        """Deletes what an interrupted save left, and files that no manifest names any more."""
        manifests = self._manifests()[0]
        if self._current is not None:
            # its files are kept even if its manifest cannot be read at the moment
            manifests.append(self._current)
        named = {
            file["name"]
            for manifest in manifests
            for file in [manifest["state"], *(segment["file"] for segment in manifest["segments"])]
        }
        for path in self.folder.iterdir():
            if path.name not in named and re.fullmatch(SHARED, path.name):
                with suppress(OSError):  # a file that cannot be deleted does no harm
                    path.unlink()

    def _slot(self, slot: int) -> Path:
        return self.folder / f"checkpoint-{slot}.json"


def _held(manifest: Mapping[str, Any]) -> list[Range]:
    """Returns the steps of a manifest's segments, without its holes."""
    steps = ((segment["from"], segment["to"]) for segment in manifest["segments"])
    return ranges.without(steps, manifest.get("holes", ()))


def _length(growing: Mapping[str, np.ndarray]) -> int:
    lengths = {name: len(array) for name, array in growing.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"growing arrays of different lengths: {lengths}")
    return next(iter(lengths.values()), 0)
