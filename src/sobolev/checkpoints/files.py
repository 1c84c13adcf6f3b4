"""Files that are whole or not there: arrays as safetensors, records as JSON, written beside the target and renamed.

Nothing here uses pickle. A damaged file is a `Damaged`, one that cannot be written a `NotSaved`.
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
from safetensors import SafetensorError, safe_open
from safetensors import numpy as safetensors

from sobolev.errors import UserError
from sobolev.system.atomic_files import json_text, replacing

OWN_TEMPORARY = r"\.tmp[A-Za-z0-9]{6}"
"""A regular expression for the hidden file that safetensors writes first."""

_DTYPES = {"bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"}
_DTYPES |= {"float16", "float32", "float64"}
_FLOATS = {"F16", "F32", "F64"}
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Damaged(Exception):
    """A file that is missing, cut short or altered; the text says which and how."""


class NotSaved(UserError, OSError):
    """Something could not be written: no room, a disk that is read-only, a folder that is somebody else's."""

    def __init__(self, what: str, cure: str):
        super().__init__(f"{what}: {cure}")
        self.what = what
        """the text without the advice"""


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Write arrays to a safetensors file and return its record: name, size in bytes, sha256.

    Raises ValueError for a dtype that the format does not have."""
    for name, array in arrays.items():
        if array.dtype.name not in _DTYPES:
            raise ValueError(f"'{name}' is {array.dtype}, which cannot be saved")
    with replacing(path) as temporary:
        # older versions write the memory as it lies, whatever the strides; order="C" keeps a scalar's shape
        safetensors.save_file({name: np.asarray(array, order="C") for name, array in arrays.items()}, temporary)
        record = {"name": path.name, "size": temporary.stat().st_size, "sha256": _sha256(temporary)}
    return record


def read_arrays(folder: Path, record: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of a file as `write_arrays` recorded it. Raises Damaged where it is missing or not the same."""
    return load_arrays(checked(folder, record))


def checked(folder: Path, record: Mapping[str, Any]) -> Path:
    """The path of a file that is as `write_arrays` recorded it.

    Raises Damaged where it is missing or not the same, UserError where it may not be read, which a user can mend."""
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
    """The arrays of a file of which there is no record. Raises Damaged where it cannot be read."""
    try:
        return safetensors.load_file(path)
    except PermissionError as error:
        raise _forbidden(path) from error
    except (OSError, SafetensorError) as error:
        raise Damaged(f"{path.name} cannot be read ({error})") from error


def not_finite(path: Path) -> np.ndarray | None:
    """Which rows of a file's arrays [n, …] hold NaN or an infinity, bool[n]; None where none does.

    Reads one array at a time, and of arrays of floats alone. Raises Damaged where the file cannot be read."""
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
    """Whether an array holds neither NaN nor an infinity."""
    if array.dtype.kind != "f":
        return True
    with np.errstate(all="ignore"):
        # a sum reads the array once and writes nothing; where it overflows, a closer look decides
        return bool(np.isfinite(np.add.reduce(array, axis=None)) or np.isfinite(array).all())


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write a JSON object with its own checksum."""
    body = json_text(record)
    digest = hashlib.sha256(body.encode()).hexdigest()
    with replacing(path) as temporary:
        temporary.write_text(f'{{"sha256": "{digest}",\n"record": {body}}}\n', encoding="utf-8")


def read_record(path: Path) -> dict[str, Any]:
    """The object that `write_record` wrote.

    Raises Damaged where it is not the same, FileNotFoundError for no file, UserError where it may not be read."""
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
    """Raise NotSaved where fewer than `size` bytes are free on the folder's disk."""
    free = free_room(folder)
    if size > free:
        raise _no_room(folder, size, "a checkpoint")


def free_room(folder: Path) -> int:
    """Bytes that are free on the folder's disk."""
    return shutil.disk_usage(folder).free


@contextmanager
def room_errors(folder: Path, size: int, what: str = "a checkpoint") -> Iterator[None]:
    """Turn what the system refuses while `size` bytes are written into a `NotSaved` that says where, and what to do."""
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
    """The system's number of an error, which safetensors gives in its text only."""
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"os error (\d+)\)", str(error))
    return int(found.group(1)) if found else None


def _no_room(folder: Path, size: int, what: str) -> NotSaved:
    try:
        free = f" ({free_room(folder) / 1e6:.1f} MB free)"
    except OSError:
        free = ""
    return NotSaved(
        f"no room for {what} of {size / 1e6:.1f} MB in {folder}{free}",
        "free some space and give the same command again",
    )


def _forbidden(path: Path) -> UserError:
    return UserError(f"{path} may not be read (permission denied): give yourself the right to read it")
