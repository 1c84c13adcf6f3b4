"""Reading the end of a file of JSON lines while another process appends to it."""

import json
from pathlib import Path
from typing import Any

TAIL = 65536
"""Bytes at the end of a file that are read."""


def last_lines(path: Path, tail: int = TAIL) -> list[dict[str, Any]]:
    """The whole lines among the last `tail` bytes of a file, oldest first; none where it cannot be read.

    A first line that the `tail` cuts, and a last one without its newline, are left out, and so are lines that are no
    JSON objects, as a crash of the machine can leave.
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
