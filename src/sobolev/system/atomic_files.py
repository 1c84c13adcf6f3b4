"""Files that are whole or not there: written beside their target and renamed, text in UTF-8, JSON without NaN."""

import hashlib
import json
import math
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

LONGEST_NAME = 120
"""Bytes of a file's name that is made from a task or a label; file systems take 255, with what is added to it."""

TEMPORARY = r"(\.\d+-\d+)?\.tmp"
"""A regular expression for the end of the name of a file that is being written; a process that is killed leaves it."""


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


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of a text in UTF-8, whatever the terminal's encoding is; paths that Python could not decode are
    written with the bytes that they have on the disk."""
    write_bytes(path, text.encode("utf-8", "surrogateescape"))


def write_json(path: Path, tree: Any, indent: int | None = None) -> None:
    """`write_text` of `json_text`."""
    write_text(path, json_text(tree, indent=indent) + "\n")


def json_text(tree: Any, **layout: Any) -> str:
    """A tree as JSON; numbers that are not finite are written as null, as JSON has no word for them.

    `layout` is what `json.dumps` takes: indent, separators, sort_keys.
    """
    try:
        return json.dumps(tree, allow_nan=False, **layout)
    except ValueError:
        return json.dumps(finite(tree), allow_nan=False, **layout)


def finite(tree: Any) -> Any:
    """A JSON tree with None in the place of every number that is not finite."""
    if isinstance(tree, Mapping):
        return {name: finite(value) for name, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [finite(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree


def file_name(text: str) -> str:
    """A task or a label as the name of a file or folder: without separators, and of bounded length.

    What is too long is cut and ends in eight hexadecimal digits over the whole of it, so that two names stay two.
    """
    name = re.sub(r"[:/\0]", "-", text)
    encoded = os.fsencode(name)
    if len(encoded) <= LONGEST_NAME:
        return name
    return f"{encoded[: LONGEST_NAME - 9].decode(errors='ignore')}-{hashlib.sha256(encoded).hexdigest()[:8]}"
