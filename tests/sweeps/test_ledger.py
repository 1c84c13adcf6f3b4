"""The ledger of a sweep: no writer undoes what another has written, and a run has one owner at a time."""

import dataclasses
import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sobolev.errors import UserError
from sobolev.sweeps.ledger import SUBMISSION, Entry, Sweep, alive, given_up


def planned(folder: Path, *runs: str, name: str = "test") -> Sweep:
    """A sweep of runs of these names."""
    sweep = Sweep(folder / f"sweep-{name}.json")
    sweep.plan([Entry(run, "walker-walk", "gpld", "gpld", (0,), 100, ("train",)) for run in runs], {"command": "test"})
    return sweep


def at_once(sweep: Sweep, writers: list[Callable[[], Any]]) -> list[Any]:
    """The results of writers that all get as far as they can without the lock before one of them may write."""
    with ThreadPoolExecutor(len(writers)) as pool:
        with sweep._locked():
            results = [pool.submit(writer) for writer in writers]
            time.sleep(0.3)
        return [result.result(timeout=30) for result in results]


def test_two_writers_on_one_run(tmp_path: Path) -> None:
    """Both add an attempt, then both add its duration, to whatever the other has written."""
    sweep = planned(tmp_path, "a")
    at_once(sweep, [lambda: sweep.begun("a", os.getpid())] * 2)
    assert sweep.read()["a"].attempts == 2
    sweep.update("a", started=time.time() - 100)
    at_once(sweep, [lambda: sweep.ended("a", "stopped")] * 2)
    assert sweep.read()["a"].seconds == pytest.approx(200, abs=20)


def test_many_writers_on_one_run_in_several_processes(tmp_path: Path) -> None:
    sweep = planned(tmp_path, "a", "b")
    code = f"""
from pathlib import Path
from sobolev.sweeps.ledger import Sweep
for _ in range(20):
    Sweep(Path({str(sweep.path)!r})).begun("a", 1)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    writers = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(2)]
    threads = [threading.Thread(target=lambda: [sweep.begun("b", 1) for _ in range(20)]) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert [entry.attempts for entry in sweep.read().values()] == [40, 40]


def test_the_clusters_warning_waits_while_the_ledger_is_written(tmp_path: Path) -> None:
    """Its handler writes the ledger too, and would wait for itself."""
    sweep, seen = planned(tmp_path, "a", "b"), []

    def warned(number: int, frame: object) -> None:
        seen.append(sweep.ended("b", "queued").state)

    def how(entry: Entry) -> Entry:
        signal.raise_signal(signal.SIGUSR2)
        assert not seen
        return dataclasses.replace(entry, attempts=7)

    before = signal.signal(signal.SIGUSR2, warned)
    try:
        assert sweep.change("a", how).attempts == 7
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert seen == ["queued"] and sweep.read()["b"].state == "queued"


def test_a_ledger_on_a_file_system_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = planned(tmp_path, "a")

    def flock(file: object, kind: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(UserError, match="cannot be locked: No locks available; choose an --output on a file system"):
        sweep.update("a", state="queued")


def test_one_of_two_launchers_gets_a_run(tmp_path: Path) -> None:
    sweep = planned(tmp_path, "a")
    assert sorted(at_once(sweep, [lambda: sweep.claim("a")] * 2)) == [False, True]
    assert sweep.read()["a"].state == "running" and alive(sweep.read()["a"])
    sweep.ended("a", "stopped")
    assert sweep.claim("a")


def test_the_claim_of_a_process_that_is_gone_is_free(tmp_path: Path) -> None:
    """Also where another process has got its id since: it began later."""
    sweep = planned(tmp_path, "a")
    sweep.begun("a", 2**22 + 1)  # above any process id
    assert not alive(sweep.read()["a"]) and sweep.claim("a")
    entry = sweep.read()["a"]
    assert entry.process == os.getpid() and entry.process_start is not None
    sweep.update("a", process_start=entry.process_start - 1)
    assert not alive(sweep.read()["a"]) and sweep.claim("a")


def test_a_run_is_claimed_in_all_ledgers_of_its_folder(tmp_path: Path) -> None:
    first, second = (planned(tmp_path, "a", name=name) for name in ("first", "second"))
    assert first.claim("a") and not second.claim("a")
    assert second.read()["a"].state == "waiting"
    first.ended("a", "stopped")
    assert second.claim("a") and not first.claim("a")
    second.ended("a", "done")


def test_the_claim_of_a_killed_process_is_free_in_all_ledgers(tmp_path: Path) -> None:
    first, second = (planned(tmp_path, "a", name=name) for name in ("first", "second"))
    code = f"""
