"""Collects results: copies the scores of runs, with command, commit and machine, into a small folder to publish."""

import dataclasses
import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sobolev.checkpoints.run_folder import digest, read_config
from sobolev.config import TrainConfig, to_json
from sobolev.config.registry import method_of
from sobolev.errors import UserError
from sobolev.plotting.output_files import create_folder
from sobolev.reports.results.runs import Run, load
from sobolev.reports.results.variant_names import OPEN, usual_settings
from sobolev.system.atomic_files import file_name, write_bytes, write_json, write_text

COPIED = ("scores.json", "train_scores.json", "evaluation.json")
PROTOCOL = {
    "size": "{} parameters",
    "env.number": "{} environments",
    "env.repeat": "action repeat {}",
    "batch_size": "batch {}",
    "batch_length": "batch length {}",
    "behavior.horizon": "horizon {}",
    "train_ratio": "train ratio {:g}",
    "optimizer.learning_rate": "learning rate {:g}",
}
"""The settings in the description of a protocol, for methods that have them."""


def collect(folders: Sequence[Path], target: Path) -> list[Path]:
    """Copies the scores of runs into TARGET/TASK-METHOD-PRESET, each with a run.json. Returns these folders.

    A second variant of the same task, method and preset has a hash of its settings in its name. run.json has command,
    commit, machine, protocol, env_steps and wall_seconds, and keeps the `note` of an earlier run.json. Paths of the
    run's folder are left out of command and settings. Folders inside the target are skipped. Raises UserError for a
    folder that is not a run or has no scores yet.
    """
    kept = []
    for folder in folders:
        if target.resolve() in folder.resolve().parents:
            continue
        config, (run, *_) = read_config(folder), load(folder)
        if not any(one.steps.size for one in run.scores.values()):
            raise UserError(f"{folder} has no evaluation yet: leave it out until it has")
        place = create_folder(_place(config, run, target), "--collect")
        note = _note(place)
        for name in COPIED:
            if (folder / name).exists():
                write_bytes(place / name, (folder / name).read_bytes())
        write_text(place / "config.json", to_json(dataclasses.replace(config, run=None)))
        write_json(place / "run.json", facts(config, run) | note, indent=2)
        kept.append(place)
    return kept


def _place(config: TrainConfig, run: Run, target: Path) -> Path:
    seen = "" if run.task.observations == "proprio" else f"-{run.task.observations}"
    task = re.sub(r"[^\w.]+", "-", run.task.title)
    name = file_name(f"{task}{seen}-{method_of(config).name}-{config.preset}")
    if not (target / name / "config.json").exists() or digest(read_config(target / name)) == digest(config):
        return target / name
    return target / f"{name}-{digest(config)}"


def _note(place: Path) -> dict[str, Any]:
    """Returns the note that a user has added to an earlier run.json."""
    path = place / "run.json"
    earlier = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {"note": earlier["note"]} if earlier.get("note") else {}


def facts(config: TrainConfig, run: Run) -> dict[str, Any]:
    """Returns the content of run.json, with "unknown" if the run has no record."""
    origin = {name: run.facts.get(name) or "unknown" for name in ("command", "commit", "machine")}
    origin["command"] = _without_folder(origin["command"])
    last = max(int(one.steps[-1]) for one in run.scores.values() if one.steps.size)
    # the env steps that took these seconds, which the last evaluation may not reach
    end, seconds = run.facts.get("env_steps") or last, run.facts.get("seconds")
    parts = {"env_steps": end, "wall_seconds": None if seconds is None else round(seconds)}
    if run.facts.get("processes", 1) > 1:
        parts["processes"] = run.facts["processes"]
    return {**origin, "protocol": protocol(config, run), **parts}


def _without_folder(command: str) -> str:
    """Returns a command without --run and its folder."""
    words = shlex.split(command)
    if "--run" in words:
        place = words.index("--run")
        del words[place : place + 2]
    return shlex.join(words)


def protocol(config: TrainConfig, run: Run) -> str:
    """Describes how a run was trained and evaluated, with every setting that differs from its preset's."""
    usual = usual_settings(run)
    changed = [path for path, value in run.settings.items() if value != usual.get(path) and path not in OPEN]
    parts = [text.format(run.settings[path]) for path, text in PROTOCOL.items() if run.settings.get(path) is not None]
    parts += [f"{path} {run.settings[path]}" for path in changed if path not in PROTOCOL]
    head = "preset paper" if config.preset == "paper" else f"preset {config.preset}, not the paper's protocol"
    if config.preset == "paper" and not changed:
        head = "the paper's protocol"
    text = f"{head}: {', '.join(parts)}; evaluation every {config.evaluation.every} env steps, "
    text += f"{config.evaluation.episodes} episodes"
    numbers = {final.episodes for final in run.finals.values()}
    return text + (f", and {max(numbers)} after training" if numbers else "")
