"""Reads the end of a JSON lines file, to which another process may be appending."""

import json
from pathlib import Path
from typing import Any

TAIL = 65536
"""Number of bytes that are read at the end of a file."""


def last_lines(path: Path, tail: int = TAIL) -> list[dict[str, Any]]:
    """Returns the complete lines in the last `tail` bytes of a file, oldest first; an empty list if it cannot be read.

    A first line that is cut and a last line without a newline are left out, and so are lines that are not JSON objects,
    which a crash of the machine may leave.
    """
    try:
        with path.open("rb") as file:
            start = max(0, file.seek(0, 2) - tail)
            file.seek(start)
            lines = file.read().split(b"\n")
    except OSError:
        return []
    parsed = [_parsed(line) for line in lines[1 if start else 0 : -1]]
    return [line for line in parsed if isinstance(line, dict)]


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None
