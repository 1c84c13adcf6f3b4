"""Writes files atomically: beside their target, then renamed. Text is UTF-8, and JSON has no NaN."""

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
"""Longest file name made from a task or a label, in bytes. File systems take 255, and suffixes are added to it."""

TEMPORARY = r"(\.\d+-\d+)?\.tmp"
"""A regular expression for the suffix of a file that is being written, which a killed process may leave."""


def write_bytes(path: Path, content: bytes) -> None:
    """Replaces a file atomically; the bytes are on the disk when the function returns."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`, to which the block writes, and renames it to `path` when the block ends.

    If the block raises an error, `path` is unchanged and the temporary file is deleted. Its name is unique to a thread
    of a process, so that two writers do not mix their bytes: the later one wins.
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
    """Writes the renames in a folder through to the disk, so that they survive a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Writes a text with `write_bytes` in UTF-8, whatever the locale is. Paths in it that Python could not decode are
    written with their original bytes."""
    write_bytes(path, text.encode("utf-8", "surrogateescape"))


def write_json(path: Path, tree: Any, indent: int | None = None) -> None:
    """Writes a JSON tree with `write_text` and `json_text`."""
    write_text(path, json_text(tree, indent=indent) + "\n")


def json_text(tree: Any, **layout: Any) -> str:
    """Converts a tree to JSON. Numbers that are not finite become null, since JSON has no NaN.

    `layout` has arguments of `json.dumps`: indent, separators, sort_keys.
    """
    try:
        return json.dumps(tree, allow_nan=False, **layout)
    except ValueError:
        return json.dumps(finite(tree), allow_nan=False, **layout)


def finite(tree: Any) -> Any:
    """Returns a JSON tree with None in place of every number that is not finite."""
    if isinstance(tree, Mapping):
        return {name: finite(value) for name, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [finite(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree


def with_nan(tree: Any) -> Any:
    """Returns a JSON tree with NaN in place of every null: the inverse of `finite` for records of numbers."""
    if isinstance(tree, dict):
        return {name: with_nan(value) for name, value in tree.items()}
    if isinstance(tree, list):
        return [with_nan(value) for value in tree]
    return math.nan if tree is None else tree


def file_name(text: str) -> str:
    """Converts a task or a label to the name of a file or folder, without separators and of bounded length.

    A long name is truncated, and ends in eight hexadecimal digits of its hash, so that different names stay different.
    """
    name = re.sub(r"[:/\0]", "-", text)
    encoded = os.fsencode(name)
    if len(encoded) <= LONGEST_NAME:
        return name
    return f"{encoded[: LONGEST_NAME - 9].decode(errors='ignore')}-{hashlib.sha256(encoded).hexdigest()[:8]}"
