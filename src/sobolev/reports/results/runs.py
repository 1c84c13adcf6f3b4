"""Reads runs: their folders, sweeps of them, and folders of copied scores, all in the same way.

RUN/scores.json         evaluation returns over env steps, per seed; a folder without it is not a run
RUN/train_scores.json   returns of training episodes
RUN/evaluation.json     episodes of the newest checkpoint (sobolev evaluate)
RUN/config.json         the settings; without it only the score file's own task and method are known
RUN/record.json         command, commit and machine of the run; in a folder of copied scores, run.json

Beside them, folders with a sensitivity.json, which `sobolev sensitivity` writes, are accepted.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sobolev.checkpoints.run_folder import NOT_COMPUTED
from sobolev.config.registry import OURS
from sobolev.config.resolve import added, completed
from sobolev.errors import UserError
from sobolev.logs.provenance import read_record
from sobolev.reports.results.scores import Score, Series, missing, read, series, task_name

SENSITIVITY = "sensitivity.json"
"""The file of `sobolev sensitivity`, which a report draws."""
VIDEOS = (".mp4", ".gif")
NOISE = {"env.observation_noise": "observation noise", "env.dynamics_noise": "dynamics noise"}
"""Settings of the environment that make another task of it, with their names."""
IGNORED = frozenset({*NOT_COMPUTED, *NOISE, "task", "method", "seeds", "env.workers", "replay.memory", "observations"})
"""Settings that do not make variants of a method. Task, seeds, observations and noise are fields of their own."""

OLDER: Mapping[str, Any] = {
    "env.image_size": 64,
    "warm_start": None,
    "warm_start_parts": "[]",
    "agent.regularizer": "jacobian",
}
"""Settings that did not exist when some of the scores in scores/ were made, with the values that they had in effect."""


class Task(NamedTuple):
    """The task, the kind of observations ("proprio", "pixels" or "both"), and the noise on it."""

    name: str
    observations: str = "proprio"
    noise: str = ""
    """as in "observation noise 0.2"; "" for none"""

    @property
    def family(self) -> str:
        """The family of tasks with which it is averaged: the observations for DeepMind Control without noise, else
        "other"."""
        return "other" if ":" in self.name or self.noise else self.observations

    @property
    def title(self) -> str:
        """Name and noise, without the observations."""
        return f"{self.name}, {self.noise}" if self.noise else self.name

    def __str__(self) -> str:
        return self.title if self.observations == "proprio" else f"{self.title} ({self.observations})"


class Final(NamedTuple):
    """The evaluation of a seed after its training."""

    score: float
    episodes: int
    env_steps: int


@dataclass(frozen=True, eq=False)
class Run:
    """A run: a task and a method, with one or more seeds."""

    folder: Path
    task: Task
    method: str
    settings: Mapping[str, Any]
    """settings that change what is computed, by flag ("penalty.rho"); empty if there is no config.json"""
    config: Mapping[str, Any]
    """the tree of config.json"""
    scores: Mapping[int, Series]
    """evaluation returns per seed"""
    episodes: Mapping[int, Series]
    """returns of training episodes per seed"""
    finals: Mapping[int, Final] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    """command, commit, machine, seconds, env_steps, protocol and note, if they are known"""
    videos: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    """notes on what is missing in its files"""

    @property
    def seeds(self) -> tuple[int, ...]:
        """All seeds with a curve."""
        return tuple(self.scores)


def find(places: Sequence[Path]) -> list[Path]:
    """Returns the folders of runs inside the given folders, sorted and without duplicates.

    Raises UserError for a folder that does not exist, for one that holds neither scores nor a file of `sobolev
    sensitivity`, and if none of them holds scores.
    """
    folders: dict[Path, Path] = {}
    for place in places:
        if not place.exists():
            raise UserError(f"{place} does not exist: give folders of runs, of sweeps or of scores")
        inside = sorted(path.parent for path in place.rglob("scores.json")) if place.is_dir() else []
        if not inside and not (place.is_dir() and any(place.rglob(SENSITIVITY))):
            raise UserError(f"{place} holds no scores.json: give folders of runs, of sweeps or of scores")
        for folder in inside:
            folders.setdefault(folder.resolve(), folder)
    if places and not folders:
        listed = " and ".join(map(str, places))
        raise UserError(f"{listed}: only {SENSITIVITY}, no scores.json; give folders of runs, sweeps or scores too")
    return list(folders.values())


def load(folder: Path) -> list[Run]:
    """Loads the runs of a folder: one, or without a config.json one for each task and method in the score file.

    Raises UserError for a file that cannot be read, whose content is not what its name says, or which has a seed twice.
    """
    scores = _read_once(folder / "scores.json")
    episodes = _read_once(folder / "train_scores.json") if (folder / "train_scores.json").exists() else []
    config = _json(folder / "config.json", dict) or {}
    finals = _json(folder / "evaluation.json", list) or []
    facts = _facts(folder)
    videos = tuple(sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEOS))
    runs = []
    for task, method in dict.fromkeys((score["task"], score["method"]) for score in scores):
        runs.append(
            Run(
                folder=folder,
                task=_task(task, config),
                method=method,
                settings=flat(config) if config else {},
                config=config,
                scores=_by_seed(scores, task, method),
                episodes=_by_seed(episodes, task, method),
                finals=_finals(folder, finals, task, method),
                facts=facts,
                videos=videos,
                notes=_missing(folder, scores, episodes, finals, task, method),
            )
        )
    return runs


def _read_once(path: Path) -> list[Score]:
    """Reads a score file. Raises UserError if it has several curves of one seed."""
    scores = read(path)
    numbers = Counter((score["task"], score["method"], score["seed"]) for score in scores)
    for (task, method, seed), number in numbers.items():
        if number > 1:
            raise UserError(f"{path} has {number} curves of {method} on {task} with seed {seed}: keep one of them")
    return scores


def _task(named: str, config: Mapping[str, Any]) -> Task:
    """Returns the task of a config.json, or that of the score file if the config has none."""
    environment = config.get("env", {})
    noise = {name: environment.get(path.partition(".")[2], 0.0) for path, name in NOISE.items()}
    words = [f"{name} {width:g}" for name, width in noise.items() if width]
    return Task(config.get("task", task_name(named)), config.get("observations", "proprio"), " and ".join(words))


def _by_seed(scores: Iterable[Score], task: str, method: str) -> dict[int, Series]:
    return {s["seed"]: series(s) for s in scores if (s["task"], s["method"]) == (task, method)}


def _missing(
    folder: Path,
    scores: Sequence[Score],
    episodes: Sequence[Score],
    finals: Sequence[Mapping[str, Any]],
    task: str,
    method: str,
) -> tuple[str, ...]:
    """Returns a note for every file with returns that were not finite, which are null in JSON."""
    notes = []
    for name, entries in (("scores.json", scores), ("train_scores.json", episodes)):
        for score in (score for score in entries if (score["task"], score["method"]) == (task, method)):
            if missing(score):
                told = f"{missing(score)} of {len(score['ys'])} returns of seed {score['seed']}"
                notes.append(f"In {folder / name}, {told} were not finite: left out.")
    mine = [entry for entry in finals if (entry.get("task"), entry.get("method")) == (task, method)]
    lost = [str(entry.get("seed")) for entry in mine if not _has_mean(entry)]
    if lost:
        notes.append(f"In {folder / 'evaluation.json'}, the mean return of seed {', '.join(lost)} was not finite.")
    return tuple(notes)


def _has_mean(entry: Mapping[str, Any]) -> bool:
    """Returns whether an entry of an evaluation.json has a finite mean; otherwise it is null."""
    return entry["mean"] is not None and math.isfinite(entry["mean"])


def _finals(folder: Path, entries: Sequence[Mapping[str, Any]], task: str, method: str) -> dict[int, Final]:
    try:
        mine = [entry for entry in entries if (entry["task"], entry["method"]) == (task, method) and _has_mean(entry)]
        return {e["seed"]: Final(float(e["mean"]), int(e["episodes"]), int(e["env_steps"])) for e in mine}
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder / 'evaluation.json'} is not what sobolev evaluate writes ({error!r})") from error


def flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings of a config.json that distinguish variants, by flag: {"penalty.rho": 0.5, …}.

    Settings that an older version did not have get the value that it had in effect. Of a warm start only the parts
    count, not the run from which they come.
    """
    method = str(config.get("method"))
    leaves = {**OLDER, **_leaves(completed(config, added(OURS[method])) if method in OURS else config)}
    leaves = {path.removeprefix("agent."): value for path, value in leaves.items()}
    if leaves["warm_start"] is None:
        del leaves["warm_start_parts"]
    else:
        leaves["warm_start"] = "yes"
    return {path: value for path, value in leaves.items() if path not in IGNORED}


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        path = prefix + name
        if path in IGNORED:
            continue
        if isinstance(value, Mapping):
            leaves |= _leaves(value, path + ".")
        else:
            leaves[path] = json.dumps(value) if isinstance(value, list) else value
    return leaves


