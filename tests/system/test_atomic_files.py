"""Files that are whole or not there, JSON that every reader takes, and names of bounded length."""

import json
import math
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sobolev.system.atomic_files import LONGEST_NAME, file_name, json_text, write_json, write_text


@contextmanager
def full_disk(size: int = 0) -> Iterator[None]:
    """No file of this process grows beyond `size` bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "λ.txt"
    write_text(path, "first ×")
    with full_disk(3), pytest.raises(OSError):
        write_text(path, "second")
    assert path.read_bytes() == "first ×".encode() and list(tmp_path.iterdir()) == [path]


def test_paths_that_could_not_be_decoded_keep_their_bytes(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "ü".encode().decode("ascii", "surrogateescape"))
    assert (tmp_path / "a").read_text(encoding="utf-8") == "ü"


def test_numbers_that_are_not_finite_are_null(tmp_path: Path) -> None:
    tree = {"a": [1.0, math.nan, (math.inf, "NaN")], "b": {"c": -math.inf}}
    write_json(tmp_path / "a.json", tree)
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {"a": [1.0, None, [None, "NaN"]], "b": {"c": None}}
    assert json_text([1, None, "×"], separators=(",", ":")) == '[1,null,"\\u00d7"]'


@pytest.mark.parametrize("name", ["walker-walk", "gym:Ant-v5", "gym:a.b:c/d", "x" * 500, "ä" * 500, "a:" * 300])
def test_names_of_files(name: str, tmp_path: Path) -> None:
    made = file_name(name)
    assert len(made.encode()) <= LONGEST_NAME
    (tmp_path / f"{made}.json.tmp").touch()
    assert [path.name for path in tmp_path.iterdir()] == [f"{made}.json.tmp"]
    assert file_name(name + "y") != made
    if len(name) < 100:
        assert made == name.replace(":", "-").replace("/", "-")
