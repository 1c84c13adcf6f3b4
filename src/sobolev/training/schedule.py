"""How much is done when: iterations, replay capacity and updates due. Plain integers, nothing of the clock."""

from dataclasses import dataclass

from sobolev.agents.method import Pace
from sobolev.config import TrainConfig
from sobolev.config.registry import method_of


@dataclass(frozen=True)
class Plan:
    """The arithmetic of a resolved config; one iteration is one agent step of every environment."""

    environments: int
    repeat: int
    batch: int
    pace: Pace
    total: int
    """iterations until the run is complete"""
    capacity: int
    """steps that replay keeps of each environment"""
    evaluate_every: int
    """env steps between evaluations, 0 for none"""

    @staticmethod
    def of(config: TrainConfig) -> "Plan":
        """The plan of a resolved config."""
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
        """Env steps of one seed after so many iterations."""
        return iteration * self.environments * self.repeat

    @property
    def warmup(self) -> int:
        """Iterations until replay holds the windows that training waits for; it starts there, without a backlog."""
        return self.pace.length + -(-self.pace.windows // self.environments)

    def updates_due(self, iteration: int) -> int:
        """Updates that should have been made when replay holds the steps of so many iterations."""
        agent_steps = max(0, iteration - self.warmup) * self.environments
        return int(self.pace.updates * agent_steps / self.pace.steps)

    def iterations_to_update(self, iteration: int) -> int:
        """Iterations after this one until further updates fall due; 1 also where none ever will."""
        made, later = self.updates_due(iteration), iteration + 1
        while later < self.total and self.updates_due(later) == made:
            later += 1
        return later - iteration

    def evaluation_due(self, iteration: int) -> int | None:
        """The number of the evaluation that follows this iteration, if one does; number 0 comes before training."""
        if not self.evaluate_every:
            return None
        number = self.env_steps(iteration) // self.evaluate_every
        before = self.env_steps(iteration - 1) // self.evaluate_every if iteration else -1
        return number if number > before else None