def _facts(folder: Path) -> dict[str, Any]:
    """Returns command, commit, machine and time of a run: from run.json if its scores were copied, or its record."""
    copied = _json(folder / "run.json", dict)
    if copied is not None:
        return {"seconds": copied.get("wall_seconds")} | copied
    processes = read_record(folder)
    if not processes:
        return {}
    commits = dict.fromkeys(entry["commit"] or f"version {entry['version']}" for entry in processes)
    machines = dict.fromkeys(machine_name(entry) for entry in processes)
    return {
        "command": processes[-1]["command"],
        "commit": ", then ".join(commits),
        "machine": ", then ".join(machines),
        "seconds": sum(entry["seconds"] for entry in processes),
        "env_steps": processes[-1]["env_steps"],
        "processes": len(processes),
    }


def machine_name(entry: Mapping[str, Any]) -> str:
    """Describes the machine in an entry of a record: "2 cores of AMD EPYC, 23.5 GiB, 1 × NVIDIA H200, jax 0.10.1"."""
    machine = entry["machine"]
    kinds = dict.fromkeys(kind for kind in machine["devices"] if kind.lower() != "cpu")
    devices = [f"{machine['devices'].count(kind)} × {kind}" for kind in kinds]
    words = [f"{machine['cores']} cores of {machine['processor']}", f"{machine['memory_gib']:g} GiB", *devices]
    return ", ".join([*words, f"Python {entry['python']}", f"jax {entry['jax']}"])


def _json(path: Path, kind: type) -> Any:
    """Reads a JSON file; None if it does not exist. Raises UserError if its content is of another kind."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, kind):
        raise UserError(f"{path} is not what its name says: a JSON {'object' if kind is dict else 'list'}")
    return content


def last_step(several: Mapping[int, Series]) -> float:
    """Returns the last env step that all seeds reach; 0 if there are none."""
    ends = [one.steps[-1] if one.steps.size else 0.0 for one in several.values()]
    return float(np.min(ends)) if ends else 0.0
