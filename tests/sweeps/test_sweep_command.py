"""`sobolev sweep` and `sobolev status` as a user meets them."""

import dataclasses
import json
import os
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sobolev.checkpoints.files import write_record
from sobolev.checkpoints.run_folder import opened
from sobolev.cli import status, sweep
from sobolev.errors import UserError
from sobolev.logs import provenance
from sobolev.sweeps import estimate, status_table
from sobolev.sweeps.estimate import Cost
from sobolev.sweeps.expand import expand
from sobolev.sweeps.ledger import Sweep, entries
from sobolev.sweeps.suites import parse
from sobolev.training.schedule import Plan
from tests import tiny

ROOT = Path(__file__).parents[2]


def suite_file(folder: Path, **settings: object) -> Path:
    """A suite of the tiny task, too short to train."""
    chosen = tiny.SETTINGS | {"steps": 40, "evaluation.episodes": 1} | settings
    lines = [f"{json.dumps(path)} = {json.dumps(value)}" for path, value in chosen.items()]
    path = folder / "small.toml"
    head = f'tasks = ["{tiny.TASK}"]\nmethods = ["dreamer"]\nseeds = [0, 1]\n'
    path.write_text(head + "[settings]\n" + "\n".join(lines) + "\n")
    return path


@pytest.mark.long
def test_from_a_suite_to_scores(tmp_path, monkeypatch, capsys):
    """Real processes: a run of two seeds, its evaluation, the table; then the same command again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'src'}:{ROOT}")
    for name, value in tiny.quick_environment().items():
        monkeypatch.setenv(name, value)
    words = [str(suite_file(tmp_path)), "--output", "out", "--final-episodes", "2"]
    assert sweep.main(words) == 0
    shown = capsys.readouterr().out
    assert "small: 1 runs, recorded in out/sweep-small.json" in shown and "small: 1 done" in shown
    (entry,) = Sweep(Path("out/sweep-small.json")).read().values()
    assert (entry.state, entry.attempts, entry.error) == ("done", 1, None)
    run = Path("out") / entry.run
    assert [result["episodes"] for result in json.loads((run / "evaluation.json").read_text())] == [2, 2]
    assert {s["seed"] for s in json.loads((run / "scores.json").read_text())} == {0, 1}
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    assert sweep.main(words) == 0
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()} == before
    assert status.main(["out", "--once"]) == 0
    assert "gym:tests.spring:Spring-v0  dreamer  0 1    done" in capsys.readouterr().out
    on_disk = sum(path.stat().st_size for path in (run / "checkpoint").iterdir())
    (planned,) = expand(parse("small", {**_table(words[0])}))
    bound = estimate.disk(tiny.resolved(planned.config), tiny.SPACES)
    assert bound / 4 < on_disk < bound


def _table(path: str) -> dict:
    return tomllib.loads(Path(path).read_text())


def found(*words: str) -> list:
    return sweep.plan(words)[2]


def test_flags_of_train_are_for_all_runs():
    runs = found("dmc-proprio", "--tasks", "walker-walk", "walker-run", "--preset", "laptop", "--seeds", "0", "1")
    assert [(run.task, run.variant.method) for run in runs] == [
        ("walker-run", "dreamer"),
        ("walker-run", "gpld"),
        ("walker-walk", "dreamer"),
        ("walker-walk", "gpld"),
    ]
    assert {(run.config.size, run.config.steps, run.seeds) for run in runs} == {("1m", 60_000, (0, 1))}


def test_a_flag_that_a_method_lacks_is_for_the_others():
    runs = found("dmc-proprio-locomotion", "--penalty.rho", "0.25", "--log.no-tensorboard", "--size=1m")
    assert {run.config.log.tensorboard for run in runs} == {False}
    assert {run.config.size for run in runs} == {"1m"}
    rhos = {run.variant.method: run.config.agent.penalty.rho for run in runs}
    assert rhos["gpld"] == 0.25 != rhos["dreamer"]
    assert all("--penalty.rho" not in run.command(Path("x")) for run in runs if run.variant.method == "dreamer")


@pytest.mark.parametrize("line", ["cost --seeds 1 --jobs 2", "--seeds 1 --jobs 2 cost", "--jobs 2 cost --seeds 1"])
def test_the_suite_stands_anywhere(line):
    config, suite, runs = sweep.plan(line.split())
    assert (config.jobs, suite.name, {run.seeds for run in runs}) == (2, "cost", {(1,)})


def test_seeds_may_train_apart():
    runs = found("quadruped-4m", "--methods", "gpld", "--seeds-per-run", "2")
    assert [run.seeds for run in runs] == [(0, 1), (2, 3), (4,)] * 2
    assert len({run.folder for run in runs}) == 6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "a suite is missing, as in sobolev sweep dmc-proprio-locomotion"),
        ("dmc-propio", "unknown suite 'dmc-propio': did you mean dmc-proprio"),
        ("cost --step 5", "unknown flag '--step': did you mean --steps?"),
        ("cost --run x", "unknown flag '--run': it belongs to sobolev train alone"),
        ("cost --method td3", "unknown flag '--method': did you mean --methods?"),
        ("cost --penalty.bound 1", "'--penalty.bound': it belongs to --regularizer jacobian-norm or spectral"),
        ("cost --tasks", "--tasks needs a value"),
        ("cost --seeds", "--seeds needs a value"),
        ("cost dmc-pixels", "unexpected argument 'dmc-pixels': sobolev sweep takes one SUITE"),
        ("cost --methods gpdl", "unknown method of the suite 'gpdl': did you mean gpld?"),
        ("cost --jobs 0", "--jobs is 0, but must be at least 1"),
        ("cost --launcher slrum", "did you mean slurm?"),
        ("cost --penalty.rho 0.3", "penalty.rho is what suite cost varies"),
        ("cost --methods dreamer --penalty.rho 0.3", "no method of suite cost has --penalty.rho"),
        ("cost --steps 0", "--steps is 0, but must be at least 1"),
        ("cost --tasks walker-run", "unknown task of the suite"),
        ("cost --preset labtop", "unknown preset of method dreamer 'labtop': did you mean laptop?"),
    ],
)
def test_mistakes(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        sweep.main(words.split())
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_slurm_that_is_not_there_is_said_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="needs SLURM's sbatch and srun"):
        sweep.main(["cost", "--launcher", "slurm"])
    assert list(tmp_path.iterdir()) == []


def test_help_names_suites_and_flags(capsys):
    every = {}
    for word in ("--help", "--help-all"):
        with pytest.raises(SystemExit):
            sweep.main([word])
        every[word] = capsys.readouterr().out
        parts = ("dmc-proprio-2m", "ablation-target", "--dry-run", "--slurm.partition")
        assert all(part in every[word] for part in parts)
    assert "--slurm.constraint" in every["--help-all"] and "--slurm.constraint" not in every["--help"]
    assert len(every["--help"].splitlines()) < 50


def test_status_tells_failures(tmp_path, capsys):
    with pytest.raises(UserError, match="holds no sweep"):
        status.main([str(tmp_path)])
    _, _, runs = sweep.plan(["cost", "--seeds", "0", "--methods", "dreamer"])
    ours = Sweep(tmp_path / "sweep-cost.json")
    ours.plan(entries(runs, tmp_path), {"command": "test"})
    assert status.main([str(tmp_path)]) == 0
    assert "cost: 1 waiting" in capsys.readouterr().out
    (run,) = ours.read()
    ours.begun(run, os.getpid())
    (tmp_path / run).mkdir(parents=True)
    line = '{"step":%d,"seed":0,"time":%f,"updates":%d}\n'
    started = ours.read()[run].started or 0.0
    (tmp_path / run / "metrics.jsonl").write_text(
        "".join(line % (steps, started + steps / 100, steps) for steps in (100_000, 150_000))
    )
    assert status.main([str(ours.path)]) == 0
    shown = capsys.readouterr().out
    assert "150,000" in shown and "30%" in shown and "58 min" in shown  # 350,000 steps at 100 a second
    now = started + 3 * 86_400
    ours.update(run, started=now - 31 * 60)  # resumed after three days, and without a line since
    (row,) = status_table.rows(ours, now)
    assert row.note == "silent for 31 min"
    ours.ended(run, "failed", "no room")
    assert status.main([str(tmp_path)]) == 1
    assert f"failed: {run}: no room (see {tmp_path / 'logs'}" in capsys.readouterr().out


def recorded_run(folder: Path, config, seconds: float, env_steps: int) -> None:
    """A run's folder as it is after so long."""
    with opened(config_with(config, folder)):
        pass
    entry = {"command": "", "machine": provenance.machine(), "started": "2026-01-01T00:00:00+00:00", "seconds": seconds}
    (folder / "record.json").write_text(json.dumps({"processes": [entry | {"env_steps": env_steps}]}))
    (folder / "checkpoint").mkdir()
    meta = {"serial": 1, "iteration": 1, "state": {}, "segments": [], "meta": {"env_steps": env_steps}}
    write_record(folder / "checkpoint/checkpoint-0.json", meta)


