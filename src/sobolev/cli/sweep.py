"""`sobolev sweep SUITE`: all runs of a study, on this machine or a cluster."""

import itertools
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from sobolev.cli.parser import Flag, checked, flags, parse, value_of
from sobolev.cli.train import config_from
from sobolev.config.codec import settings, words
from sobolev.config.registry import METHODS
from sobolev.config.train import defaults
from sobolev.errors import UserError
from sobolev.sweeps import suites
from sobolev.sweeps.expand import PlannedRun, expand
from sobolev.sweeps.ledger import Sweep, entries
from sobolev.sweeps.slurm import SlurmConfig
from sobolev.system.columns import aligned

if TYPE_CHECKING:
    from sobolev.sweeps.estimate import Estimate

DESCRIPTION = """Train all runs of SUITE: tasks x methods x seeds, from a name or a TOML file (docs/studies.md).

Besides the flags below it takes every flag of `sobolev train` except --run, --fresh and --method, for all runs:
--preset laptop, --seeds 0 1, --steps 100000, --penalty.rho 0.25. The same command again skips runs that are complete
and resumes all others. The suites:

"""


@dataclass(frozen=True)
class SweepConfig:
    """Which runs, and where."""

    suite: Annotated[Positional[str], arg(metavar="SUITE", help_behavior_hint="")]
    """name of a suite, or a TOML file"""
    output: Annotated[Path | None, arg(metavar="DIR")] = None
    """folder of the runs and of sweep-SUITE.json, which records what happened; none: runs/SUITE"""
    launcher: Literal["local", "slurm"] = "local"
    """local: on this machine; slurm: as a job array"""
    jobs: Annotated[int | None, arg(metavar="N")] = None
    """runs side by side; none: one on this machine, as many as the cluster gives there"""
    dry_run: bool = False
    """list the runs, with an estimate of time and disk, and start nothing"""
    tasks: Annotated[tuple[str, ...], arg(metavar="TASK …")] = ()
    """only these tasks of the suite"""
    methods: Annotated[tuple[str, ...], arg(metavar="METHOD …")] = ()
    """only these methods of the suite"""
    seeds_per_run: Annotated[int | None, arg(metavar="N")] = None
    """seeds that train in one program; none: all of them"""
    final_episodes: Annotated[int, arg(metavar="N")] = 20
    """episodes per seed of the evaluation after training; 0 for none"""
    slurm: SlurmConfig = field(default_factory=SlurmConfig)


OWN = ("task", "method", "run", "fresh")
"""Settings of `sobolev train` that the sweep decides."""


def main(arguments: Sequence[str]) -> int:
    """Run the sweep as the flags say; returns the exit status, 1 where a run failed."""
    config, suite, planned = plan(arguments)
    output = folder(config, suite)
    listed, sweep = entries(planned, output), Sweep(output / f"sweep-{suite.name}.json")
    if config.dry_run:
        print("\n".join(dry_run(planned, output, config)))
        return 0
    if config.launcher == "slurm":
        from sobolev.sweeps import slurm

        slurm.check_installed()
    from sobolev._version import __version__

    sweep.plan(listed, {"command": shlex.join(["sobolev", "sweep", *arguments]), "version": __version__})
    print(f"{suite.name}: {len(listed)} runs, recorded in {sweep.path}", flush=True)
    runs = [entry.run for entry in listed]
    return _to_cluster(sweep, runs, config) if config.launcher == "slurm" else _here(sweep, runs, config)


