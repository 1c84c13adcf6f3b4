"""The labels under which runs are compared: a method, or a method and the settings of a variant ("gpld rho=0.25")."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from sobolev.config import defaults
from sobolev.config.codec import encode
from sobolev.config.variant_label import short, variant_label
from sobolev.errors import UserError
from sobolev.reports.results.runs import Run, flat

BY_TASK = ("env.repeat",)
"""Settings whose default depends on the task, and which do not characterise a method."""
OPEN = (*BY_TASK, "precision")
"""Settings that a preset leaves to the task and the device."""


def labelled(runs: Sequence[Run]) -> tuple[dict[str, list[Run]], list[str]]:
    """Returns the runs by label, and notes on differences that the labels do not show.

    Settings that differ on the same task make variants. A label names those that are not the default of the run's
    method, preset and size. The label of a method without variants is its name, and so is that of runs whose settings
    are not known.
    """
    by_label: dict[str, list[Run]] = {}
    notes: list[str] = []
    for method in sorted({run.method for run in runs}):
        mine = [run for run in runs if run.method == method]
        varied = _varied(mine)
        names = _names([run for run in mine if run.settings], varied)
        for run in mine:
            by_label.setdefault(names[_key(run, varied)] if run.settings else method, []).append(run)
        notes += [*_across_tasks(method, mine, varied), *_unknown(method, mine)]
    return by_label, notes


def _varied(runs: Sequence[Run]) -> list[str]:
    """Returns the settings that have several values on one task, except those that follow from the size."""
    paths = list(dict.fromkeys(path for run in runs for path in run.settings))
    varied = [path for path in paths if any(len(values) > 1 for values in _values(runs, path).values())]
    if "size" in varied:
        varied = [path for path in varied if path == "size" or not _follows(runs, path, "size")]
    return varied


def _values(runs: Iterable[Run], path: str) -> dict[Any, set[Any]]:
    """Returns the values of a setting on each task."""
    values: dict[Any, set[Any]] = {}
    for run in runs:
        if run.settings:
            values.setdefault(run.task, set()).add(run.settings.get(path))
    return values


def _follows(runs: Sequence[Run], path: str, other: str) -> bool:
    """Returns whether a setting is determined by another one."""
    pairs = {(run.settings.get(other), run.settings.get(path)) for run in runs}
    return len(pairs) == len({first for first, _ in pairs})


def _key(run: Run, varied: Sequence[str]) -> tuple[Any, ...]:
    return tuple(run.settings.get(path) for path in varied)


def _names(runs: Sequence[Run], varied: Sequence[str]) -> dict[tuple[Any, ...], str]:
    """Returns a label for every variant: its settings that are not the default; if that is ambiguous, also the preset,
    or else all settings that vary."""
    examples = {_key(run, varied): run for run in runs}
    names = {}
    for writer in (
        _changes,
        _changes_and_preset,
        lambda run, varied: {path: run.settings.get(path) for path in varied},
    ):
        names = {key: variant_label(run.method, writer(run, varied)) for key, run in examples.items()}
        if len(set(names.values())) == len(names):
            break
    return names


def _changes(run: Run, varied: Sequence[str]) -> dict[str, Any]:
    usual = usual_settings(run)
    return {path: run.settings.get(path) for path in varied if run.settings.get(path) != usual.get(path)}


def _changes_and_preset(run: Run, varied: Sequence[str]) -> dict[str, Any]:
    return {"preset": run.config.get("preset")} | _changes(run, varied)


def usual_settings(run: Run) -> Mapping[str, Any]:
    """Returns the default settings of a run's method, preset and size; empty if this version does not know them."""
    config = run.config
    chosen = run.settings.get("regularizer")
    return _usual(config.get("method", run.method), config.get("size"), config.get("preset"), chosen)


@cache
def _usual(method: str, size: str | None, preset: str | None, regularizer: str | None) -> Mapping[str, Any]:
    """Like `usual_settings`, with the default settings of the run's regularizer: only the choice of the regularizer
    counts as unusual."""
    try:
        own = defaults("walker-walk", method, None, preset)
        usual = flat(encode(own))
        chosen = regularizer if regularizer != usual.get("regularizer") else None
        found = flat(encode(defaults("walker-walk", method, size, preset, chosen)))
        return found | {name: usual[name] for name in ("size", "regularizer") if name in usual} | {"size": own.size}
    except UserError:
        return {}


def _unknown(method: str, runs: Sequence[Run]) -> list[str]:
    """Returns a note on runs whose settings are not known, if there are others that they are counted with."""
    places = dict.fromkeys(str(run.folder) for run in runs if not run.settings)
    text = f"so that they count as {method}, whatever their settings were"
    mixed = places and any(run.settings for run in runs)
    return [f"Scores of {method} have no config.json in {', '.join(places)}, {text}."] if mixed else []


def _across_tasks(method: str, runs: Sequence[Run], varied: Sequence[str]) -> list[str]:
    """Returns a note for every setting that differs between tasks within one label."""
    notes = []
    for path in dict.fromkeys(path for run in runs for path in run.settings):
        if _is_explained(path, runs, varied):
            continue
        values: dict[Any, list[str]] = {}
        for task, (value, *_) in _values(runs, path).items():
            values.setdefault(value, []).append(str(task))
        if len(values) > 1:
            parts = [f"{short(value)} on {', '.join(sorted(tasks))}" for value, tasks in values.items()]
            notes.append(f"Not all runs of {method} have the same {path}: {'; '.join(parts)}.")
    return notes


def _is_explained(path: str, runs: Sequence[Run], varied: Sequence[str]) -> bool:
    """Returns whether readers know why a setting differs: it is in the labels, or follows from the task or the size."""
    return path in varied or path in BY_TASK or ("size" in varied and _follows(runs, path, "size"))
