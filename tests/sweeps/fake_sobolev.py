"""Stands for `sobolev` in tests of launchers: its tasks are what it does.

ok      is complete at once                      fail     ends with an error, like a user's mistake
crash   ends with a traceback                    die      is killed
hang    waits for SIGTERM, saves half and leaves; complete the next time
meet    waits until as many runs beside it are there as its folder's name says
unsaved is trained, but not saved         unkept   is evaluated, but the result is not written
older   is trained, but its newest checkpoint is damaged: the evaluation is of the one before
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from sobolev.checkpoints.files import write_record


def save(run: Path, env_steps: int) -> None:
    (run / "checkpoint").mkdir(parents=True, exist_ok=True)
    record = {"serial": 1, "iteration": env_steps, "state": {}, "segments": [], "meta": {"env_steps": env_steps}}
    write_record(run / "checkpoint" / "checkpoint-0.json", record)


def hang(run: Path) -> None:
    if not (run / "checkpoint").exists():

        def leave(*_: object) -> None:
            save(run, 50)
            sys.exit(128 + signal.SIGTERM)

        signal.signal(signal.SIGTERM, leave)
        run.mkdir(parents=True)
        (run / "hangs").touch()
        time.sleep(60)


def meet(run: Path) -> None:
    run.mkdir(parents=True, exist_ok=True)
    (run / "here").touch()
    deadline = time.monotonic() + 30
    while len(list(run.parent.glob("*/here"))) < int(run.name[0]):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    (run / "cores").write_text(" ".join(map(str, sorted(os.sched_getaffinity(0)))))


def train(task: str, run: Path) -> None:
    if task == "fail":
        sys.exit("sobolev: this cannot be: do something else")
    if task == "crash":
        error = ValueError("so it goes")
        error.add_note("--------------------\nFor simplicity, JAX has removed its internal frames")
        raise error
    if task == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if task in ("hang", "meet"):
        {"hang": hang, "meet": meet}[task](run)
    save(run, 50 if task == "unsaved" else 100)


if __name__ == "__main__":
    command, *words = sys.argv[1:]
    if command == "train":
        train(words[0], Path(words[words.index("--run") + 1]))
    elif not words[0].endswith("-unkept"):
        env_steps = 50 if words[0].endswith("-older") else 100
        result = {"env_steps": env_steps, "episodes": int(words[2]), "mean": 7.0}
        (Path(words[0]) / "evaluation.json").write_text(json.dumps([result]))
