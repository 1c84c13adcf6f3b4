"""However a process ends, the environments of its workers are closed, and no program that they started is left."""

import os
import pathlib
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from sobolev.envs import VectorEnv, WorkerError, Workers

ACTION = np.zeros((1, 2, 4), np.float32)


@pytest.fixture(autouse=True)
def marks(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.setenv("MARKS", str(tmp_path))
    return tmp_path


def marked(folder: pathlib.Path, what: str) -> list[int]:
    """The programs of the environments that have left this mark."""
    return sorted(int(path.name.rpartition("-")[2]) for path in folder.glob(f"{what}-*"))


def alive(program: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{program}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(programs: list[int], seconds: float = 1.0) -> bool:
    deadline = time.monotonic() + seconds
    while any(map(alive, programs)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(map(alive, programs))


def task(name: str) -> str:
    return f"gym:toy_environments:{name}-v0"


@pytest.mark.parametrize("count", [0, 1, 2])
def test_environments_are_closed_before_workers_end(marks, monkeypatch, count):
    monkeypatch.setattr("sobolev.envs.processes.workers._PATIENCE", 60.0)  # until a worker that stays is ended
    with Workers(count) as workers:
        for kind in (0, 1):  # as for training and evaluation
            VectorEnv(workers, task("Closing"), 1, [0], 2, kind).reset(0)
        assert all(map(alive, marked(marks, "made"))) and len(marked(marks, "made")) == 4
        began = time.monotonic()
    assert time.monotonic() - began < 10
    assert marked(marks, "closed") == marked(marks, "made") and gone(marked(marks, "made"), 0.0)


@pytest.mark.parametrize("name", ["Closingmake", "Closingreset", "Closingstep", "Closingclose"])
def test_an_environment_that_hangs_is_given_a_bounded_time(marks, monkeypatch, name):
    monkeypatch.setattr("sobolev.envs.processes.workers._PATIENCE", 1.0)
    with Workers(2) as workers:
        environments = VectorEnv(workers, task(name), 1, [0], 2, 0)
        where = name.removeprefix("Closing")
        if where in ("step", "close"):
            environments.reset(0)
            for _ in range(2):
                environments.send(ACTION)
                environments.receive()
            environments.send(ACTION)
        elif where == "reset":
            environments.spaces  # noqa: B018
            request = pickle.dumps(("call", (environments._group, "reset", 0)))
            workers.post(dict.fromkeys(range(workers.lanes), request))
        while where != "close" and len(marked(marks, f"hangs-{where}")) < 2:
            time.sleep(0.02)
        began = time.monotonic()
    assert time.monotonic() - began < 10
    assert len(marked(marks, "made")) == 2 and gone(marked(marks, "made"))


def test_a_program_that_close_forgets_is_ended(marks):
    with Workers(2) as workers:
        VectorEnv(workers, task("Closingcareless"), 1, [0], 2, 0).reset(0)
    assert len(marked(marks, "made")) == 2 and gone(marked(marks, "made"))


def test_an_error_here_or_there_closes_too(marks):
    with pytest.raises(WorkerError, match="the toy is broken"), Workers(2) as workers:
        environments = VectorEnv(workers, task("Closingraise"), 1, [0], 2, 0)
        environments.reset(0)
        for _ in range(3):
            environments.send(ACTION)
            environments.receive()
    assert len(marked(marks, "made")) == 2 == len(marked(marks, "closed")) and gone(marked(marks, "made"))


def test_one_close_that_fails_does_not_keep_others_open(marks, capfd, monkeypatch):
    import toy_environments

    close = toy_environments.Closing.close

    def broken(self: toy_environments.Closing) -> None:
        close(self)
        if self.program.pid == marked(marks, "made")[0]:
            raise ValueError("twice closed")

    monkeypatch.setattr(toy_environments.Closing, "close", broken)
    with Workers(0) as workers:
        VectorEnv(workers, task("Closing"), 1, [0], 2, 0).reset(0)
    assert len(marked(marks, "closed")) == 2
    said = capfd.readouterr().err
    assert "'gym:toy_environments:Closing-v0' failed" in said and "ValueError: twice closed" in said


PARENT = """
import os, signal, sys, time
sys.path[:] = {path!r}
import numpy as np
from sobolev.system import signals
from sobolev.envs import VectorEnv, Workers
signals.listen()
try:
    with Workers(2) as workers:
        environments = VectorEnv(workers, "gym:toy_environments:{name}-v0", 1, [0], 2, 0)
        environments.reset(0)
        while True:
            print("step", flush=True)
            environments.send(np.zeros((1, 2, 4), np.float32))
            environments.receive()
except signals.Interrupted as interruption:
    sys.exit(128 + interruption.number)
"""


@pytest.mark.parametrize("name", ["Slowly", "Closingstep"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
@pytest.mark.long
def test_a_parent_that_is_told_to_leave_or_killed(marks, name, number):
    """SIGINT as from a terminal: to the whole process group."""
    code, hangs = PARENT.format(path=sys.path, name=name), name == "Closingstep"
    if not hangs:  # nothing has to be waited for, and a worker that stays would be for a minute
        patient = "from sobolev.envs.processes import workers\nsignals.PATIENCE = workers._PATIENCE = 60.0\n"
        code = code.replace("signals.listen()\n", f"{patient}signals.listen()\n")
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert parent.stdout is not None
    for _ in range(3):
        assert parent.stdout.readline() == "step\n"
    time.sleep(0.1)
    programs = marked(marks, "made")
    assert len(programs) == 2 and all(map(alive, programs))
    began = time.monotonic()
    os.killpg(parent.pid, number)
    parent.communicate(timeout=20)
    assert parent.returncode == (-9 if number == signal.SIGKILL else 128 + number)
    assert time.monotonic() - began < (15 if hangs else 10)
    assert gone(programs, 8 if number == signal.SIGKILL and hangs else 1)
    wanted = [] if hangs else programs
    for _ in range(100):  # a worker whose parent was killed is not waited for, and marks after its program has ended
        if marked(marks, "closed") == wanted:
            break
        time.sleep(0.05)
    assert marked(marks, "closed") == wanted


def test_a_command_that_steps_by_itself_and_does_not_hear(marks):
    """As while it compiles: another thread closes its environments."""
    code = PARENT.format(path=sys.path, name="Closing").replace("Workers(2)", "Workers(0)")
    code = code.replace("            environments.send(", "            time.sleep(60)\n            environments.send(")
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout and parent.stdout.readline() == "step\n"
    parent.send_signal(signal.SIGTERM)
    parent.communicate(timeout=20)
    assert parent.returncode == 143 and gone(marked(marks, "made"))
    assert len(marked(marks, "made")) == 2 == len(marked(marks, "closed"))
