"""Files that are whole or not there: arrays as safetensors, records as JSON, written beside the target and renamed.

Nothing here uses pickle. A damaged file is a `Damaged`, a full disk a `UserError`.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from sobolev.atomic import json_text
from sobolev.errors import UserError

# safetensors writes to a hidden `.tmp` file of its own first
TEMPORARY = ("*.tmp", ".tmp*")

_DTYPES = {"bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"}
_DTYPES |= {"float16", "float32", "float64"}
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Damaged(Exception):
    """A file that is missing, cut short or altered; the text says which and how."""


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Write arrays to a safetensors file and return its record: name, size in bytes, sha256.

    Raises ValueError for a dtype that the format does not have."""
    for name, array in arrays.items():
        if array.dtype.name not in _DTYPES:
            raise ValueError(f"'{name}' is {array.dtype}, which cannot be saved")
    with _beside(path) as temporary:
        # older versions write the memory as it lies, whatever the strides; order="C" keeps a scalar's shape
        safetensors.save_file({name: np.asarray(array, order="C") for name, array in arrays.items()}, temporary)
        record = {"name": path.name, "size": temporary.stat().st_size, "sha256": _sha256(temporary)}
    return record


def read_arrays(folder: Path, record: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of a file as `write_arrays` recorded it. Raises Damaged where it is missing or not the same."""
    return load_arrays(checked(folder, record))


def checked(folder: Path, record: Mapping[str, Any]) -> Path:
    """The path of a file that is as `write_arrays` recorded it. Raises Damaged where it is missing or not the same."""
    path = folder / record["name"]
    try:
        if path.stat().st_size != record["size"]:
            raise Damaged(f"{path.name} has {path.stat().st_size} bytes instead of {record['size']}")
        if _sha256(path) != record["sha256"]:
            raise Damaged(f"{path.name} does not match its checksum")
    except OSError as error:
        raise Damaged(f"{path.name} cannot be read ({error})") from error
    return path


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file of which there is no record. Raises Damaged where it cannot be read."""
    try:
        return safetensors.load_file(path)
    except (OSError, SafetensorError) as error:
        raise Damaged(f"{path.name} cannot be read ({error})") from error


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write a JSON object with its own checksum."""
    body = json_text(record)
    digest = hashlib.sha256(body.encode()).hexdigest()
    with _beside(path) as temporary:
        temporary.write_text(f'{{"sha256": "{digest}",\n"record": {body}}}\n', encoding="utf-8")


def read_record(path: Path) -> dict[str, Any]:
    """The object that `write_record` wrote. Raises Damaged where it is not the same, FileNotFoundError for no file."""
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
        body, digest = whole["record"], whole["sha256"]
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{path.name} cannot be read ({error})") from error
    if hashlib.sha256(json.dumps(body).encode()).hexdigest() != digest:
        raise Damaged(f"{path.name} does not match its checksum")
    return body


def need_room(folder: Path, size: int) -> None:
    """Raise UserError where fewer than `size` bytes are free on the folder's disk."""
    free = shutil.disk_usage(folder).free
    if size > free:
        raise _no_room(folder, size, free)


@contextmanager
def room_errors(folder: Path, size: int) -> Iterator[None]:
    """Turn a full disk, met while writing `size` bytes, into a UserError that says how much is needed and where."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        if not _is_no_room(error):
            raise
        raise _no_room(folder, size, shutil.disk_usage(folder).free) from error


def sync_folder(folder: Path) -> None:
    """Make the folder's renames last through a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A temporary path that becomes `path`, its content on the disk, where the block ends without an error."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_no_room(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in _NO_ROOM
    # safetensors gives the number of the system's error in its text only
    return any(f"os error {number})" in str(error) for number in _NO_ROOM)


def _no_room(folder: Path, size: int, free: int) -> UserError:
    return UserError(
        f"no room for a checkpoint of {size / 1e6:.1f} MB in {folder} ({free / 1e6:.1f} MB free): "
        "free some space and give the same command again to resume"
    )