def config_with(config, folder: Path):
    return dataclasses.replace(config, run=folder)


def test_a_dry_run_estimates_from_runs_of_the_same_kind(tmp_path, monkeypatch, capsys):
    """Half of a dreamer run took 100 s: the rest of it takes as long, and a gpld run of as many seeds twice that."""
    monkeypatch.chdir(tmp_path)
    path = suite_file(tmp_path, steps=4000)
    words = [str(path), "--output", "out"]
    _, _, (planned,) = sweep.plan(words)
    recorded_run(Path("out") / planned.folder, tiny.resolved(planned.config), 100.0, 2000)
    path.write_text(path.read_text().replace('["dreamer"]', '["dreamer", "gpld"]'))
    assert sweep.main([*words, "--dry-run", "--jobs", "2"]) == 0
    shown = capsys.readouterr()
    dreamer, gpld = [line for line in shown.out.splitlines() if line.startswith("gym:")]
    assert " 2 min " in dreamer and " 3 min " in gpld and shown.err == ""
    assert "2 runs, 5 min left one after another" in shown.out and "2 min if 2 side by side" in shown.out
    assert "2 of these times are those of similar runs on this machine" in shown.out
    assert not Path("out/sweep-small.json").exists()


def test_the_length_of_a_run_is_the_sum_of_its_parts():
    config = tiny.config(steps=160, evaluation__every=60)
    plan = Plan.of(config)
    assert (plan.total, plan.updates_due(plan.total)) == (80, 112)
    # evaluations at 0, 60 and 120 env steps, each of 1000 steps of a task whose actions are not repeated
    assert Cost(1.0, 10.0, 0.01).seconds(config) == pytest.approx(80 + 1120 + 3 * 1000 * 0.01)


