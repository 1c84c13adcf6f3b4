"""Warm starts: initialises some networks of a run with those of another run (arXiv 2605.23089, Appendix D.2).

RUN/warm_start.safetensors    a copy of these networks, so that the run can start over without the other run
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sobolev.agents.api import State
from sobolev.checkpoints.files import Damaged, load_arrays, room_errors, write_arrays
from sobolev.checkpoints.pytree_io import check_spaces, flatten, forms, unflatten
from sobolev.checkpoints.run_folder import read_config
from sobolev.checkpoints.slots import Checkpoints
from sobolev.config import TrainConfig
from sobolev.config.registry import method_of
from sobolev.envs import Spaces
from sobolev.errors import UserError

FILE = "warm_start.safetensors"

Arrays = Mapping[str, np.ndarray]


def parts(config: TrainConfig, run: Path, shapes: State, spaces: Spaces) -> Arrays:
    """Returns the parts that a config takes from another run, as arrays by name. `shapes` are those of a new state.

    Each seed takes the parts of the same seed of the other run, or of its only seed. Raises UserError if there is no
    such run, checkpoint or seed, or if parts have other shapes, which it names.
    """
    if config.warm_start is None:
        return {}
    ours = forms(shapes)
    kept = (run / FILE).exists()
    theirs = _kept(run / FILE) if kept else _of_run(config.warm_start, config, ours, spaces)
    _check(config, ours, theirs)
    if not kept:
        with room_errors(run, sum(array.nbytes for array in theirs.values()), "the parts of the warm start"):
            write_arrays(run / FILE, theirs)
    return theirs


def started(state: State, parts: Arrays) -> State:
    """Returns a new state with these parts. Optimizer and statistics are those of the new state."""
    return unflatten(state, {**flatten(state), **parts}) if parts else state


def _kept(path: Path) -> Arrays:
    try:
        return load_arrays(path)
    except Damaged as error:
        raise UserError(
            f"{path.parent}: {error}; delete the file to take the parts from the other run again"
        ) from error


def _of_run(source: Path, config: TrainConfig, ours: Mapping[str, Any], spaces: Spaces) -> Arrays:
    """Returns the parts in the newest checkpoint of another run, [seeds, …] in the order of the config's seeds."""
    seeds = read_config(source).seeds
    rows = []
    for seed in config.seeds:
        if seed not in seeds and len(seeds) > 1:
            there = " ".join(map(str, seeds))
            raise UserError(f"--warm-start {source} has seeds {there}, not {seed}: take these, or a run of one seed")
        rows.append(seeds.index(seed) if seed in seeds else 0)
    loaded = Checkpoints(source / "checkpoint").load(growing="leave", finite=["agent/"])
    if loaded is None:
        raise UserError(f"--warm-start {source} has no checkpoint yet: wait for it, or choose another run")
    for note in loaded.notes:
        print(f"{source}: {note}", file=sys.stderr, flush=True)
    arrays = {name.removeprefix("agent/"): x for name, x in loaded.state.items() if name.startswith("agent/")}
    known = method_of(config).parts
    places = tuple(place for part in config.warm_start_parts for place in known[part])
    theirs = {name: x[rows] for name, x in arrays.items() if name.startswith(places)}
    if _differences(config, ours, theirs):  # the message about the environment comes first
        cure = f"--warm-start {source} needs a task with the same observations and actions"
        check_spaces(loaded.state, spaces, "the environment", cure)
    return theirs


def _differences(config: TrainConfig, ours: Mapping[str, Any], theirs: Arrays) -> list[str]:
    """Describes the parts with other shapes, each with one of its arrays."""
    wrong, places = [], method_of(config).parts
    for part in config.warm_start_parts:
        here, there = ({n: x for n, x in arrays.items() if n.startswith(places[part])} for arrays in (ours, theirs))
        for name in sorted(here | there):
            if _form(here.get(name)) != _form(there.get(name)):
                short = name.removeprefix(places[part][0])
                wrong.append(f"{part} ('{short}' is {_form(there.get(name))} there and {_form(here.get(name))} here)")
                break
    return wrong


def _check(config: TrainConfig, ours: Mapping[str, Any], theirs: Arrays) -> None:
    if wrong := _differences(config, ours, theirs):
        raise UserError(
            f"--warm-start {config.warm_start} has other shapes in: {', '.join(wrong)}; take the same --size, "
            "--observations and image size, and a task with the same observations and actions"
        )


def _form(array: Any) -> str:
    """Describes the shape of one seed's array."""
    return "missing" if array is None else f"{array.dtype}{list(array.shape[1:])}"
