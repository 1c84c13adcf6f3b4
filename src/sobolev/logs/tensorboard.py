"""TensorBoard's event files as a view of a run's metrics.

Events are written in the calling thread. tensorboardX's own writer uses a thread that dies when the disk is full, and
then waits for it forever.
"""

import importlib
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from sobolev.logs.rows import Row

FLUSH_SECONDS = 30.0
"""Seconds between two flushes to the disk."""


class TensorBoard:
    """Writes event files into folders seed-N. A run that resumes hides the events after its checkpoint."""

    def __init__(self, folder: Path, resume_from: int | None, clock: Callable[[], float] = time.monotonic):
        """`resume_from` is the env step of the checkpoint from which the run resumes; None hides no events."""
        self.folder, self.resume_from, self.clock = folder, resume_from, clock
        self.files: dict[int, Any] = {}
        self.flushed: dict[int, float] = {}
        self.purged: set[int] = set()

    def begin(self, seed: int) -> None:
        """Opens the file of a seed; it hides the events that earlier processes logged after the checkpoint."""
        file = self._file(seed)
        if self.resume_from is None or seed in self.purged:
            return
        event = _proto("event")
        restart = event.SessionLog(status=event.SessionLog.START)
        self._put(seed, file, event.Event(wall_time=time.time(), step=self.resume_from + 1, session_log=restart))
        self.purged.add(seed)

    def write(self, row: Row) -> None:
        """Writes a row with its pictures as one event."""
        self.begin(row.seed)
        summary = _proto("summary").Summary
        values = [summary.Value(tag=name, simple_value=value) for name, value in row.values.items()]
        for name, picture in row.pictures.items():
            image = summary.Image(
                height=picture.height, width=picture.width, colorspace=3, encoded_image_string=picture.encoded
            )
            values.append(summary.Value(tag=name, image=image))
        event = _proto("event").Event(wall_time=time.time(), step=row.step, summary=summary(value=values))
        self._put(row.seed, self._file(row.seed), event)

    def close(self) -> None:
        """Flushes and closes all files."""
        for seed in list(self.files):
            self.files.pop(seed).close()

    def _file(self, seed: int) -> Any:
        """Returns the open file of a seed. After a failure it is a new one: nothing after half an event can be read."""
        if seed not in self.files:
            from tensorboardX.event_file_writer import EventsWriter

            place = self.folder / f"seed-{seed}"
            place.mkdir(parents=True, exist_ok=True)
            # two files of the same second would otherwise have the same name
            self.files[seed] = EventsWriter(str(place / "events"), f".{time.time_ns() % 10**9:09d}")
            self.flushed[seed] = float("-inf")
        return self.files[seed]

    def _put(self, seed: int, file: Any, event: Any) -> None:
        try:
            file.write_event(event)
            if self.clock() - self.flushed[seed] > FLUSH_SECONDS:
                file.flush()
                self.flushed[seed] = self.clock()
        except OSError:
            with suppress(OSError):
                self.files.pop(seed).close()
            raise


def _proto(name: str) -> Any:
    """Returns a module of protobuf classes, which are created at import and so have no types."""
    return importlib.import_module(f"tensorboardX.proto.{name}_pb2")
