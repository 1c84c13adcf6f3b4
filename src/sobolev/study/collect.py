"""Keeping results: a run's scores, with what made them, copied out of its folder, small enough to publish."""

import dataclasses
import json
import re
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sobolev.config import TrainConfig, to_json
from sobolev.config.registry import method_of
from sobolev.errors import UserError
from sobolev.study.files import made
from sobolev.study.labels import OPEN, usual_settings
from sobolev.study.runs import Run, load
from sobolev.training.run import digest, read_config, write_text

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
"""Settings that a protocol names in words, for the methods that have them."""


def collect(folders: Sequence[Path], target: Path) -> list[Path]:
    """Copies the scores of runs into TARGET/TASK-METHOD-PRESET, each with a run.json; returns these folders.

    A second variant of the same task, method and preset has the hash of its settings in its name. run.json has command,
    commit, machine, protocol, env_steps and wall_seconds, and keeps the `note` that a former one has. Where the run lay
    is left out of command and settings: it is nobody else's business. Folders that lie in the target already are left
    alone. Raises UserError for a folder that is no run, or has no scores yet.
    """
    kept = []
    for folder in folders:
        if target.resolve() in folder.resolve().parents:
            continue
        config, (run, *_) = read_config(folder), load(folder)
        if not any(one.steps.size for one in run.scores.values()):
            raise UserError(f"{folder} has no evaluation yet: leave it out until it has")
        place = made(_place(config, run, target), "--collect")
        note = _note(place)
        for name in COPIED:
            if (folder / name).exists():
                shutil.copyfile(folder / name, place / f"{name}.tmp")
                (place / f"{name}.tmp").replace(place / name)
        write_text(place / "config.json", to_json(dataclasses.replace(config, run=None)))
        write_text(place / "run.json", json.dumps(facts(config, run) | note, indent=2) + "\n")
        kept.append(place)
    return kept


def _place(config: TrainConfig, run: Run, target: Path) -> Path:
    seen = "" if run.task.observations == "proprio" else f"-{run.task.observations}"
    task = re.sub(r"[^\w.]+", "-", run.task.title)
    name = f"{task}{seen}-{method_of(config).name}-{config.preset}"
    if not (target / name / "config.json").exists() or digest(read_config(target / name)) == digest(config):
        return target / name
    return target / f"{name}-{digest(config)}"


def _note(place: Path) -> dict[str, Any]:
    """The note that somebody has written into a former run.json."""
    path = place / "run.json"
    told = json.loads(path.read_text()) if path.exists() else {}
    return {"note": told["note"]} if told.get("note") else {}


def facts(config: TrainConfig, run: Run) -> dict[str, Any]:
    """What run.json says; "unknown" where the run was made before runs kept a record."""
    told = {name: run.facts.get(name) or "unknown" for name in ("command", "commit", "machine")}
    told["command"] = _anywhere(told["command"])
    end = max(int(one.steps[-1]) for one in run.scores.values() if one.steps.size)
    seconds = run.facts.get("seconds")
    parts = {"env_steps": end, "wall_seconds": None if seconds is None else round(seconds)}
    if run.facts.get("processes", 1) > 1:
        parts["processes"] = run.facts["processes"]
    return {**told, "protocol": protocol(config, run), **parts}


def _anywhere(command: str) -> str:
    """A command without its --run and the folder after it."""
    words = shlex.split(command)
    if "--run" in words:
        place = words.index("--run")
        del words[place : place + 2]
    return shlex.join(words)


def protocol(config: TrainConfig, run: Run) -> str:
    """How a run was trained and evaluated, in a sentence, with every setting that differs from its preset's."""
    usual = usual_settings(run)
    changed = [path for path, value in run.settings.items() if value != usual.get(path) and path not in OPEN]
    told = [text.format(run.settings[path]) for path, text in PROTOCOL.items() if run.settings.get(path) is not None]
    told += [f"{path} {run.settings[path]}" for path in changed if path not in PROTOCOL]
    head = "preset paper" if config.preset == "paper" else f"preset {config.preset}, not the paper's protocol"
    if config.preset == "paper" and not changed:
        head = "the paper's protocol"
    text = f"{head}: {', '.join(told)}; evaluation every {config.evaluation.every} env steps, "
    text += f"{config.evaluation.episodes} episodes"
    numbers = {final.episodes for final in run.finals.values()}
    return text + (f", and {max(numbers)} after training" if numbers else "")
