"""What is printed, and what happens where it cannot be."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sobolev.system import output


class Broken(io.StringIO):
    """A stream whose reader has gone away."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_character_on_any_terminal(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    output.say("2 × 3… λ ä 漢 \udcff")
    known = {"latin-1": "2 × 3... lambda ä \\u6f22 \\udcff", "ascii": "2 x 3... lambda \\xe4 \\u6f22 \\udcff"}
    assert raw.getvalue().decode(encoding) == known.get(encoding, "2 × 3… λ ä 漢 \\udcff") + "\n"


@pytest.mark.parametrize("stream", [Broken(), None, "closed"])
def test_a_stream_that_is_gone_ends_nothing(
    stream: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if stream == "closed":
        stream = io.StringIO()
        stream.close()
    monkeypatch.setattr(sys, "stdout", stream)
    for _ in range(3):
        output.say("a line")
    told = capsys.readouterr().err
    assert told.count("standard output cannot be written") == (0 if stream is None else 1)
    monkeypatch.setattr(sys, "stderr", stream)
    for _ in range(3):
        output.say("a line")
        output.warn("a sentence")


def test_a_guard_tells_once_and_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise OSError(28, "No space left on device")

    guard = output.Guard("a/b.json")
    assert [guard(fail), guard(lambda: 3), guard(fail)] == [None, 3, None]
    told = "sobolev: a/b.json cannot be written (No space left on device): continuing without it\n"
    assert capsys.readouterr().err == told
    with pytest.raises(ZeroDivisionError):
        guard(lambda: 1 / 0)


def shell(words: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A command line of bash in which $S is `sobolev`; its exit status is that of the first command of a pipe."""
    names = {"S": f"{sys.executable} -m sobolev", "PYTHONPATH": os.pathsep.join(sys.path), "GLIBC_TUNABLES": ""}
    script = f"{words}; exit ${{PIPESTATUS[0]}}"
    return subprocess.run(["bash", "-c", script], env={**os.environ, **names, **environment}, capture_output=True)


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        ("$S --help | head -1", 0, ""),
        ("$S --help | true", 141, ""),
        ("$S --help > /dev/full", 1, "sobolev: standard output cannot be written: No space left on device\n"),
        ("$S --help >&-", 0, ""),
        ("$S --help 2>&-", 0, ""),
        ("$S no-such-command 2>&- >&- <&-", 2, ""),
        ("$S no-such-command 2> /dev/full", 2, ""),
        ("$S no-such-command >&-", 2, "sobolev: unknown command 'no-such-command'"),
        ("$S train --help | true", 141, ""),
        ("$S train --help > /dev/full", 1, "sobolev: standard output cannot be written: No space left on device\n"),
    ],
)
def test_output_that_nobody_takes(words: str, status: int, told: str) -> None:
    """A reader who goes away ends a command quietly; what else goes wrong is one sentence."""
    done = shell(words)
    assert done.returncode == status
    assert done.stderr.decode().startswith(told) and (told or not done.stderr)
    assert done.stderr.count(b"\n") <= 1


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("words", ["--help", "train --help", "train walker-wälk", "study --help"])
def test_terminals_that_are_not_utf_8(words: str, encoding: str) -> None:
    named = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": encoding, "PYTHONCOERCECLOCALE": "0"}
    done = shell(f"$S {words}", **named, TERM="dumb", COLUMNS="1", NO_COLOR="1")
    assert done.returncode == (0 if "help" in words else 2)
    assert b"Error" not in done.stderr and b"Traceback" not in done.stderr
    (done.stdout + done.stderr).decode(encoding)


TRAIN = (
    "train toy:point-mass --method td3 --preset demo --steps 120 --exploration.random-steps 200 --env.workers 0 "
    "--evaluation.every 40 --evaluation.episodes 1 --log.no-tensorboard --run run"
)
"""A run without updates."""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("| head -1", "sobolev: standard output cannot be written (Broken pipe): continuing without it\n"),
        (
            "> /dev/full",
            "sobolev: standard output cannot be written (No space left on device): continuing without it\n",
        ),
        ("2>&1 | head -1", ""),
        (">&- 2>&-", ""),
    ],
)
def test_a_training_goes_on_where_nobody_reads_of_it(words: str, told: str, tmp_path: Path) -> None:
    done = shell(f"cd '{tmp_path}'; $S {TRAIN} {words}")
    lines = [line for line in done.stderr.decode().splitlines(keepends=True) if "cpu_aot_loader" not in line]
    assert (done.returncode, "".join(lines)) == (0, told)  # XLA logs of programs that the tests keep
    (scores,) = json.loads((tmp_path / "run/scores.json").read_text())
    assert scores["xs"] == [0, 40, 80, 120] and (tmp_path / "run/curve.png").exists()
    assert (tmp_path / "run/checkpoint").is_dir()


def test_a_training_where_nothing_can_be_computed_is_one_sentence(tmp_path: Path) -> None:
    done = shell(f"cd '{tmp_path}'; $S {TRAIN}", JAX_PLATFORMS="abacus")
    told = done.stderr.decode()
    assert done.returncode == 2 and told.count("\n") == 1 and not list(tmp_path.iterdir())
    assert told.startswith("sobolev: JAX_PLATFORMS=abacus names a device that jax does not find here")


def found_modules(folder: Path, arguments: Sequence[str], **environment: str) -> str:
    """What a program finds after `find_modules_here`, started in a folder with modules of its own."""
    (folder / "mine_alone.py").write_text("where = 'here'")
    (folder / "random.py").write_text("raise RuntimeError('hidden')")
    (folder / "jinja2.py").write_text("raise RuntimeError('hidden')")
    code = "from sobolev.__main__ import find_modules_here; find_modules_here(); import random, jinja2, mine_alone"
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, *arguments, "-c", f"{code}; print(mine_alone.where)"],
        env={**os.environ, "PYTHONPATH": paths, **environment},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


def test_modules_in_the_working_folder_are_found_and_hide_nothing(tmp_path: Path) -> None:
    """`python -c` looks into the working folder first, as `python -m sobolev` does."""
    assert found_modules(tmp_path, []) == "here"
    assert "No module named 'mine_alone'" in found_modules(tmp_path, ["-P"])
