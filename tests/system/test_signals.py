"""Signals: noted where something is put in order, leaving at once where nothing is, and never lost."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sobolev.envs.processes.workers import _Here
from sobolev.system import signals

SOURCE = Path(__file__).parents[2] / "src"
SAID = "saving, then leaving (Ctrl-C again leaves at once)\n"


def wait_for() -> int | None:
    for _ in range(500):
        if signals.received() is not None:
            break
        time.sleep(0.01)
    return signals.received()


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """A line that another thread says, and whatever it says soon after."""
    text, deadline = "", time.monotonic() + 10
    while not text.endswith("\n") and time.monotonic() < deadline:
        time.sleep(0.01)
        text += capsys.readouterr().err
    time.sleep(0.1)
    return text + capsys.readouterr().err


@pytest.mark.parametrize("number", signals.NUMBERS)
def test_the_first_signal_is_only_noted(number, capsys):
    before = signal.getsignal(number)
    with pytest.raises(signals.Interrupted) as caught, signals.heard(), signals.held(saving=True):
        signals.check()
        signal.raise_signal(number)
        assert wait_for() == number
        assert said(capsys) == SAID
        signals.check()
    assert caught.value.number == number
    assert signal.getsignal(number) is before and signal.set_wakeup_fd(-1) == -1
    assert signals.received() is None


def test_a_signal_that_comes_late_is_raised_at_the_end():
    with signals.heard(), pytest.raises(signals.Interrupted), signals.held(), signals.held(saving=True):
        signal.raise_signal(signal.SIGTERM)
        assert wait_for() == signal.SIGTERM


def test_a_second_sigterm_changes_nothing():
    with signals.heard():
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGHUP):
            signal.raise_signal(number)
            assert wait_for() == signal.SIGTERM
            time.sleep(0.05)
        assert signals.received() == signal.SIGTERM


def test_other_threads_may_train_too():
    found = []

    def work():
        with signals.heard(), signals.held():
            found.append(signals.received())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [None]


def test_a_wait_ends_with_a_signal():
    reader, writer = os.pipe()
    with signals.heard():
        os.write(writer, b"x")
        signals.wait_for(reader)
        os.read(reader, 1)
        threading.Timer(0.1, signal.pthread_kill, (threading.get_ident(), signal.SIGTERM)).start()
        began = time.monotonic()
        with pytest.raises(signals.Interrupted):
            signals.wait_for(reader)
        assert time.monotonic() - began < 2
    os.close(reader)
    os.close(writer)


def test_an_environment_in_this_process_that_does_not_return(monkeypatch):
    monkeypatch.setattr(signals, "PATIENCE", 0.3)
    lane = _Here()
    monkeypatch.setattr(lane._server, "answer", lambda request: time.sleep(60))
    with signals.heard():
        threading.Timer(0.1, signal.pthread_kill, (threading.get_ident(), signal.SIGTERM)).start()
        began = time.monotonic()
        with pytest.raises(signals.Interrupted):
            lane.send(b"")
        assert 0.3 < time.monotonic() - began < 3
        with pytest.raises(signals.Interrupted):
            lane.receive()


def program(body: str) -> subprocess.Popen[str]:
    """A process that has begun; `body` prints "ready" where it wants to be waited for."""
    code = f"import sys; sys.path.insert(0, {str(SOURCE)!r})\nimport os, signal, threading, time\n"
    code += f"from sobolev.system import signals\n{body}"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "ready\n"
    return process


STUCK = """
print("ready", flush=True)
lock = threading.Lock()
lock.acquire()
lock.acquire(timeout=60)
"""


def test_a_second_sigint_leaves_at_once():
    """Even while the main thread runs no Python, as in a long compilation."""
    process = program(f"signals.listen()\nwith signals.held(saving=True):{STUCK.replace(chr(10), chr(10) + ' ')}")
    process.send_signal(signal.SIGINT)
    assert process.stderr and process.stderr.readline() == SAID
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130 and told == "left without saving\n"


@pytest.mark.parametrize("number", signals.NUMBERS)
def test_a_command_with_nothing_to_put_in_order_leaves_at_once(number):
    process = program(f"signals.listen()\n{STUCK}")
    process.send_signal(number)
    _, told = process.communicate(timeout=10)
    assert (process.returncode, told) == (128 + number, "")


@pytest.mark.parametrize(("limit", "noticed"), [("NOTICE", ""), ("LIMIT", "signals._listener.noticed = True")])
def test_a_command_that_hangs_leaves_at_the_limit(limit, noticed):
    stuck = f"\n{noticed}{STUCK}".replace("\n", "\n ")
    body = f"signals.NOTICE = signals.LIMIT = 60\nsignals.{limit} = 0.5\nsignals.listen()\nwith signals.held():{stuck}"
    process, began = program(body), time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 143 and time.monotonic() - began < 5


def test_what_was_held_back_is_heard_later():
    """As when a command begins anew, by execv, before it listens."""
    body = """
signals.hold_back()
code = "import sys; sys.path.insert(0, sys.argv[1]); from sobolev.system import signals; signals.listen(); import time"
os.kill(os.getpid(), signal.SIGINT)
print("ready", flush=True)
os.execv(sys.executable, [sys.executable, "-c", code + "; time.sleep(60)", sys.path[0]])
"""
    process = program(body)
    _, told = process.communicate(timeout=20)
    assert (process.returncode, told) == (130, "")


def test_nohup_is_respected():
    process = program("signal.signal(signal.SIGHUP, signal.SIG_IGN)\nsignals.listen()\n" + STUCK)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
    assert process.returncode == 143
