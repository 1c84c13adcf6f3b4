"""The training loop: act, send, learn, receive; nothing in it depends on the clock but when it saves and speaks."""

import contextlib
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sobolev.agents.api import Report
from sobolev.config import TrainConfig
from sobolev.config.registry import agent_of, method_of
from sobolev.envs import Workers, worker_count
from sobolev.errors import UserError
from sobolev.replay import HostReplay
from sobolev.training import announce, dreams, room, snapshot, warm
from sobolev.training.checkpoint import Checkpoints
from sobolev.training.environments import DURING_TRAINING, TRAINING, environments
from sobolev.training.evaluation import play
from sobolev.training.metrics import RunLog
from sobolev.training.program import Program, program_of
from sobolev.training.progress import Progress
from sobolev.training.schedule import Plan
from sobolev.training.signals import Interruption
from sobolev.training.snapshot import Snapshot
from sobolev.training.storage import write_arrays
from sobolev.training.together import Envs, agreed, check_same, followed, in_turn, leads, own_folder, shared
from sobolev.training.trees import flatten


def train(config: TrainConfig, run: Path) -> int:
    """Trains a resolved config in its folder, from its newest whole checkpoint if it has one.

    Returns 0 where the run is complete, 128 + the signal's number where a signal ended it (after saving). Raises
    UserError where it cannot go on: no room, a checkpoint that does not fit, a non-finite update (whose batch is then
    in RUN/failure).
    """
    plan, checkpoints = Plan.of(config), Checkpoints(run / "checkpoint")
    loaded = checkpoints.load(growing="check")
    check_same(loaded.iteration if loaded else 0)
    for note in loaded.notes if loaded else ():
        print(f"{run}: {note}", flush=True)
    if loaded and loaded.iteration >= plan.total:
        print(announce.complete(run, plan.env_steps(loaded.iteration)), flush=True)
        return 0
    with Interruption() as interruption, own_folder(run) as own, _environments(config) as (envs, evaluation):
        program = program_of(agent_of(config, envs.spaces), config.seeds, config.devices.data)
        needs, where = room.Needs.of(program, plan), config.replay.memory
        in_turn(lambda: room.check(config, needs, run, resuming=loaded is not None))
        parts = {} if loaded else in_turn(lambda: warm.parts(config, run, program.state_shapes()))
        played, learns = config.evaluation.episodes if evaluation else 0, plan.updates_due(plan.total) > 0
        program.compile_ahead(config.env.number, plan.capacity, played, learns, where)
        if loaded:
            now = snapshot.restore(checkpoints, loaded, program, envs, plan.capacity, where)
        else:
            now = snapshot.begin(program, envs, plan.capacity, where)
            now.state = program.layout.placed(warm.started(now.state, parts))
        for line in announce.plan(config, plan, run, plan.env_steps(now.iteration), needs):
            print(line, flush=True)
        log = RunLog(
            own,
            config.task,
            method_of(config).name,
            config.seeds,
            tensorboard=config.log.tensorboard and leads(),
            wandb=config.log.wandb if leads() else None,
            state=loaded.meta["log"] if loaded else None,
        )
        del loaded
        label = f"{config.task} {method_of(config).name}"
        with contextlib.closing(log), Progress(label, config.steps, advice=announce.advice(config)) as progress:
            training = Training(config, plan, run, program, envs, evaluation, checkpoints, log, progress, now)
            return training.run_to_end(interruption)


@contextlib.contextmanager
def _environments(config: TrainConfig) -> Iterator[tuple[Envs, Envs | None]]:
    """Training and evaluation environments of all seeds, in the same few processes."""
    number, episodes = config.env.number, config.evaluation.episodes
    if not leads():
        yield followed(config, number), followed(config, episodes) if episodes else None
        return
    with Workers(worker_count(config.env, len(config.seeds) * number)) as workers:
        envs = shared(environments(workers, config, number, TRAINING))
        yield envs, shared(environments(workers, config, episodes, DURING_TRAINING)) if episodes else None


