"""Files that are whole or absent, and the end of files that grow."""

import json
import threading
from pathlib import Path

import pytest

from sobolev.system.atomic_files import replacing, write_bytes, write_text
from sobolev.system.columns import aligned
from sobolev.system.json_lines import last_lines


def test_a_failure_leaves_the_file_as_it_was_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_text(path, "before")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]
    write_bytes(path, b"after")
    assert path.read_bytes() == b"after" and list(tmp_path.iterdir()) == [path]


def test_two_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    """Both are in the middle of writing at once: with one name beside the target, the second would write into the
    first's file, or find it gone."""
    path, both, done = tmp_path / "a", threading.Barrier(2), []

    def write(text: str) -> None:
        with replacing(path) as temporary:
            temporary.write_text(text)
            both.wait(timeout=30)
            done.append(temporary.read_text())

    threads = [threading.Thread(target=write, args=(letter * 1000,)) for letter in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == ["a" * 1000, "b" * 1000]
    assert path.read_text() in done and list(tmp_path.iterdir()) == [path]


def test_files_can_be_read_by_whom_the_user_allows(tmp_path: Path) -> None:
    """As any file that a program opens, by the umask; temporary files of the standard library are their owner's."""
    plain = tmp_path / "plain"
    plain.write_text("")
    write_text(tmp_path / "a", "")
    assert (tmp_path / "a").stat().st_mode == plain.stat().st_mode


def test_the_end_of_a_growing_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert last_lines(path) == []
    path.write_text('{"step": 1}\n\n[2]\n{"st\n{"step": 3}\n{"step": 4}')
    assert last_lines(path) == [{"step": 1}, {"step": 3}]
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in range(100)))
    assert last_lines(path, tail=35) == [{"step": 98}, {"step": 99}]  # 14 bytes each: the first of three is cut


def test_columns() -> None:
    assert aligned([["task", "score"], ["a", "9.5"], ["longer", ""]], right={1}) == [
        "task    score",
        "a         9.5",
        "longer",
    ]
    assert aligned([]) == []
    with pytest.raises(ValueError):
        aligned([["a", "b"], ["c"]])
