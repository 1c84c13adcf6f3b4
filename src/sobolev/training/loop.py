"""The training loop: act, send, learn, receive. Only the times of saving and reporting depend on the clock."""

import contextlib
import platform
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import numpy as np

from sobolev.agents.api import Report
from sobolev.checkpoints import warm_start
from sobolev.checkpoints.files import NotSaved
from sobolev.checkpoints.pytree_io import flatten
from sobolev.checkpoints.slots import Checkpoints
from sobolev.config import TrainConfig
from sobolev.config.registry import agent_of, method_of
from sobolev.distributed.processes import Envs, agreed, alone, check_same, followed, in_turn, leads, own_folder, shared
from sobolev.envs import Workers, worker_count
from sobolev.errors import UserError
from sobolev.logs import dreams
from sobolev.logs.progress import Progress
from sobolev.logs.sinks import RunLog
from sobolev.replay import HostReplay
from sobolev.system import signals
from sobolev.system.output import say
from sobolev.system.signals import Interrupted
from sobolev.training import requirements, run_messages, snapshot
from sobolev.training.environments import DURING_TRAINING, TRAINING, environments
from sobolev.training.evaluation import play
from sobolev.training.playing import Limit, Waiting, rounds
from sobolev.training.program import Program, program_of
from sobolev.training.schedule import Plan
from sobolev.training.snapshot import Snapshot


def train(config: TrainConfig, run: Path) -> int:
    """Trains a resolved config in its folder, resuming from its newest whole checkpoint if there is one.

    Returns 0 when the run is complete, and 128 + the signal's number if a signal ended it (after saving). Raises
    UserError if it cannot continue: too little memory or disk space, a checkpoint that does not fit, or a non-finite
    update (whose batch is written to RUN/failure).
    """
    with signals.heard():
        try:
            return _train(config, run)
        except Interrupted as interruption:  # where there was nothing to save
            return 128 + interruption.number


def _train(config: TrainConfig, run: Path) -> int:
    plan, checkpoints = Plan.of(config), Checkpoints(run / "checkpoint")
    loaded = checkpoints.load("check", snapshot.FINITE, config.strict_resume)
    check_same(loaded.iteration if loaded else 0)
    for note in loaded.notes if loaded else ():
        say(f"{run}: {note}")
    if loaded and loaded.meta["finished"] >= plan.total:
        say(run_messages.complete(run, plan.env_steps(loaded.iteration)))
        return 0
    with own_folder(run) as own, _environments(config) as (envs, evaluation):
        program = program_of(agent_of(config, envs.spaces), config.seeds, config.devices.data)
        needs, where = requirements.Needs.of(program, plan), config.replay.memory
        in_turn(lambda: requirements.check(config, needs, run, resuming=loaded is not None))
        shapes, spaces = program.state_shapes(), program.agent.spaces
        parts = {} if loaded else in_turn(lambda: warm_start.parts(config, run, shapes, spaces))
        played, learns = config.evaluation.episodes if evaluation else 0, plan.updates_due(plan.total) > 0
        program.compile_ahead(config.env.number, plan.capacity, played, learns, where)
        if loaded:
            now = snapshot.restore(checkpoints, loaded, program, envs, plan.capacity, where)
        else:
            now = snapshot.begin(program, envs, plan.capacity, where)
            now.state = program.layout.placed(warm_start.started(now.state, parts))
        for line in run_messages.plan(config, plan, run, plan.env_steps(now.iteration), needs):
            say(line)
        if now.missing and now.added < plan.warmup and learns:
            say(f"updates wait until replay holds {plan.warmup} steps of each environment, as at the start")
        with signals.held(saving=True):
            log = RunLog(
                own,
                config.task,
                method_of(config).name,
                config.seeds,
                log=config.log if leads() else None,
                state=loaded.meta["log"] if loaded else None,
            )
            del loaded
            label = f"{config.task} {method_of(config).name}"
            with contextlib.closing(log), Progress(label, config.steps, advice=run_messages.advice(config)) as progress:
                training = Training(config, plan, run, program, envs, evaluation, checkpoints, log, progress, now)
                return training.run_to_end()