class Clockwork:
    """A program that does nothing; a step takes one second."""

    def __init__(self, seconds_per_update: float):
        self.now, self.steps, self.updates, self.seconds_per_update = 0.0, [], [], seconds_per_update

    def perf_counter(self) -> float:
        return self.now

    def initial_state(self):
        return 0

    def initial_carry(self, environments):
        return 0

    def initial_replay(self, environments, capacity, memory):
        self.capacity = capacity
        return 0

    def step(self, state, carry, replay, transition, iteration):
        self.steps.append(iteration)
        self.now += 100.0 if iteration == 0 else 1.0  # the first compiles
        return np.zeros((2, tiny.ENVIRONMENTS, 1), np.float32), state, carry, replay

    def learn(self, state, replay, update):
        self.updates.append(update)
        self.now += 100.0 if update == 0 else self.seconds_per_update
        return state, replay, SimpleNamespace(finite=0)


@pytest.mark.parametrize(("seconds", "updates"), [(10.0, estimate.UPDATES), (0.25, 4 * estimate.SECONDS)])
def test_a_measurement_times_what_it_says(seconds, updates, monkeypatch):
    """With real environments; short updates are timed for a while."""
    program = Clockwork(seconds)
    monkeypatch.setattr(estimate, "Program", lambda agent, seeds: program)
    monkeypatch.setattr(estimate, "time", program)
    config = tiny.config(seeds=(0, 1))
    assert estimate.measure(config) == Cost(1.0, seconds, 1.0)
    warmup = Plan.of(config).warmup
    assert program.steps == list(range(warmup + 1)) and program.updates == list(range(int(updates) + 1))
    assert program.capacity == warmup + 1


def test_updates_that_take_longer_are_counted(monkeypatch):
    """Every tenth update and the first twenty take 91 seconds in place of one."""

    class Sometimes(Clockwork):
        def learn(self, state, replay, update):
            self.now += 91.0 if Rare().is_long(update) else 1.0
            return state, replay, SimpleNamespace(finite=0)

    class Rare:
        def is_long(self, number):
            return number < 20 or number % 10 == 0

    program = Sometimes(1.0)
    monkeypatch.setattr(estimate, "Program", lambda agent, seeds: program)
    monkeypatch.setattr(estimate, "agent_of", lambda config, spaces: Rare())
    monkeypatch.setattr(estimate, "time", program)
    config = tiny.config(seeds=(0, 1))
    assert Plan.of(config).updates_due(80) == 112
    longs = 20 + 10  # 20, 30, …, 110
    assert estimate.measure(config).update == pytest.approx((112 + 90 * longs) / 112)