@dataclass
class Training:
    """A run in progress."""

    config: TrainConfig
    plan: Plan
    folder: Path
    program: Program
    envs: Envs
    evaluation: Envs | None
    checkpoints: Checkpoints
    log: RunLog
    progress: Progress
    now: Snapshot
    told: bool = False
    """whether it was said how much memory the run takes, which is known when updates are compiled"""
    newest: Report | None = None
    """of this process's newest updates, for what is measured but once in a while"""

    def run_to_end(self, interruption: Interruption) -> int:
        """Iterates until the plan is done or a signal comes; saves at the end in either case."""
        self.progress.update(self.plan.env_steps(self.now.iteration), self.now.updates)
        if self.now.iteration == 0:
            self.evaluate()
        saved, stopped = time.monotonic(), 0
        while self.now.iteration < self.plan.total and not (stopped := agreed(interruption.signal_number or 0)):
            self.iterate()
            if time.monotonic() - saved > 60 * self.config.checkpoint.minutes:
                self.save()
                saved = time.monotonic()
        if self.now.iteration:  # else there is nothing to keep, and the first evaluation would be made twice
            self.save()
        env_steps = self.plan.env_steps(self.now.iteration)
        if self.now.iteration >= self.plan.total:
            self.progress.say(announce.finished(self.folder, env_steps))
            return 0
        self.progress.say(announce.interrupted(self.folder, env_steps))
        return 128 + stopped

    def iterate(self) -> None:
        """One agent step of every environment, and the updates that are due for the steps before it."""
        now = self.now
        action, now.state, now.carry, now.replay = self.program.step(
            now.state, now.carry, now.replay, now.transition, now.iteration
        )
        self.envs.send(action)
        now.iteration += 1
        self.learn(self.plan.updates_due(now.iteration) - now.updates)
        ended = now.transition["last"]
        now.transition = self.envs.receive()
        self.count_episodes(ended)
        env_steps = self.plan.env_steps(now.iteration)
        if env_steps // self.config.log.every > self.plan.env_steps(now.iteration - 1) // self.config.log.every:
            self.write_metrics(env_steps)
        self.evaluate()
        every = self.config.checkpoint.snapshots
        if leads() and every and env_steps // every > self.plan.env_steps(now.iteration - 1) // every:
            snapshot.keep_weights(self.folder, now.state, env_steps)
        self.progress.update(env_steps, now.updates)

    def learn(self, due: int) -> None:
        """Makes the updates that are due, and stops where one is not finite."""
        now, reports = self.now, []
        if due and not self.told:
            self.progress.say(announce.memory(now, self.program.update_bytes()))
            self.told = True
        at_once = self.program.updates_at_once and not isinstance(now.replay, HostReplay)
        calls = [due] if due and at_once else [1] * due
        for left, count in zip(reversed(range(len(calls))), calls, strict=True):
            ahead = 0 if left else self.plan.iterations_to_update(now.iteration)
            now.state, now.replay, report = self.program.learn(now.state, now.replay, now.updates, count, ahead)
            now.updates += count
            reports.append(report)
        self.check_finite(reports)
        now.pending += [report.metrics for report in reports]
        self.newest = reports[-1] if reports else self.newest

    def count_episodes(self, ended: np.ndarray) -> None:
        """Adds the new rewards to the running episodes and logs those that end; `ended`: streams that began anew."""
        now = self.now
        now.returns[ended], now.lengths[ended] = 0.0, 0
        now.returns += now.transition["reward"]
        now.lengths += 1
        for s, e in np.argwhere(now.transition["last"]):
            value, seed = float(now.returns[s, e]), self.config.seeds[s]
            self.log.episode(self.plan.env_steps(now.iteration), seed, value, int(now.lengths[s, e]))
            self.progress.values["train_return"] = value

    def write_metrics(self, env_steps: int) -> None:
        """Logs the means of all updates since the last time, and what is measured but now, for each seed."""
        if not self.now.pending:
            return
        means = {name: values.mean(0) for name, values in snapshot.stacked(self.now.pending).items()}
        self.now.pending.clear()
        if self.newest:
            means |= self.program.inspect(self.now.state, self.newest, self.now.updates)
        self.log.write(env_steps, means | {"updates": self.now.updates})
        shown = self.program.agent.shown.items()
        self.progress.values |= {name: float(means[metric].mean()) for name, metric in shown if metric in means}

    def evaluate(self) -> None:
        """Plays evaluation episodes where they are due; draws nothing from the random streams of training."""
        number = self.plan.evaluation_due(self.now.iteration)
        if number is None or self.evaluation is None:
            return
        env_steps, every = self.plan.env_steps(self.now.iteration), self.config.log.dreams
        due = number and every and env_steps // every > (env_steps - self.plan.evaluate_every) // every
        recording = dreams.Recording() if due and leads() else None
        returns = play(self.program, self.now.state, self.evaluation, number, recording=recording)
        dream = dreams.dream(self.program, self.now.state, recording) if recording else None
        if dream:
            self.log.dream(env_steps, dream.errors(), dreams.keep(dream, self.folder / "dreams", env_steps))
        for seed, found in zip(self.config.seeds, returns, strict=True):
            self.log.score(env_steps, seed, found.tolist())
        self.progress.evaluated(env_steps, self.config.seeds, returns.tolist())

    def save(self) -> None:
        """Writes a checkpoint; of several processes the first does."""
        if not leads():
            return
        meta = {"log": self.log.state(), "env_steps": self.plan.env_steps(self.now.iteration), "jax": jax.__version__}
        snapshot.save(self.checkpoints, self.now, self.envs, meta | {"python": platform.python_version()})

    def check_finite(self, reports: list[Report]) -> None:
        """Stops where one of the newest reports is not finite: raises UserError, with the batch in RUN/failure."""
        for number, report in enumerate(reports):
            finite = np.asarray(report.finite)
            if finite.all():
                continue
            index, update = int(np.argmin(finite)), self.now.updates - len(reports) + number
            file = self.folder / "failure" / f"seed-{self.config.seeds[index]}-update-{update}.safetensors"
            kept: Any = (report.batch, report.metrics)
            if leads():
                file.parent.mkdir(exist_ok=True)
                write_arrays(file, {name: array[index] for name, array in flatten(kept).items()})
            raise UserError(
                f"seed {self.config.seeds[index]} met a non-finite loss or gradient by update {update}: the batch is "
                f"in {file}, the last checkpoint is kept; a smaller learning rate is the usual cure"
            )