@contextlib.contextmanager
def _environments(config: TrainConfig) -> Generator[tuple[Envs, Envs | None], None, None]:
    """Training and evaluation environments of all seeds, in the same few processes."""
    number, (_, played) = config.env.number, rounds(config.evaluation.episodes)
    if not leads():
        yield followed(config, number), followed(config, played) if played else None
        return
    with Workers(worker_count(config.env, len(config.seeds) * number)) as workers:
        envs = shared(environments(workers, config, number, TRAINING))
        yield envs, shared(environments(workers, config, played, DURING_TRAINING)) if played else None


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
    memory_reported: bool = False
    """whether the memory of the run was reported, which is known once updates are compiled"""
    truncated: bool = False
    """whether it was reported that an evaluation episode was truncated"""

    def run_to_end(self) -> int:
        """Iterates until the run is complete or a signal arrives; saves at the end in both cases."""
        self.progress.update(self.plan.env_steps(self.now.iteration), self.now.updates)
        try:
            self.report()
            saved = time.monotonic()
            while self.now.finished < self.plan.total:
                self.leave_if_asked()
                self.iterate()
                if time.monotonic() - saved > 60 * self.config.checkpoint.minutes:
                    self.unless_refused(self.save)
                    saved = time.monotonic()
        except Interrupted as interruption:
            if self.now.iteration:  # otherwise there is nothing to keep
                self.save()
            self.progress.say(run_messages.interrupted(self.folder, self.plan.env_steps(self.now.iteration)))
            return 128 + interruption.number
        self.save()
        self.progress.say(run_messages.finished(self.folder, self.plan.env_steps(self.now.iteration)))
        return 0

    def leave_if_asked(self) -> None:
        """Raises Interrupted if a signal has arrived; with several processes, if it has in the first one."""
        if number := agreed(signals.received() or 0):
            raise Interrupted(number)

    def iterate(self) -> None:
        """One agent step of every environment, and the updates that are due for the steps before it.

        A signal may interrupt it (with Interrupted) where it waits, and between updates. `now` then has what was done,
        and another call finishes the iteration, also after a resume.
        """
        now = self.now
        if now.sent is None:
            now.sent, now.state, now.carry, now.replay = self.program.step(
                now.state, now.carry, now.replay, now.transition, now.iteration
            )
            now.iteration += 1
        self.envs.send(now.sent)
        self.learn(now.updates_due(self.plan))
        ended = now.transition["last"]
        now.transition = self.envs.receive()
        now.sent, now.due = None, True
        self.count_episodes(ended)
        self.report()

    def report(self) -> None:
        """Writes metrics, evaluates and keeps weights, as far as they are due after an iteration.

        If a signal interrupts it, all of it is repeated later: it uses none of training's random numbers, and each
        result is written only when it is complete.
        """
        if not self.now.due:
            return
        env_steps = self.plan.env_steps(self.now.iteration)
        if self.crossed(self.config.log.every):
            self.write_metrics(env_steps)
        self.evaluate()
        if leads() and self.crossed(self.config.checkpoint.snapshots):
            self.unless_refused(lambda: self.keep_weights(env_steps))
        self.now.due = False
        self.progress.update(env_steps, self.now.updates)

    def keep_weights(self, env_steps: int) -> None:
        """Writes a copy of the networks that is never overwritten."""
        snapshot.keep_weights(self.folder, self.program.agent, self.now.state, env_steps)

    def crossed(self, every: int) -> bool:
        """Whether the number of env steps reached another multiple of `every` in the newest iteration."""
        iteration = self.now.iteration
        return iteration > 0 and every > 0 and self.plan.reaching(iteration, every) == iteration

    def last_before_line(self) -> bool:
        """Whether no more updates will be made before the next line of metrics."""
        every, now = self.config.log.every, self.now
        if every <= 0:
            return False
        return self.plan.updates_due(self.plan.reaching(now.iteration, every)) - now.forgone <= now.updates

    def learn(self, due: int) -> None:
        """Makes the updates that are due; stops at one that is not finite, and between two if a signal arrives."""
        now, reports = self.now, []
        if due and not self.memory_reported:
            self.progress.say(run_messages.memory(now, self.program.compiled_bytes("learn")))
            self.memory_reported = True
        at_once = self.program.updates_at_once and not isinstance(now.replay, HostReplay)
        calls = [due] if due and at_once else [1] * due
        for left, count in zip(reversed(range(len(calls))), calls, strict=True):
            if reports and alone() and signals.received():
                break
            ahead = 0 if left else self.plan.iterations_to_update(now.iteration)
            now.state, now.replay, report = self.program.learn(now.state, now.replay, now.updates, count, ahead)
            now.updates += count
            reports.append(report)
        self.check_finite(reports)
        # Those of one call have its means.
        now.pending += [report.metrics for report, count in zip(reports, calls, strict=False) for _ in range(count)]
        if len(reports) < len(calls):
            self.leave_if_asked()
        if reports and self.last_before_line():
            now.measured = self.program.inspect(now.state, reports[-1], now.updates)

    def count_episodes(self, ended: np.ndarray) -> None:
        """Adds new rewards to the running episodes, and logs those that end; `ended`: environments that were reset."""
        now = self.now
        now.returns[ended], now.lengths[ended] = 0.0, 0
        now.returns += now.transition["reward"]
        now.lengths += 1
        for s, e in np.argwhere(now.transition["last"]):
            value, seed = float(now.returns[s, e]), self.config.seeds[s]
            self.log.episode(self.plan.env_steps(now.iteration), seed, value, int(now.lengths[s, e]))
            self.progress.episode(value)

    def write_metrics(self, env_steps: int) -> None:
        """Logs, for each seed, the mean metrics of all updates since the last line, and the results of `inspect`."""
        if not self.now.pending:
            return
        means = {name: values.mean(0) for name, values in snapshot.stacked(self.now.pending).items()}
        means |= self.now.measured
        self.now.pending.clear()
        self.now.measured = {}
        self.log.updated(env_steps, self.now.updates, means)
        shown = self.program.agent.shown.items()
        self.progress.metrics({name: float(means[metric].mean()) for name, metric in shown if metric in means})

    def evaluate(self) -> None:
        """Plays evaluation episodes if they are due."""
        number = self.plan.evaluation_due(self.now.iteration)
        if number is None or self.evaluation is None:
            return
        env_steps, every = self.plan.env_steps(self.now.iteration), self.config.log.dreams
        due = number and every and env_steps // every > (env_steps - self.plan.evaluate_every) // every
        recording = dreams.Recording() if due and leads() else None
        evaluation = self.config.evaluation
        limit = Limit(evaluation.max_steps, self.plan.repeat)
        waiting = Waiting(self.progress.say, self.progress.show)
        returns, truncated = play(
            self.program, self.now.state, self.evaluation, number, evaluation.episodes, limit, waiting, recording
        )
        dream = dreams.dream(partial(self.program.dream, self.now.state), recording) if recording else None
        if dream:
            self.log.dream(env_steps, dream.errors(), lambda: dreams.keep(dream, self.folder / "dreams", env_steps))
        for seed, found in zip(self.config.seeds, returns, strict=True):
            self.log.score(env_steps, seed, found.tolist())
        if truncated.any():
            self.log.truncated(env_steps, truncated.sum(1))
            if not self.truncated:
                self.progress.say(limit.sentence())
            self.truncated = True
        self.progress.evaluated(env_steps, self.config.seeds, returns.tolist())

    def save(self) -> None:
        """Writes a checkpoint, in the first of several processes."""
        if not leads():
            return
        meta = {"log": self.log.state(), "env_steps": self.plan.env_steps(self.now.finished), "jax": jax.__version__}
        snapshot.save(self.checkpoints, self.now, self.envs, meta | {"python": platform.python_version()})

    def unless_refused(self, save: Callable[[], None]) -> None:
        """Saves something that will be saved again later: if the disk refuses it, reports that, and continues."""
        try:
            save()
        except NotSaved as error:
            self.progress.say(f"not saved: {error.what}; training continues, and the next one is tried when it is due")

    def check_finite(self, reports: list[Report]) -> None:
        """Raises UserError if one of the newest updates was not finite, and writes its batch to RUN/failure."""
        for number, report in enumerate(reports):
            finite = np.asarray(report.finite)
            if finite.all():
                continue
            index, update = int(np.argmin(finite)), self.now.updates - len(reports) + number
            seed, where = self.config.seeds[index], "another process has the batch"
            if leads():
                kept = flatten((report.batch, report.metrics))
                arrays = {name: array[index] for name, array in kept.items()}
                where = snapshot.keep_failure(self.folder, seed, update, arrays)
            raise UserError(
                f"seed {seed} met a non-finite loss or gradient by update {update}: {where}, the last checkpoint is "
                "kept; a smaller learning rate is the usual cure"
            )
