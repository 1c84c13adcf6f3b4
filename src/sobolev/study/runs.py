"""What a folder of results holds: run folders, sweeps of them, and score files copied from them, all read alike.

RUN/scores.json         evaluation returns over env steps, per seed; without it a folder is no run
RUN/train_scores.json   returns of training episodes
RUN/evaluation.json     episodes of the newest checkpoint (sobolev evaluate)
RUN/config.json         the settings; without it the score file's own task and method are all that is known
RUN/record.json         what made it; in a folder of copied scores, run.json says the same in words
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sobolev.errors import UserError
from sobolev.study.scores import Score, Series, read, series, task_name
from sobolev.training.record import read_record
from sobolev.training.run import NOT_COMPUTED

VIDEOS = (".mp4", ".gif")
NOISE = {"env.observation_noise": "observation noise", "env.dynamics_noise": "dynamics noise"}
"""Settings of the environment that make another task of it, with their names."""
IGNORED = frozenset({*NOT_COMPUTED, *NOISE, "task", "method", "seeds", "env.workers", "replay.memory", "observations"})
"""Settings that do not tell two variants of a method apart; task, seeds, observations, noise are told on their own."""

OLDER: Mapping[str, Any] = {"env.image_size": 64, "warm_start": None, "warm_start_parts": "[]"}
"""Settings that some of the scores in scores/ were made without, with what was done then."""


class Task(NamedTuple):
    """What is learned, from which observations ("proprio", "pixels" or "both"), and through which noise."""

    name: str
    observations: str = "proprio"
    noise: str = ""
    """that is added to the environment, as in "observation noise 0.2"; empty for none"""

    @property
    def family(self) -> str:
        """The tasks it is averaged with: "proprio", "pixels" or "both" of DeepMind Control as it is; "other"."""
        foreign = ":" in self.name and self.observations == "proprio"
        return "other" if foreign or self.noise else self.observations

    @property
    def title(self) -> str:
        """Name and noise, where it is known what is observed."""
        return f"{self.name}, {self.noise}" if self.noise else self.name

    def __str__(self) -> str:
        return self.title if self.observations == "proprio" else f"{self.title} ({self.observations})"


class Final(NamedTuple):
    """The episodes of a finished seed's evaluation."""

    score: float
    episodes: int
    env_steps: int


@dataclass(frozen=True, eq=False)
class Run:
    """One folder: a task and a method with one seed or several."""

    folder: Path
    task: Task
    method: str
    settings: Mapping[str, Any]
    """by flag ("penalty.rho"), those that change what is computed; empty where there is no config.json"""
    config: Mapping[str, Any]
    """the tree of config.json"""
    scores: Mapping[int, Series]
    """evaluation returns per seed"""
    episodes: Mapping[int, Series]
    """returns of training episodes per seed"""
    finals: Mapping[int, Final] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    """command, commit, machine, seconds, env_steps, protocol and note, so far as they are known"""
    videos: tuple[Path, ...] = ()

    @property
    def seeds(self) -> tuple[int, ...]:
        """All seeds that have a curve."""
        return tuple(self.scores)


def find(places: Sequence[Path]) -> list[Path]:
    """The folders of runs in the given ones, each once, in the order of their names.

    Raises UserError for a place that does not exist, and for one that holds no scores.
    """
    found: dict[Path, Path] = {}
    for place in places:
        if not place.exists():
            raise UserError(f"{place} does not exist: give folders of runs, of sweeps or of scores")
        inside = sorted(path.parent for path in place.rglob("scores.json")) if place.is_dir() else []
        if not inside:
            raise UserError(f"{place} holds no scores.json: give folders of runs, of sweeps or of scores")
        for folder in inside:
            found.setdefault(folder.resolve(), folder)
    return list(found.values())


def load(folder: Path) -> list[Run]:
    """The runs of a folder: one, or one for each task and method of a score file that has no config beside it.

    Raises UserError for a file that cannot be read, or is not what its name says.
    """
    scores = read(folder / "scores.json")
    episodes = read(folder / "train_scores.json") if (folder / "train_scores.json").exists() else []
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
            )
        )
    return runs


def _task(named: str, config: Mapping[str, Any]) -> Task:
    """The task of a config.json, which may be of an older version or missing: then that of the scores."""
    environment = config.get("env", {})
    noise = {told: environment.get(path.partition(".")[2], 0.0) for path, told in NOISE.items()}
    words = [f"{told} {width:g}" for told, width in noise.items() if width]
    return Task(config.get("task", task_name(named)), config.get("observations", "proprio"), " and ".join(words))


def _by_seed(scores: Iterable[Score], task: str, method: str) -> dict[int, Series]:
    return {s["seed"]: series(s) for s in scores if (s["task"], s["method"]) == (task, method)}


def _finals(folder: Path, entries: Sequence[Mapping[str, Any]], task: str, method: str) -> dict[int, Final]:
    try:
        mine = [entry for entry in entries if (entry["task"], entry["method"]) == (task, method)]
        return {e["seed"]: Final(float(e["mean"]), int(e["episodes"]), int(e["env_steps"])) for e in mine}
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder / 'evaluation.json'} is not what sobolev evaluate writes ({error!r})") from error


def flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a config.json that tell variants apart, by their flag: {"penalty.rho": 0.5, …}.

    Settings that the scores of an older version do not have get the value of what it did. Which run a warm start came
    from does not count, only that there was one, and of which parts.
    """
    leaves = {**OLDER, **_leaves(config)}
    leaves = {path.removeprefix("agent."): value for path, value in leaves.items()}
    if leaves["warm_start"] is None:
        del leaves["warm_start_parts"]
    else:
        leaves["warm_start"] = "yes"
    return {path: value for path, value in leaves.items() if path not in IGNORED}


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in tree.items():
        path = prefix + name
        if path in IGNORED:
            continue
        if isinstance(value, Mapping):
            found |= _leaves(value, path + ".")
        else:
            found[path] = json.dumps(value) if isinstance(value, list) else value
    return found


def _facts(folder: Path) -> dict[str, Any]:
    """What made a run, in words: from run.json where scores were copied, else from the run's own record."""
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
    """The machine of an entry of a record in words: "2 cores of AMD EPYC, 23.5 GiB, 1 × NVIDIA H200, jax 0.10.1"."""
    machine = entry["machine"]
    kinds = dict.fromkeys(kind for kind in machine["devices"] if kind.lower() != "cpu")
    devices = [f"{machine['devices'].count(kind)} × {kind}" for kind in kinds]
    words = [f"{machine['cores']} cores of {machine['processor']}", f"{machine['memory_gib']:g} GiB", *devices]
    return ", ".join([*words, f"Python {entry['python']}", f"jax {entry['jax']}"])


def _json(path: Path, kind: type) -> Any:
    """The content of a JSON file, None where there is none. Raises UserError where it is something else."""
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, kind):
        raise UserError(f"{path} is not what its name says: a JSON {'object' if kind is dict else 'list'}")
    return found


def last_step(found: Mapping[int, Series]) -> float:
    """The env step that every seed reaches; 0 for none."""
    ends = [one.steps[-1] if one.steps.size else 0.0 for one in found.values()]
    return float(np.min(ends)) if ends else 0.0