def plan(arguments: Sequence[str]) -> tuple[SweepConfig, suites.Suite, list[PlannedRun]]:
    """The sweep's own settings, its suite, and its runs. Raises UserError for the first mistake."""
    if "--help" in arguments or "-h" in arguments:
        parse(SweepConfig("SUITE"), ["--help"], prog="sobolev sweep", description=_description(), positional="suite")
    own, rest = divided(arguments)
    config = parse(SweepConfig("SUITE"), own, prog="sobolev sweep", description="", positional="suite")
    for name, value, least in (
        ("jobs", config.jobs, 1),
        ("seeds-per-run", config.seeds_per_run, 1),
        ("final-episodes", config.final_episodes, 0),
    ):
        if value is not None and value < least:
            raise UserError(f"--{name} is {value}, but must be at least {least}")
    suite = suites.narrowed(suites.load(config.suite), config.tasks, config.methods)
    given = {method: settings_from(rest, method) for method in {variant.method for variant in suite.variants}}
    seeds = next((chosen["seeds"] for chosen in given.values() if "seeds" in chosen), None)
    given = {method: {p: v for p, v in chosen.items() if p != "seeds"} for method, chosen in given.items()}
    usable = {flag for method in given for flag in train_flags(method, rest)}
    for flag, *_ in _groups(rest):
        if flag not in usable:
            raise UserError(f"no method of suite {suite.name} has {flag}: leave it out")
    preset = value_of(rest, "--preset")
    return config, suite, expand(suite, given, preset, seeds, config.seeds_per_run, folder(config, suite))


def folder(config: SweepConfig, suite: suites.Suite) -> Path:
    """The folder of the sweep."""
    return config.output or Path("runs") / suite.name


def _description() -> str:
    width = max(map(len, suites.named()))
    return DESCRIPTION + "\n".join(f"  {name:<{width}}  {table['about']}" for name, table in suites.named().items())


