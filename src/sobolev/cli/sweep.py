"""`sobolev sweep SUITE`: trains all runs of a suite, on this machine or a cluster."""

import itertools
import shlex
import sys
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from sobolev.cli import short_help
from sobolev.cli.described import described
from sobolev.cli.parser import early, flag_of, flags, parse, parse_known, unexpected, unknown_flag
from sobolev.cli.train import changeable, config_from, owner
from sobolev.config import defaults
from sobolev.config.codec import settings
from sobolev.config.registry import OURS
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
    """Which runs to train, and where."""

    suite: Annotated[Positional[str], arg(metavar="SUITE", help_behavior_hint="")]
    """name of a suite, or a TOML file"""
    output: Annotated[Path | None, arg(metavar="DIR")] = None
    """folder of the runs and of sweep-SUITE.json, which records their states; none: runs/SUITE"""
    launcher: Literal["local", "slurm"] = "local"
    """local: on this machine; slurm: on a cluster, as a job array"""
    jobs: Annotated[int | None, arg(metavar="N")] = None
    """runs side by side; none: one on this machine, on a cluster as many as it allows"""
    dry_run: bool = False
    """list the runs with an estimate of time and disk space, and start none"""
    tasks: Annotated[tuple[str, ...], arg(metavar="TASK …")] = ()
    """run only these tasks of the suite"""
    methods: Annotated[tuple[str, ...], arg(metavar="METHOD …")] = ()
    """run only these methods of the suite"""
    seeds_per_run: Annotated[int | None, arg(metavar="N")] = None
    """seeds to train in one program; none: all of them"""
    final_episodes: Annotated[int, arg(metavar="N")] = 20
    """episodes per seed of the evaluation after training; 0 turns it off"""
    slurm: SlurmConfig = field(default_factory=SlurmConfig)


OWN = ("task", "method", "run", "fresh")
"""Settings of `sobolev train` that the sweep decides."""


def main(arguments: Sequence[str]) -> int:
    """Runs the sweep that the flags describe. Returns the exit status, 1 if a run failed."""
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
    """Returns the settings of the sweep, its suite and its runs. Raises UserError for the first mistake."""
    if short_help.asked(arguments):
        if short_help.ALL not in arguments:
            print("\n".join(everyday()))
            raise SystemExit(0)
        parse(SweepConfig("SUITE"), ["--help"], prog="sobolev sweep", description=_description(), positional="suite")
    config, rest = divided(arguments)
    for name, value, least in (
        ("jobs", config.jobs, 1),
        ("seeds-per-run", config.seeds_per_run, 1),
        ("final-episodes", config.final_episodes, 0),
    ):
        if value is not None and value < least:
            raise UserError(f"--{name} is {value}, but must be at least {least}")
    suite = suites.narrowed(suites.load(config.suite), config.tasks, config.methods)
    methods = list(dict.fromkeys(variant.method for variant in suite.variants))
    preset = early(rest, "preset")["preset"]
    for method in methods if preset else ():
        defaults("", method, preset=preset)
    _check_flags(rest, dict.fromkeys([*OURS, *methods]))
    given = {method: settings_from(rest, method) for method in methods}
    seeds = next((chosen["seeds"] for chosen in given.values() if "seeds" in chosen), None)
    given = {method: {p: v for p, v in chosen.items() if p != "seeds"} for method, chosen in given.items()}
    usable = {flag for method in given for flag in train_flags(method, rest)}
    for word, *_ in _groups(rest):
        if flag_of(word) not in usable:
            raise UserError(f"no method of suite {suite.name} has {flag_of(word)}: leave it out")
    return config, suite, expand(suite, given, preset, seeds, config.seeds_per_run, folder(config, suite))


def folder(config: SweepConfig, suite: suites.Suite) -> Path:
    """Returns the folder of the sweep."""
    return config.output or Path("runs") / suite.name


EVERYDAY = {
    "tasks": ("TASK …", "only these tasks of the suite"),
    "methods": ("METHOD …", "only these methods"),
    "output": ("DIR", "folder of the runs; unless given, runs/SUITE"),
    "jobs": ("N", "runs side by side"),
    "dry_run": ("", "list the runs, with an estimate of time and disk space"),
    "launcher": ("NAME", "local, or slurm: as a job array"),
    "slurm.partition": ("NAME", "of the cluster"),
    "slurm.gpus": ("N", "GPUs of a job"),
    "slurm.minutes": ("N", "time limit, after which a job is queued again"),
}
"""Settings that are changed often: a placeholder for the value, and a description."""


def everyday() -> list[str]:
    """Returns the short help, which fits on a screen."""
    return [
        "usage: sobolev sweep SUITE [--FLAG VALUE …]",
        "",
        *textwrap.wrap(SHORT, 80),
        "",
        "Suites:",
        *short_help.table((name, table["about"]) for name, table in suites.named().items()),
        "",
        "Everyday flags, with their defaults in brackets:",
        *short_help.everyday(described(SweepConfig("SUITE")), EVERYDAY),
        "",
        "All runs take the flags of sobolev train: --preset laptop, --seeds 0 1, --steps 100000.",
        f"All flags of sweep: sobolev sweep {short_help.ALL}",
    ]


