"""Suites: reads and checks the tasks, variants and seeds of a study, which are a few lines of TOML (suites.toml)."""

import itertools
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from typing import Any

from sobolev.config.codec import as_path, flattened
from sobolev.config.registry import METHODS
from sobolev.config.variant_label import variant_label
from sobolev.errors import UserError, nearest

PAPER_SEEDS = (0, 1, 2, 3, 4)
COMPARED = ("dreamer", "gpld")
"""The methods of a suite that does not name any."""

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Variant:
    """One of the methods that a suite compares on every task, with its own settings."""

    method: str
    label: str
    """name among the variants of the suite, as in "gpld rho=0.25" """
    settings: Settings = field(default_factory=dict)
    preset: str | None = None
    """None is the suite's"""
    warm_start: str | None = None
    """label of the variant from whose run of the same task this one starts"""


@dataclass(frozen=True)
class Suite:
    """Tasks × variants × seeds."""

    name: str
    about: str
    tasks: tuple[str, ...]
    variants: tuple[Variant, ...]
    seeds: tuple[int, ...] = PAPER_SEEDS
    seeds_per_run: int | None = None
    """seeds to train in one program; None for all"""
    preset: str | None = None
    """None is the first one of each method"""
    settings: Settings = field(default_factory=dict)
    """for all runs"""


KEYS = {
    "about": str,
    "tasks": list,
    "variants": list,
    "methods": list,
    "settings": dict,
    "seeds": list,
    "seeds_per_run": int,
    "preset": str,
}
VARIANT_KEYS = {"method": str, "label": str, "preset": str, "settings": dict, "grid": dict, "warm_start": str}
ELSEWHERE = {
    "task": "tasks = [...] of the suite",
    "method": "method = ... of a variant",
    "preset": "preset = ... of the suite or of a variant",
    "seeds": "seeds = [...] of the suite",
    "run": "--output of sobolev sweep",
    "fresh": "--output of sobolev sweep, a new folder",
}
"""Settings of a run that a suite does not have among its `settings`, and what gives them."""


@cache
def named() -> Mapping[str, Mapping[str, Any]]:
    """Returns the tables of all suites that come with sobolev, by name."""
    return tomllib.loads(resources.files("sobolev.sweeps").joinpath("suites.toml").read_text(encoding="utf-8"))


def load(source: str) -> Suite:
    """Loads a suite by its name, or from a TOML file, whose stem is then its name.

    Raises UserError for an unknown name, with the nearest one, and for a file that cannot be read or is not a suite.
    """
    if source in named():
        return parse(source, named()[source])
    path = as_path("SUITE", source)
    if path.suffix != ".toml":
        raise nearest("suite", source, named())
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: give a suite's name or a TOML file") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    return parse(path.stem, table)


def parse(name: str, table: Mapping[str, Any]) -> Suite:
    """Parses the TOML table of a suite. Raises UserError for keys and values that a suite cannot have."""
    _check(f"suite {name}", table, KEYS)
    if not table.get("tasks"):
        raise UserError(f'suite {name} has no tasks: give a list, as in tasks = ["walker-walk"]')
    if "methods" in table and "variants" in table:
        raise UserError(f"suite {name} has methods and variants: a variant names its method, so leave out methods")
    written = table.get("variants", [{"method": method} for method in table.get("methods", COMPARED)])
    variants = tuple(itertools.chain.from_iterable(_variants(name, variant) for variant in written))
    suite = Suite(
        name=name,
        about=table.get("about", ""),
        tasks=tuple(dict.fromkeys(itertools.chain.from_iterable(map(_tasks, table["tasks"])))),
        variants=variants,
        seeds=tuple(table.get("seeds", PAPER_SEEDS)),
        seeds_per_run=table.get("seeds_per_run"),
        preset=table.get("preset"),
        settings=_settings(f"suite {name}", table.get("settings", {})),
    )
    _check_suite(suite)
    return suite


