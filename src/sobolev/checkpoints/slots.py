"""Checkpoints of a run: files only, nothing about agents.

A folder holds two slots, written in turn, and what they share:

    checkpoint-0.json, checkpoint-1.json    a slot's manifest, renamed into place last: it makes the checkpoint valid
    state-<serial>.safetensors              a slot's state, written whole at every save
    steps-<from>-<to>.safetensors           growing data: one segment per save, used by both slots

The manifest has the size and checksum of every file. A file that it names is not touched until the other slot holds a
newer checkpoint, so whatever interrupts a save, the one before stays loadable. At most three states are on the disk at
a time (two slots and the one being written).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from sobolev.checkpoints.files import (
    TEMPORARY,
    Damaged,
    checked,
    load_arrays,
    need_room,
    read_arrays,
    read_record,
    room_errors,
    write_arrays,
    write_record,
)
from sobolev.errors import UserError


class Loaded(NamedTuple):
    """A checkpoint as it was saved."""

    iteration: int
    state: dict[str, np.ndarray]
    growing: dict[str, np.ndarray]
    """all kept steps in order, [growing_to - growing_from, ...]"""
    growing_from: int
    """number of the first kept step"""
    growing_to: int
    """number of the step after the last kept one"""
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

        Raises UserError where the disk has no room, with the checkpoints before it untouched and no file left over;
        ValueError where the folder has checkpoints that were not loaded, or the growing arrays differ in length."""
        if self._current is None and self.exists():
            raise ValueError(f"{self.folder} has checkpoints that were not loaded: saving would mix two runs")
        count = _length(growing)
        size = sum(array.nbytes for part in (state, growing) for array in part.values())
        self.folder.mkdir(parents=True, exist_ok=True)
        self._clean()
        need_room(self.folder, size)
        try:
            with room_errors(self.folder, size):
                self._current = self._write(iteration, state, growing, count, meta, keep_from)
        finally:
            self._clean()

    def next_step(self, keep_from: int = 0) -> int:
        """The step at which the growing data of the next save begins: after those saved, but not before `keep_from`."""
        return max(self._current["growing_to"] if self._current else 0, keep_from)

    def load(self, growing: Literal["read", "check", "leave"] = "read") -> Loaded | None:
        """The newest checkpoint that is whole, or None where there is none at all. Changes nothing on the disk.

        growing: whether to read the growing data too, or only to check it (for `pieces`), or neither. Where the newest
        checkpoint is damaged the one before is loaded and `notes` says so. Raises UserError where both are damaged."""
        manifests, notes = self._manifests()
        for manifest in sorted(manifests, key=lambda manifest: -manifest["serial"]):
            try:
                loaded = self._read(manifest, growing)
            except Damaged as error:
                notes.append(f"the checkpoint of iteration {manifest['iteration']} is damaged: {error}")
                continue
            self._current = manifest
            if notes:
                notes.append(f"went back to the checkpoint of iteration {manifest['iteration']}")
            return loaded._replace(notes=notes)
        if notes:
            raise UserError(f"no checkpoint in {self.folder} is whole ({'; '.join(notes)}): start again with --fresh")
        return None

    def pieces(self) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """The growing data of the checkpoint that was loaded or saved last, a piece at a time, since it may be larger
        than memory holds twice: (number of the piece's first step, arrays)."""
        for segment in self._current["segments"] if self._current else ():
            yield segment["from"], load_arrays(self.folder / segment["file"]["name"])

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
        serial = 1 + max([before["serial"]] + [manifest["serial"] for manifest in self._manifests()[0]])
        start = self.next_step(keep_from)
        stop = start + count
        segments = [segment for segment in before["segments"] if segment["to"] > keep_from]
        if count:
            file = write_arrays(self.folder / f"steps-{start}-{stop}.safetensors", growing)
            segments.append({"from": start, "to": stop, "file": file})
        manifest = {
            "serial": serial,
            "slot": 1 - before["slot"],
            "iteration": iteration,
            "state": write_arrays(self.folder / f"state-{serial}.safetensors", state),
            "segments": segments,
            "growing_to": stop,
            "meta": dict(meta),
        }
        write_record(self._slot(manifest["slot"]), manifest)
        return manifest

    def _read(self, manifest: dict[str, Any], growing: str) -> Loaded:
        state = read_arrays(self.folder, manifest["state"])
        segments = manifest["segments"]
        paths = [checked(self.folder, segment["file"]) for segment in segments if growing != "leave"]
        parts = [load_arrays(path) for path in paths if growing == "read"]
        whole = {name: np.concatenate([part[name] for part in parts]) for name in (parts[0] if parts else ())}
        start = segments[0]["from"] if segments else manifest["growing_to"]
        return Loaded(manifest["iteration"], state, whole, start, manifest["growing_to"], manifest["meta"], [])

    def _manifests(self) -> tuple[list[dict[str, Any]], list[str]]:
        """The readable manifests, and a note on each that is damaged."""
        manifests, notes = [], []
        for slot in (0, 1):
            try:
                manifests.append(read_record(self._slot(slot)))
            except FileNotFoundError:
                continue
            except Damaged as error:
                notes.append(f"a checkpoint is damaged: {error}")
        return manifests, notes

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
        for pattern in ("state-*.safetensors", "steps-*.safetensors", *TEMPORARY):
            for path in self.folder.glob(pattern):
                if path.name not in named:
                    path.unlink(missing_ok=True)

    def _slot(self, slot: int) -> Path:
        return self.folder / f"checkpoint-{slot}.json"


def _length(growing: Mapping[str, np.ndarray]) -> int:
    lengths = {name: len(array) for name, array in growing.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"growing arrays of different lengths: {lengths}")
    return next(iter(lengths.values()), 0)