SHORT = """Train all runs of SUITE, a name or a TOML file: tasks, methods and seeds. The same command again skips runs
that are complete and resumes all others; sobolev status shows them."""


def _description() -> str:
    width = max(map(len, suites.named()))
    return DESCRIPTION + "\n".join(f"  {name:<{width}}  {table['about']}" for name, table in suites.named().items())


def divided(arguments: Sequence[str]) -> tuple[SweepConfig, list[str]]:
    """Returns the settings of the sweep itself, and the words for `sobolev train`. Raises UserError for a wrong word.

    The suite may be anywhere on the line. A word that names a known suite is moved to the front, so that the value of
    another flag is not taken for it.
    """
    default, words = SweepConfig("SUITE"), list(arguments)
    valued = {flag for flag, path in flags(default).items() if settings(default)[path][0] is not bool}
    for before, (at, word) in zip(["", *words], enumerate(words), strict=False):
        if (word in suites.named() or word.endswith(".toml")) and before not in valued:
            words.insert(0, words.pop(at))
            break
    config, rest = parse_known(default, words, prog="sobolev sweep", description="", positional="suite")
    if rest and flag_of(rest[0]) is None:
        raise unexpected(rest[0], "sobolev sweep", "suite")
    return config, rest


def _check_flags(rest: Sequence[str], methods: Iterable[str]) -> None:
    """Raises UserError for a flag that neither the sweep nor `sobolev train` with any of these methods has."""
    known = dict.fromkeys(flag for method in methods for flag in train_flags(method, rest))
    for word, *_ in _groups(rest):
        if flag_of(word) not in known:
            flag = flag_of(word) or word
            having = "sobolev train alone" if flag in ("--run", "--fresh") else owner(flag)
            raise unknown_flag(flag, [*known, *flags(SweepConfig("SUITE"))], having)


def train_flags(method: str, arguments: Sequence[str]) -> dict[str, str]:
    """Returns the flags of `sobolev train` that a sweep accepts for runs of a method, each with its setting."""
    chosen, default = early(arguments, "regularizer")["regularizer"], defaults("", method)
    if chosen is not None and "regularizer" in changeable(default).values():
        default = defaults("", method, regularizer=chosen)
    return {flag: path for flag, path in changeable(default).items() if path not in OWN}


def settings_from(rest: Sequence[str], method: str) -> dict[str, Any]:
    """Returns the settings that flags of `sobolev train` change in runs of a method, by path.

    Settings that the method does not have are left out.
    """
    known = train_flags(method, rest)
    kept = [group for group in _groups(rest) if flag_of(group[0]) in known]
    all_settings = settings(config_from(["walker-walk", "--method", method, *itertools.chain.from_iterable(kept)]))
    paths = [known[flag_of(group[0]) or ""] for group in kept]
    return {path: all_settings[path][1] for path in paths if path != "preset"}


def _groups(line: Sequence[str]) -> list[list[str]]:
    """Returns each flag with its values."""
    groups: list[list[str]] = []
    for word in line:
        if flag_of(word) is not None:
            groups.append([word])
        else:
            groups[-1].append(word)
    return groups


def dry_run(planned: Sequence[PlannedRun], output: Path, config: SweepConfig) -> list[str]:
    """Returns the lines of --dry-run: the runs, with estimates of their time and disk space."""
    from rich.filesize import decimal

    from sobolev.config import resolved
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
        numbers = [
            f"{each.steps:,}",
            duration(guess.seconds) if guess.seconds else "complete",
            decimal(guess.disk),
        ]
        rows.append([run.task, run.variant.label, seeds, *numbers, str(output / run.folder)])
    return [*aligned(rows), "", *_totals(left, config)]


def _totals(left: "Sequence[Estimate]", config: SweepConfig) -> list[str]:
    from rich.filesize import decimal

    from sobolev.logs.progress import duration
    from sobolev.sweeps.estimate import MEASURED

    seconds, disk = sum(guess.seconds for guess in left), sum(guess.disk for guess in left)
    total = (
        f"{len(left)} runs, {duration(seconds)} left one after another on this machine, at most {decimal(disk)} of disk"
    )
    if config.launcher == "local" and (config.jobs or 1) > 1:
        total += f"; {duration(seconds / (config.jobs or 1))} if {config.jobs} side by side are as fast as one"
    measured = sum(guess.source == MEASURED for guess in left)
    sources = []
    if measured < len(left):
        sources.append(f"{len(left) - measured} of these times are those of similar runs on this machine")
    if measured:
        sources.append(
            f"{measured} of these times come from a few updates measured now, without compiling, logging, checkpoints"
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
    left = [e for e in left_to_do(sweep, runs, config.final_episodes) if e.state not in slurm.IN_PROGRESS]
    submitted, held = slurm.submit(sweep, left, config.slurm, config.jobs, config.final_episodes)
    print(f"{len(submitted)} runs submitted to SLURM, {len(runs) - len(left)} complete or in progress")
    for entry in held:
        print(f"{entry.run}: not submitted, it starts from {entry.needs}, which is trained without a job of this sweep")
    print(f"sobolev status {sweep.folder} shows their progress; this command again submits what failed or stopped")
    return 0