from pathlib import Path
from sobolev.sweeps.ledger import Sweep
print(Sweep(Path({str(first.path)!r})).claim("a"), flush=True)
input()
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, **pipes) as other:
        assert other.stdout is not None and other.stdout.readline() == "True\n"
        assert not second.claim("a")
        other.kill()
    assert second.claim("a")
    second.ended("a", "stopped")


def test_without_locks_of_files_a_claim_holds_in_its_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (planned(tmp_path, "a", name=name) for name in ("first", "second"))
    flock = fcntl.flock

    def lacking(file: Any, how: int) -> None:
        if how & fcntl.LOCK_NB:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", lacking)
    assert first.claim("a") and not first.claim("a") and not Sweep(first.path).claim("a")
    assert second.claim("a")
    for sweep in (first, second):
        sweep.ended("a", "stopped")


def test_a_submission_is_given_up_when_its_process_is_gone(tmp_path: Path) -> None:
    """Processes of another host cannot be checked: theirs is given up after a time in which any would have ended."""
    sweep = planned(tmp_path, "a")
    entry = sweep.submitting("a")
    assert (entry.state, entry.job) == ("queued", None) and not given_up(entry)
    assert given_up(sweep.update("a", process=2**22 + 1))  # above any process id
    assert not given_up(sweep.update("a", job="7_1"))
    entry = sweep.update("a", job=None, host="elsewhere")
    assert not given_up(entry)
    assert given_up(sweep.update("a", started=time.time() - SUBMISSION - 1))
    assert given_up(sweep.update("a", host=None, process=None))  # of an earlier version, which did not say whose it is


def test_the_processes_of_another_host_are_taken_for_alive(tmp_path: Path) -> None:
    sweep = planned(tmp_path, "a")
    entry = sweep.begun("a", 2**22 + 1)
    assert alive(sweep.update("a", host="elsewhere")) and not alive(entry)


def test_a_run_is_stopped_only_where_it_still_is_what_it_was(tmp_path: Path) -> None:
    """A launcher saw that the run's process was gone; before it says so, another one has taken the run."""
    sweep = planned(tmp_path, "a")
    sweep.begun("a", 2**22 + 1)
    sweep.claim("a")
    assert sweep.mark_stopped("a", lambda entry: not alive(entry)).state == "running"


def test_a_plan_keeps_what_happened_and_what_else_was_planned(tmp_path: Path) -> None:
    sweep = planned(tmp_path, "a")
    sweep.begun("a", 1)
    sweep.ended("a", "done")
    again = planned(tmp_path, "a", "b")
    assert [(entry.state, entry.attempts) for entry in again.read().values()] == [("done", 1), ("waiting", 0)]
    planned(tmp_path, "c")
    assert list(again.read()) == ["a", "b", "c"]


def test_a_ledger_of_a_version_with_fewer_fields_is_read(tmp_path: Path) -> None:
    sweep = planned(tmp_path, "a")
    tree = json.loads(sweep.path.read_text())
    del tree["runs"][0]["process_start"]
    sweep.path.write_text(json.dumps(tree))
    assert sweep.read()["a"].process_start is None
    del tree["runs"][0]["task"]
    sweep.path.write_text(json.dumps(tree))
    with pytest.raises(UserError, match="cannot be read as a sweep"):
        sweep.read()
