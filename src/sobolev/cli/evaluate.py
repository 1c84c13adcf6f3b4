"""`sobolev evaluate RUN`: evaluates a run's agent; prints a table, writes JSON, and a video on request."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from tyro.conf import Positional, arg

from sobolev.checkpoints.run_folder import in_use, locked, read_config
from sobolev.cli.parser import parse
from sobolev.errors import UserError
from sobolev.logs.videos import FILMS, PLOTS
from sobolev.system import jax_setup
from sobolev.system.atomic_files import json_text, write_json
from sobolev.system.columns import aligned
from sobolev.system.output import Guard

DESCRIPTION = """Play episodes with the agent of RUN's newest checkpoint, every seed on its own.

Prints a table and writes RUN/evaluation.json, unless that file has more episodes of the same checkpoint. The training
is not changed."""


@dataclass(frozen=True)
class EvaluateConfig:
    """What to evaluate, and how."""

    run: Annotated[Positional[Path], arg(metavar="RUN", help_behavior_hint="")]
    """folder of a run, as printed by `sobolev train`"""
    episodes: Annotated[int, arg(metavar="N")] = 20
    """episodes per seed"""
    max_steps: Annotated[int | None, arg(metavar="N")] = None
    """env steps after which an episode is truncated; its return so far counts. none: as in the run's training"""
    video: Annotated[Path | None, arg(metavar="FILE")] = None
    """also film an episode of the first seed: writes this file (.mp4 or .gif) and adds it to the run's TensorBoard and
    Weights & Biases, if it logs there"""
    dream: Annotated[Path | None, arg(metavar="FILE")] = None
    """also write what the first seed's world model predicts: dream.mp4 for images, dream.png for vectors (a plot; for
    agents that see images only, some frames)"""
    json: bool = False
    """print JSON instead of the table"""


def main(arguments: Sequence[str]) -> int:
    """Evaluates as the flags say. Returns the exit status: 1 if a file that was asked for could not be written."""
    default = EvaluateConfig(run=Path("RUN"))
    config = parse(default, arguments, prog="sobolev evaluate", description=DESCRIPTION, positional="run")
    _check(config)
    jax_setup.configure(read_config(config.run).compilation_cache)
    from sobolev.sweeps.run_status import evaluated
    from sobolev.training import evaluation

    films = [(what, file) for what, file in (("video", config.video), ("dream", config.dream)) if file is not None]
    before = {file: _stamp(file) for _, file in films}
    more = evaluated(config.run, config.episodes + 1)
    frames: list[np.ndarray] = []
    results = evaluation.evaluate(
        config.run,
        config.episodes,
        config.video,
        config.dream,
        config.max_steps,
        say=_say,
        show=_show,
        filmed=frames.extend,
    )
    path = config.run / "evaluation.json"
    kept = Guard(str(path))
    if not more:
        kept(write_json, path, results, indent=2)
    told = f"not kept: {path} has more episodes of this checkpoint" if more else f"as JSON: {path}"
    lines = table(results) if kept.told else [*table(results), "", told]
    print(json_text(results, indent=2) if config.json else "\n".join(lines))
    written = [(what, file) for what, file in films if _stamp(file) != before[file]]
    if not config.json:
        print("".join(f"{what}: {file}\n" for what, file in written), end="", flush=True)
    if config.video is not None and ("video", config.video) in written:
        log = Guard(f"the video in the logs of {config.run}", Exception)
        logs = log(_log, config.run, config.video, frames, results[0])
        if logs and not config.json:
            print(f"the video is also in {', '.join(logs)}")
    return int(len(written) < len(films))  # `evaluation.evaluate` has reported why


def _stamp(file: Path) -> tuple[int, int] | None:
    """Returns what changes when a file is written: its inode and modification time; None if there is no file."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _log(run: Path, video: Path, frames: Sequence[np.ndarray], result: Mapping[str, Any]) -> list[str]:
    """Adds a video (its file and its frames) to the log sinks in a run's settings, at the env step of the policy.

    Returns the names of the sinks that took it. Adds nothing while another process trains in the folder, since that
    process writes to the same sinks.
    """
    from sobolev.logs.rows import Row
    from sobolev.logs.sinks import count_lines
    from sobolev.logs.videos import excerpt
    from sobolev.logs.views import Origin, add, names

    config, seed, step = read_config(run), result["seed"], result["env_steps"]
    if not names(config.log):
        return []
    if in_use(run):
        _say(f"another process is training in {run}: the video is in {video} only, not in the logs of the run")
        return []
    with locked(run):
        origin = Origin(run, config.seeds, step, count_lines(run / "metrics.jsonl"), adds=True)
        return add(origin, config.log, Row(origin.rows, step, seed, {}, {"evaluation/video": excerpt(video, frames)}))


def _say(line: str) -> None:
    """Prints a line on stderr, so that with --json stdout has JSON only."""
    print(f"\r\x1b[K{line}" if sys.stderr.isatty() else line, file=sys.stderr, flush=True)


def _show(text: str) -> None:
    """Shows a text on the current line of a terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _check(config: EvaluateConfig) -> None:
    for flag, value in (("episodes", config.episodes), ("max-steps", config.max_steps)):
        if value is not None and value < 1:
            raise UserError(f"--{flag} is {value}, but must be at least 1")
    read_config(config.run)
    for flag, file, endings in (("video", config.video, FILMS), ("dream", config.dream, (*FILMS, *PLOTS))):
        if file is None:
            continue
        if file.suffix.lower() not in endings:
            raise UserError(f"--{flag} {file} must end in {', '.join(endings[:-1])} or {endings[-1]}")
        if not file.parent.is_dir():
            raise UserError(f"--{flag} {file}: the folder {file.parent} does not exist")


def table(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the lines of a table with a row per seed and, if there are several, one over all seeds."""
    from sobolev.reports.results.scores import task_name

    rows = [[str(r["seed"]), str(r["episodes"]), f"{r['mean']:.1f}", f"{r['std']:.1f}"] for r in results]
    if len(results) > 1:
        every = [value for result in results for value in result["returns"]]
        mean = sum(every) / len(every)
        std = (sum((value - mean) ** 2 for value in every) / len(every)) ** 0.5
        rows.append(["all", str(len(every)), f"{mean:.1f}", f"{std:.1f}"])
    rows.insert(0, ["seed", "episodes", "mean return", "std"])
    lines = aligned(rows, right=range(4))
    head = f"{task_name(results[0]['task'])}  {results[0]['method']}" if results else "no seeds"
    return [head, lines[0], "-" * len(lines[0]), *lines[1:]]