def divided(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments of the sweep itself, and those of `sobolev train`. Raises UserError for a flag that neither has."""
    ours, theirs = flags(SweepConfig("SUITE"), "suite"), dict[str, Flag]()
    for method in METHODS:
        theirs |= train_flags(method, arguments)
    suite, *others = checked(arguments, {**theirs, **ours}, "suite")
    own, rest = [suite], list[str]()
    for group in _groups(others):
        (own if group[0] in ours else rest).extend(group)
    return own, rest


def train_flags(method: str, arguments: Sequence[str]) -> dict[str, Flag]:
    """The flags of `sobolev train` that a sweep accepts for runs of a method."""
    preset, regularizer = value_of(arguments, "--preset") or "paper", value_of(arguments, "--regularizer")
    known = flags(defaults("", method, None, preset), "task")
    if regularizer is not None and "--regularizer" in known and not _is_own("--regularizer", method):
        known = flags(defaults("", method, None, preset, regularizer), "task")
    return {name: flag for name, flag in known.items() if not _is_own(name, method)}


def _is_own(name: str, method: str) -> bool:
    """Whether the sweep decides this flag, or the method has it in name only (dreamer is gpld without a penalty)."""
    absent = method == "dreamer" and (name == "--regularizer" or name.startswith("--penalty."))
    return name.lstrip("-").removeprefix("no-") in OWN or absent


def settings_from(rest: Sequence[str], method: str) -> dict[str, Any]:
    """The settings that flags of `sobolev train` give runs of a method, by path; those that it lacks are left out."""
    known = train_flags(method, rest)
    kept = [group for group in _groups(rest) if group[0] in known]
    all_settings = settings(config_from(["walker-walk", "--method", method, *itertools.chain.from_iterable(kept)]))
    paths = {flag: path for path, (kind, _) in all_settings.items() for flag in _spellings(path, kind)}
    return {paths[group[0]]: all_settings[paths[group[0]]][1] for group in kept if group[0] != "--preset"}


def _spellings(path: str, kind: Any) -> list[str]:
    return [words(path, value)[0] for value in ((True, False) if kind is bool else ("",))]


def _groups(line: Sequence[str]) -> list[list[str]]:
    """Every flag with its values."""
    groups: list[list[str]] = []
    for word in line:
        if word.startswith("--"):
            groups.append([word])
        else:
            groups[-1].append(word)
    return groups


def dry_run(planned: Sequence[PlannedRun], output: Path, config: SweepConfig) -> list[str]:
    """The lines that say what would run, how long it would take, and how much disk."""
    from rich.filesize import decimal

    from sobolev.config.train import resolved
    from sobolev.logs.progress import duration
    from sobolev.sweeps.estimate import estimates
    from sobolev.sweeps.run_status import saved_steps
    from sobolev.system import jax_setup

    configs = [resolved(run.config) for run in planned]
    jax_setup.configure(all(each.compilation_cache for each in configs))
    earlier = sorted(path.parent for path in output.glob("*/*/config.json"))
    whole = estimates(configs, earlier, lambda line: print(line, file=sys.stderr, flush=True))
    shares = [saved_steps(output / run.folder) / each.steps for run, each in zip(planned, configs, strict=True)]
    left = [
        guess._replace(seconds=guess.seconds * max(0.0, 1 - done)) for guess, done in zip(whole, shares, strict=True)
    ]
    rows = [["task", "variant", "seeds", "env steps", "time", "disk", "folder"]]
    for run, each, guess in zip(planned, configs, left, strict=True):
        seeds = " ".join(map(str, run.seeds))
        numbers = [f"{each.steps:,}", duration(guess.seconds) if guess.seconds else "complete", decimal(guess.disk)]
        rows.append([run.task, run.variant.label, seeds, *numbers, str(output / run.folder)])
    return [*aligned(rows), "", *_totals(left, config)]


def _totals(left: "Sequence[Estimate]", config: SweepConfig) -> list[str]:
    from rich.filesize import decimal

    from sobolev.logs.progress import duration
    from sobolev.sweeps.estimate import MEASURED

    seconds, disk = sum(guess.seconds for guess in left), sum(guess.disk for guess in left)
    total = (
        f"{len(left)} runs, {duration(seconds)} left one after another on this machine, {decimal(disk)} of disk at most"
    )
    if config.launcher == "local" and (config.jobs or 1) > 1:
        total += f"; {duration(seconds / (config.jobs or 1))} if {config.jobs} side by side are as fast as one"
    measured = sum(guess.source == MEASURED for guess in left)
    sources = []
    if measured < len(left):
        sources.append(f"times of {len(left) - measured} runs from runs of the same kind on this machine")
    if measured:
        sources.append(
            f"times of {measured} runs from a few updates measured now, without compiling, logging, checkpoints"
        )
    final = "; the final evaluation comes on top" if config.final_episodes else ""
    return [total, ", ".join(sources) + final]


def _here(sweep: Sweep, runs: Sequence[str], config: SweepConfig) -> int:
    from sobolev.sweeps import status_table
    from sobolev.sweeps.live_table import LiveTable
    from sobolev.sweeps.local_launcher import run_here

    with LiveTable(sweep) as live:
        status = run_here(sweep, runs, config.jobs or 1, config.final_episodes, live.say, live.update)
    rows = [row for row in status_table.rows(sweep) if row.entry.run in runs]
    print("\n".join([*status_table.plain(rows), "", status_table.summary(sweep.name, rows)]))
    if status > 1:
        print("interrupted: the same command resumes the sweep")
    for line in status_table.failures(rows, sweep):
        print(line, file=sys.stderr)
    return status


def _to_cluster(sweep: Sweep, runs: Sequence[str], config: SweepConfig) -> int:
    from sobolev.sweeps import slurm
    from sobolev.sweeps.local_launcher import left_to_do

    slurm.mark_lost_jobs(sweep)
    left = [e for e in left_to_do(sweep, runs, config.final_episodes) if e.state not in ("queued", "running")]
    slurm.submit(sweep, left, config.slurm, config.jobs, config.final_episodes)
    print(f"{len(left)} runs submitted to SLURM, {len(runs) - len(left)} complete or in progress")
    print(f"sobolev status {sweep.folder} shows how they are; this command again submits what has failed or stopped")
    return 0
