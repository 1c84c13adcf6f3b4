"""The schedule of a run: iterations, replay capacity, and when updates and evaluations are due. Integers only."""

from dataclasses import dataclass

from sobolev.agents.method import Pace
from sobolev.config import TrainConfig
from sobolev.config.registry import method_of


@dataclass(frozen=True)
class Plan:
    """The numbers of a run, from its resolved config. An iteration is one agent step of every environment."""

    environments: int
    repeat: int
    batch: int
    pace: Pace
    total: int
    """number of iterations of the complete run"""
    capacity: int
    """number of steps of each environment that replay can hold"""
    evaluate_every: int
    """env steps between evaluations, 0 for none"""

    @staticmethod
    def of(config: TrainConfig) -> "Plan":
        """The plan of a run with this resolved config."""
        number, repeat = config.env.number, config.env.repeat or 1
        total = -(-config.steps // (number * repeat))
        pace, evaluation = method_of(config).pace(config.agent), config.evaluation
        return Plan(
            environments=number,
            repeat=repeat,
            batch=config.agent.batch_size,
            pace=pace,
            total=total,
            capacity=max(pace.length + 1, config.replay.steps_per_environment(number, total)),
            evaluate_every=evaluation.every if evaluation.episodes else 0,
        )

    def env_steps(self, iteration: int) -> int:
        """Env steps of one seed after `iteration` iterations."""
        return iteration * self.environments * self.repeat

    @property
    def warmup(self) -> int:
        """Number of iterations before training, until replay holds enough windows; no updates are made up for them."""
        return self.pace.length + -(-self.pace.windows // self.environments)

    def updates_due(self, iteration: int) -> int:
        """Total number of updates that are due when replay holds the steps of `iteration` iterations."""
        agent_steps = max(0, iteration - self.warmup) * self.environments
        return int(self.pace.updates * agent_steps / self.pace.steps)

    def iterations_to_update(self, iteration: int) -> int:
        """Number of iterations, at least 1, until more updates are due or the run ends."""
        made, later = self.updates_due(iteration), iteration + 1
        while later < self.total and self.updates_due(later) == made:
            later += 1
        return later - iteration

    def reaching(self, iteration: int, every: int) -> int:
        """The first iteration, from `iteration` on, in which env steps reach another multiple of `every`."""
        wanted = (self.env_steps(iteration - 1) // every + 1) * every
        return -(-wanted // self.env_steps(1))

    def evaluation_due(self, iteration: int) -> int | None:
        """The number of the evaluation that follows this iteration, None if there is none; 0 is before training."""
        if not self.evaluate_every:
            return None
        number = self.env_steps(iteration) // self.evaluate_every
        before = self.env_steps(iteration - 1) // self.evaluate_every if iteration else -1
        return number if number > before else None
