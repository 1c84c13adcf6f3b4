"""Small files that a reader finds whole or not at all: written beside their place, then renamed into it."""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> None:
    """Replace a file by this text in UTF-8, on the disk when the function returns."""
    write_bytes(path, text.encode())


def write_json(path: Path, tree: Any, indent: int | None = None) -> None:
    """Replace a file by a tree as JSON. Raises ValueError for numbers that are not finite, which JSON does not have."""
    write_text(path, json.dumps(tree, indent=indent, allow_nan=False) + "\n")


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file by these bytes, on the disk when the function returns."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path`, for whoever writes the file; it takes the place of `path` when the block ends.

    Where the block raises an error, `path` stays as it was and nothing is left beside it. The name belongs to one
    thread of one process, so that two writers never mix their bytes: the later one wins.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the folder's renames last through a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
