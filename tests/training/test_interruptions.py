"""Signals: the first asks, a second SIGINT leaves at once."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sobolev.training.interruptions import Interruption

SOURCE = Path(__file__).parents[2] / "src"


def wait_for(interruption: Interruption) -> int | None:
    for _ in range(500):
        if interruption.signal_number is not None:
            break
        time.sleep(0.01)
    return interruption.signal_number


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_only_noted(number, capsys):
    before = signal.getsignal(number)
    with Interruption() as interruption:
        assert interruption.signal_number is None
        signal.raise_signal(number)
        assert wait_for(interruption) == number
    assert signal.getsignal(number) is before
    assert capsys.readouterr().err == "\nsaving, then leaving (Ctrl-C again leaves at once)\n"


def test_a_second_sigterm_changes_nothing():
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGTERM)
        assert wait_for(interruption) == signal.SIGTERM
        signal.raise_signal(signal.SIGTERM)
        time.sleep(0.05)
    assert interruption.signal_number == signal.SIGTERM


def test_other_threads_may_train_too():
    found = []

    def work():
        with Interruption() as interruption:
            found.append(interruption.signal_number)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [None]


def test_a_second_sigint_leaves_at_once():
    """Even while the main thread runs no Python, as in a long compilation."""
    program = f"""
import sys
sys.path.insert(0, {str(SOURCE)!r})
import threading
from sobolev.training.interruptions import Interruption
with Interruption() as interruption:
    print("ready", flush=True)
    lock = threading.Lock()
    lock.acquire()
    lock.acquire(timeout=60)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout and process.stderr and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == "\n"
    assert process.stderr.readline().startswith("saving, then leaving")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130 and "left without saving" in said