def _check(what: str, table: Any, keys: Mapping[str, type]) -> None:
    if not isinstance(table, Mapping):
        raise UserError(f"{what} must be a table, not {table!r}")
    for key, value in table.items():
        if key not in keys:
            raise nearest(f"key of {what}", key, keys)
        if not isinstance(value, keys[key]):
            kind = {list: "a list", dict: "a table", str: "a word", int: "a whole number"}[keys[key]]
            raise UserError(f"{key} of {what} takes {kind}, not {value!r}")


def _tasks(entry: Any) -> tuple[str, ...]:
    """Returns the tasks of an entry of `tasks`: the task of that name, or all tasks of the suite of that name."""
    return parse(entry, named()[entry]).tasks if entry in named() else (str(entry),)


def _variants(suite: str, table: Any) -> Iterator[Variant]:
    _check(f"a variant of suite {suite}", table, VARIANT_KEYS)
    what, method = f"a variant of suite {suite}", table.get("method", "gpld")
    fixed, grid = (_settings(what, table.get(key, {})) for key in ("settings", "grid"))
    for path, values in grid.items():
        if not isinstance(values, list) or not values:
            raise UserError(f"the grid of {what} takes a list of values for {path}, with one at least, not {values!r}")
    for values in itertools.product(*grid.values()):
        settings = {**fixed, **dict(zip(grid, values, strict=True))}
        label = variant_label(METHODS.find(method).name, settings)
        if "label" in table:
            label = variant_label(table["label"], dict(zip(grid, values, strict=True)))
        yield Variant(method, label, settings, table.get("preset"), table.get("warm_start"))


def _settings(what: str, table: Mapping[str, Any]) -> Settings:
    """Returns settings by path. Raises UserError for one that is given elsewhere."""
    found = flattened(table)
    for path in found:
        if path in ELSEWHERE:
            raise UserError(f"the settings of {what} cannot have {path}: it is given by {ELSEWHERE[path]}")
    return found


def _check_suite(suite: Suite) -> None:
    labels = [variant.label for variant in suite.variants]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise UserError(f"suite {suite.name} has the variant '{twice}' twice: leave one out or give it a label")
    if not suite.seeds or not all(type(seed) is int and seed >= 0 for seed in suite.seeds):
        raise UserError(f"seeds of suite {suite.name} are {list(suite.seeds)}: give whole numbers from 0 on")
    if suite.seeds_per_run is not None and suite.seeds_per_run < 1:
        raise UserError(f"seeds_per_run of suite {suite.name} is {suite.seeds_per_run}: it must be at least 1")
    cold = [variant.label for variant in suite.variants if variant.warm_start is None]
    for variant in suite.variants:
        if variant.warm_start is not None and not cold:
            raise UserError(f"all variants of suite {suite.name} have warm_start: one at least must start by itself")
        if variant.warm_start is not None and variant.warm_start not in cold:
            raise nearest(f"variant to start '{variant.label}' from,", variant.warm_start, cold)


def narrowed(suite: Suite, tasks: Sequence[str] = (), methods: Sequence[str] = ()) -> Suite:
    """Returns the suite with only these of its tasks and methods, by default all. Raises UserError for a task or method
    that it does not have."""
    names = {variant.method: METHODS.find(variant.method).name for variant in suite.variants}
    for kind, chosen, known in (
        ("task of the suite", tasks, suite.tasks),
        ("method of the suite", methods, list(dict.fromkeys([*names.values(), *names]))),
    ):
        for name in chosen:
            if name not in known:
                raise nearest(kind, name, known)
    kept = tuple(v for v in suite.variants if not methods or {v.method, names[v.method]} & set(methods))
    lacking = [v for v in kept if v.warm_start is not None and v.warm_start not in {other.label for other in kept}]
    if lacking:
        raise UserError(f"'{lacking[0].label}' starts from '{lacking[0].warm_start}': choose the methods of both")
    return replace(suite, tasks=tuple(task for task in suite.tasks if not tasks or task in tasks), variants=kept)
