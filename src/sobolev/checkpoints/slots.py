"""Checkpoints of a run: files only, nothing about agents.

A folder holds two slots, written in turn, and what they share:

    checkpoint-0.json, checkpoint-1.json    a slot's manifest, renamed into place last: it makes the checkpoint valid
    state-<serial>.safetensors              a slot's state, written whole at every save
    steps-<from>-<to>.safetensors           growing data: one segment per save, merged where they become many

The manifest has the size and checksum of every file. A file that it names is not touched until the other slot holds a
newer checkpoint, so whatever interrupts a save, the one before stays loadable. At most three states are on the disk at
a time (two slots and the one being written).

Of a damaged segment the steps are lost, and nothing else: a checkpoint is whole if its state is. What is lost stays
noted in the manifests ("holes"), as do steps that hold NaN or an infinity.
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
"""What a folder of checkpoints holds beside the manifests."""
NAMES = rf"checkpoint-[01]\.json|{SHARED}"
"""A regular expression for every file that a folder of checkpoints may have."""


class Loaded(NamedTuple):
    """A checkpoint as it was saved, but for steps that are damaged."""

    iteration: int
    state: dict[str, np.ndarray]
    growing: dict[str, np.ndarray]
    """all steps of `whole` in order"""
    growing_from: int
    """number of the first kept step"""
    growing_to: int
    """number of the step after the last kept one"""
    had: list[Range]
    """the steps that it was saved with"""
    whole: list[Range]
    """those that can be read now"""
    meta: dict[str, Any]
    notes: list[str]
    """sentences for the user, where something was damaged"""


class Checkpoints:
    """The checkpoints in one folder, of one running program. A resumed run calls `load` before its first `save`."""

    def __init__(self, folder: Path):
        """folder: made at the first save where it is missing."""
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
        """Write a checkpoint into the slot that does not hold the newest one.

        state: arrays, written whole. growing: arrays [new steps, ...], all of one length, the steps from
        `next_step(keep_from)` on. meta: JSON-able. keep_from: the first step that is still needed; segments that end
        before it are dropped.

        Raises NotSaved where the disk has no room or the folder may not be written, with the checkpoints before it
        untouched and no file left over; ValueError where the folder has checkpoints that were not loaded, or the
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
        """The step at which the growing data of the next save begins: after those saved, but not before `keep_from`."""
        return max(self._current["growing_to"] if self._current else 0, keep_from)

    def held(self) -> list[Range]:
        """The steps that can be read of the checkpoint that was loaded or saved last."""
        return _held(self._current) if self._current else []

    def load(
        self,
        growing: Literal["read", "check", "leave"] = "read",
        finite: Sequence[str] = (),
        strict: bool = False,
    ) -> Loaded | None:
        """The newest checkpoint whose state is whole, or None where there is none. Changes nothing on the disk.

        growing: whether to read the growing data too, or only to check it (for `pieces`), or neither. finite: how the
        names of arrays begin that must be finite, else the state counts as damaged. Where the newest state is damaged
        the one before is loaded; where steps are, or hold NaN or an infinity, they are left out; `notes` says so.

        Raises UserError where no state is whole, and with `strict` where anything that is needed is damaged."""
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
            steps, stop = self.held(), manifest["growing_to"]
            return Loaded(
                iteration=manifest["iteration"],
                state=state,
                growing=self._read() if growing == "read" else {},
                growing_from=steps[0][0] if steps else stop,
                growing_to=stop,
                had=_held(manifest),
                whole=steps,
                meta=manifest["meta"],
                notes=notes,
            )
        if lost:
            raise UserError(f"no checkpoint in {self.folder} is whole ({'; '.join(lost)}): start again with --fresh")
        return None

    def pieces(self) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """The growing data of the checkpoint that was loaded or saved last, a piece at a time, since it may be larger
        than memory holds twice: (number of the piece's first step, arrays). Not all of its steps need be in `held`."""
        for segment in self._current["segments"] if self._current else ():
            try:
                arrays = load_arrays(self.folder / segment["file"]["name"])
            except Damaged as error:
                raise UserError(f"{self.folder}: {error}, after it was whole: give the command again") from error
            yield segment["from"], arrays

    def exists(self) -> bool:
        """Whether the folder has a checkpoint, damaged or not."""
        return any(self._slot(slot).exists() for slot in (0, 1))

    def newest(self) -> dict[str, Any] | None:
        """What the newest checkpoint says of itself (the `meta` of `save`), without a look at its arrays, which may be
        damaged; None where there is none."""
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
        """Gives the other slot a copy of a manifest where it has none, so that later one without has lost it."""
        other = 1 - manifest["slot"]
        if not self._slot(other).exists():
            write_record(self._slot(other), manifest | {"serial": manifest["serial"] - 1, "slot": other})

    def _state(self, manifest: dict[str, Any], finite: Sequence[str]) -> dict[str, np.ndarray]:
        state = read_arrays(self.folder, manifest["state"])
        for name, array in state.items():
            if name.startswith(tuple(finite)) and not is_finite(array):
                file = manifest["state"]["name"]
                raise Damaged(f"'{name}' in {file} holds NaN or infinity, which a reward that is not finite may leave")
        return state

    def _without_damage(self, manifest: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """The manifest without steps that are damaged or not finite, and sentences about those that it had."""
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

    def _read(self) -> dict[str, np.ndarray]:
        parts: dict[str, list[np.ndarray]] = {}
        for start, piece in self.pieces():
            stop = start + len(next(iter(piece.values())))
            for a, b in ranges.common(self.held(), [(start, stop)]):
                for name, array in piece.items():
                    parts.setdefault(name, []).append(array[a - start : b - start])
        return {name: np.concatenate(arrays) for name, arrays in parts.items()}

    def _manifests(self) -> tuple[list[dict[str, Any]], list[str]]:
        """The readable manifests, and a note on each that is damaged, or gone."""
        manifests, notes, missing = [], [], []
        for slot in (0, 1):
            try:
                manifests.append(read_record(self._slot(slot)))
            except FileNotFoundError:
                missing.append(self._slot(slot).name)
            except Damaged as error:
                notes.append(f"a checkpoint is damaged: {error}")
        # the first save may have been broken off before its manifest, or between the first and the second
        newer = max(self._serials()) > max((manifest["serial"] for manifest in manifests), default=1)
        notes += [f"a checkpoint is damaged: {name} is missing" for name in missing if newer]
        return manifests, notes

    def _serials(self) -> list[int]:
        """The numbers of the states on the disk, and 0."""
        names = [path.name for path in self.folder.iterdir()] if self.folder.is_dir() else []
        return [0, *(int(found.group(1)) for found in map(STATE.fullmatch, names) if found)]

    def _clean(self) -> None:
        """Delete what an interrupted save left, and files that no manifest names any more."""
        manifests = self._manifests()[0]
        if self._current is not None:
            # its files stay even if its manifest cannot be read just now
            manifests.append(self._current)
        named = {
            file["name"]
            for manifest in manifests
            for file in [manifest["state"], *(segment["file"] for segment in manifest["segments"])]
        }
        for path in self.folder.iterdir():
            if path.name not in named and re.fullmatch(SHARED, path.name):
                with suppress(OSError):  # what cannot be deleted harms nobody
                    path.unlink()

    def _slot(self, slot: int) -> Path:
        return self.folder / f"checkpoint-{slot}.json"


def _held(manifest: Mapping[str, Any]) -> list[Range]:
    """The steps of a manifest's segments, without its holes."""
    steps = ((segment["from"], segment["to"]) for segment in manifest["segments"])
    return ranges.without(steps, manifest.get("holes", ()))


def _length(growing: Mapping[str, np.ndarray]) -> int:
    lengths = {name: len(array) for name, array in growing.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"growing arrays of different lengths: {lengths}")
    return next(iter(lengths.values()), 0)
