"""The command leaves within seconds of a signal, whatever it does and whatever an environment does."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import sobolev
from sobolev.checkpoints.slots import Checkpoints
from tests import tiny

SOURCE, ROOT = Path(sobolev.__file__).parents[1], Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "marks").mkdir()
    monkeypatch.setenv("MARKS", str(tmp_path / "marks"))
    return tmp_path / "marks"


def begun(folder: Path, *words: str, log: str = "log") -> subprocess.Popen[bytes]:
    """`sobolev` with these words, as the leader of its process group."""
    environment = os.environ | tiny.quick_environment() | {"PYTHONPATH": f"{SOURCE}{os.pathsep}{ROOT}"}
    with (folder / log).open("wb") as file:
        command = [sys.executable, "-m", "sobolev", *words]
        return subprocess.Popen(command, env=environment, stdout=file, stderr=file, cwd=folder, start_new_session=True)


def train(folder: Path, name: str, *more: str) -> subprocess.Popen[bytes]:
    _, *flags = tiny.flags()
    place = flags.index("--env.workers")
    del flags[place : place + 2]
    return begun(folder, "train", f"gym:tests.training.slow_environments:{name}-v0", *flags, "--run", "run", *more)


def wait_until(condition: Callable[[], object], process: subprocess.Popen[bytes], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)


def leaves(process: subprocess.Popen[bytes], number: int, seconds: float) -> None:
    """Ctrl-C goes to the whole group, as from a terminal."""
    began = time.monotonic()
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    assert process.wait(30) == 128 + number
    assert time.monotonic() - began < seconds


def numbers(marks: Path, what: str) -> list[int]:
    return sorted(int(path.name.rpartition("-")[2]) for path in marks.glob(f"{what}-*"))


def no_program_left(marks: Path) -> bool:
    def alive(program: int) -> bool:
        try:
            return Path(f"/proc/{program}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    deadline = time.monotonic() + 8
    while (found := list(filter(alive, numbers(marks, "made")))) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not found


@pytest.mark.parametrize("after", [0.1, 0.6, 2.0])
def test_ctrl_c_in_the_first_seconds(tmp_path, after):
    process, at_once = train(tmp_path, "Slow"), after < 0.2
    time.sleep(after)
    os.killpg(process.pid, signal.SIGINT)
    # Before Python runs the program, the kernel or Python itself answers. Python drops what its own handler raises in
    # a callback, as imports have them: pressed again, it is heard.
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5 if at_once else 10)
    if process.poll() is None and at_once:
        os.killpg(process.pid, signal.SIGINT)
    assert process.wait(10) in ((130, -2, 1) if at_once else (130,))
    log = (tmp_path / "log").read_text()
    if not at_once:  # it says no more than that it leaves, or that it has begun to and left
        assert log.count("\n") <= 1 or log.endswith("the same command begins again\n")


@pytest.mark.long
@pytest.mark.parametrize(("number", "after"), [(signal.SIGTERM, 0.3), (signal.SIGINT, 1.7), (signal.SIGHUP, 3.1)])
def test_a_slow_environment(tmp_path, marks, number, after):
    """Some time after the first evaluation: saved, closed, and no program left."""
    process = train(tmp_path, "Slow", "--checkpoint.minutes", "1e-9")
    wait_until(lambda: (tmp_path / "run/checkpoint/checkpoint-0.json").exists(), process)
    time.sleep(after)
    leaves(process, number, 8)
    assert numbers(marks, "closed") == numbers(marks, "made") and no_program_left(marks)
    loaded, log = Checkpoints(tmp_path / "run/checkpoint").load(), (tmp_path / "log").read_text()
    assert loaded and f"saved at {2 * loaded.iteration} env steps" in log and "Traceback" not in log


@pytest.mark.long
@pytest.mark.parametrize("where", ["make", "reset", "step"])
def test_an_environment_that_hangs(tmp_path, marks, where):
    process = train(tmp_path, f"Slow{where}", "--evaluation.episodes", "0")
    wait_until(lambda: numbers(marks, "hangs"), process)
    time.sleep(0.5)
    leaves(process, signal.SIGTERM, 9)
    assert no_program_left(marks)
    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log and ("saved at" in log) == (where == "step")


@pytest.mark.long
def test_an_environment_without_an_end(tmp_path):
    """In training, and evaluated afterwards, where a signal is heard at once and Ctrl-C too."""
    process = train(tmp_path, "Endless", "--steps", "20", "--evaluation.max-steps", "30")
    assert process.wait(300) == 0
    log = (tmp_path / "log").read_text()
    assert log.count("an episode had not ended after 30 env steps and was truncated") == 1
    assert '"evaluation/truncated":2.0' in (tmp_path / "run/metrics.jsonl").read_text()
    process = begun(tmp_path, "evaluate", "run", "--episodes", "2", "--max-steps", "40", "--json", log="json")
    assert process.wait(300) == 0
    assert '"truncated": 2' in (tmp_path / "json").read_text()
    process = begun(tmp_path, "evaluate", "run", "--episodes", "40", "--max-steps", "100000000", log="long")
    time.sleep(8)
    assert process.poll() is None
    leaves(process, signal.SIGINT, 8)
    lines = (tmp_path / "long").read_text().splitlines()
    said = [line for line in lines if "cpu_aot_loader" not in line]  # XLA logs of programs that the tests keep
    assert said == ["leaving (Ctrl-C again leaves at once)"]
