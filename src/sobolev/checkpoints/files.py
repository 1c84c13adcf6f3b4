"""Reads and writes the files of checkpoints: arrays as safetensors, records as JSON, both with checksums.

Files are written atomically (beside their target, then renamed), and without pickle. A damaged file raises `Damaged`,
one that cannot be written `NotSaved`.
"""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.filesize import decimal
from safetensors import SafetensorError, safe_open
from safetensors import numpy as safetensors

from sobolev.errors import UserError
from sobolev.system.atomic_files import json_text, replacing

OWN_TEMPORARY = r"\.tmp[A-Za-z0-9]{6}"
"""A regular expression for the name of the hidden file that safetensors writes first."""

_DTYPES = {"bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"}
_DTYPES |= {"float16", "float32", "float64"}
_FLOATS = {"F16", "F32", "F64"}
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Damaged(Exception):
    """A file is missing, truncated or altered. The message says which file, and how."""


class NotSaved(UserError, OSError):
    """A file could not be written: the disk is full or read-only, or the folder may not be written."""

    def __init__(self, what: str, cure: str):
        super().__init__(f"{what}: {cure}")
        self.what = what
        """the message without the advice"""


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Writes arrays to a safetensors file. Returns its record: name, size in bytes, sha256.

    Raises ValueError for a dtype that the format does not have."""
    for name, array in arrays.items():
        if array.dtype.name not in _DTYPES:
            raise ValueError(f"'{name}' is {array.dtype}, which cannot be saved")
    with replacing(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode
        # older versions of safetensors ignore strides; order="C" keeps the shape of a scalar
        safetensors.save_file({name: np.asarray(array, order="C") for name, array in arrays.items()}, temporary)
        temporary.chmod(mode)  # as the umask says; safetensors makes files that their owner alone may read
        record = {"name": path.name, "size": temporary.stat().st_size, "sha256": _sha256(temporary)}
    return record


def read_arrays(folder: Path, record: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Reads the arrays of a file that `write_arrays` recorded. Raises Damaged if it is missing or has changed."""
    return load_arrays(checked(folder, record))


def checked(folder: Path, record: Mapping[str, Any]) -> Path:
    """Returns the path of a file after comparing it with the record of `write_arrays`.

    Raises Damaged if it is missing or has changed, UserError if its permissions do not allow reading it."""
    path = folder / record["name"]
    try:
        if path.stat().st_size != record["size"]:
            raise Damaged(f"{path.name} has {path.stat().st_size} bytes instead of {record['size']}")
        if _sha256(path) != record["sha256"]:
            raise Damaged(f"{path.name} does not match its checksum")
    except PermissionError as error:
        raise _forbidden(path) from error
    except OSError as error:
        raise Damaged(f"{path.name} cannot be read ({error})") from error
    return path


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Reads the arrays of a file without a record. Raises Damaged if it cannot be read."""
    try:
        return safetensors.load_file(path)
    except PermissionError as error:
        raise _forbidden(path) from error
    except (OSError, SafetensorError) as error:
        raise Damaged(f"{path.name} cannot be read ({error})") from error


def not_finite(path: Path) -> np.ndarray | None:
    """Returns which rows of a file's arrays [n, …] hold NaN or infinity, bool[n]; None if no row does.

    Reads one array of floats at a time. Raises Damaged if the file cannot be read."""
    found = None
    try:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 (no dictionary)
                if file.get_slice(name).get_dtype() in _FLOATS:
                    array = file.get_tensor(name)
                    if not is_finite(array):
                        rows = ~np.isfinite(array.reshape(len(array), -1)).all(1)
                        found = rows if found is None else found | rows
    except (OSError, SafetensorError) as error:
        raise Damaged(f"{path.name} cannot be read ({error})") from error
    return found


def is_finite(array: np.ndarray) -> bool:
    """Returns whether an array holds neither NaN nor infinity."""
    if array.dtype.kind != "f":
        return True
    with np.errstate(all="ignore"):
        # a sum needs no memory; if it overflows, every element is checked
        return bool(np.isfinite(np.add.reduce(array, axis=None)) or np.isfinite(array).all())


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Writes a JSON object together with its checksum."""
    body = json_text(record)
    digest = hashlib.sha256(body.encode()).hexdigest()
    with replacing(path) as temporary:
        temporary.write_text(f'{{"sha256": "{digest}",\n"record": {body}}}\n', encoding="utf-8")


def read_record(path: Path) -> dict[str, Any]:
    """Reads an object that `write_record` wrote.

    Raises Damaged if the file has changed, FileNotFoundError if there is none, UserError if its permissions do not
    allow reading it."""
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
        body, digest = whole["record"], whole["sha256"]
    except FileNotFoundError:
        raise
    except PermissionError as error:
        raise _forbidden(path) from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise Damaged(f"{path.name} cannot be read ({error})") from error
    if hashlib.sha256(json.dumps(body).encode()).hexdigest() != digest:
        raise Damaged(f"{path.name} does not match its checksum")
    return body


def need_room(folder: Path, size: int) -> None:
    """Raises NotSaved if fewer than `size` bytes are free on the folder's disk."""
    free = free_room(folder)
    if size > free:
        raise _no_room(folder, size, "a checkpoint")


def free_room(folder: Path) -> int:
    """Returns the number of free bytes on the folder's disk."""
    return shutil.disk_usage(folder).free


@contextmanager
def room_errors(folder: Path, size: int, what: str = "a checkpoint") -> Iterator[None]:
    """Turns errors of the system inside the block, which writes `size` bytes, into `NotSaved` with advice."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        number = _number(error)
        if isinstance(error, NotSaved) or number is None:
            raise
        if number in _NO_ROOM:
            raise _no_room(folder, size, what) from error
        raise NotSaved(
            f"{what} cannot be written in {folder} ({os.strerror(number)})",
            "make the folder writable, or choose another",
        ) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _number(error: Exception) -> int | None:
    """Returns the errno of an error, which safetensors has in its message only."""
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"os error (\d+)\)", str(error))
    return int(found.group(1)) if found else None


def _no_room(folder: Path, size: int, what: str) -> NotSaved:
    try:
        free = f" ({decimal(free_room(folder))} free)"
    except OSError:
        free = ""
    return NotSaved(
        f"no room for {what} of {decimal(size)} in {folder}{free}",
        "free some space and give the same command again",
    )


def _forbidden(path: Path) -> UserError:
    return UserError(f"{path} cannot be read (permission denied): change its permissions")
