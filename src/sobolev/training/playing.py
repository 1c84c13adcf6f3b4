"""Playing episodes in many environments at once, until they end or reach a limit."""

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from sobolev.distributed.processes import Envs
from sobolev.envs import Transition

AT_ONCE = 32
"""Largest number of environments of a seed that play at the same time."""
SECONDS = 30.0
"""Smallest time between two lines about episodes that take long."""


class Limit(NamedTuple):
    """The largest length of an episode."""

    env_steps: int
    repeat: int
    """number of env steps in an agent step"""
    flag: str = "--evaluation.max-steps"
    """the flag that sets the limit"""

    def reached(self, agent_steps: int) -> bool:
        """Whether an episode reaches the limit with `agent_steps` agent steps after its first observation."""
        return agent_steps * self.repeat >= self.env_steps

    def sentence(self) -> str:
        """The message for an episode that was truncated."""
        return (
            f"an episode had not ended after {self.env_steps:,} env steps and was truncated: its return so far counts "
            f"({self.flag} N sets another limit)"
        )


def rounds(number: int) -> tuple[int, int]:
    """The number of rounds in which `number` episodes of a seed are played, and the number of environments of a round.

    Not all environments of the last round may be needed.
    """
    count = -(-number // AT_ONCE)
    return count, -(-number // max(1, count))


def episodes(
    envs: Envs,
    episode: int,
    act: Callable[[Transition], np.ndarray],
    limit: Limit,
    *,
    first: int = 0,
    watch: Callable[[int], None] = lambda env_steps: None,
) -> Iterator[tuple[Transition, np.ndarray]]:
    """Plays one episode in every environment, all in step, until the last one ends or the limit is reached.

    Yields every step, and a mask bool[seeds, environments] of the environments whose episode had not ended before it.
    `act` returns the actions for a step. `first`: see `VectorEnv.reset`. `watch` is called after every step with the
    number of env steps.
    """
    transition, running, steps = envs.reset(episode, first), np.ones(envs.shape, bool), 0
    while True:
        yield transition, running
        running = running & ~transition["last"]
        if not running.any() or limit.reached(steps):
            return
        envs.send(act(transition))
        transition, steps = envs.receive(), steps + 1
        watch(steps * limit.repeat)


class Waiting:
    """Reports the progress of episodes that take long."""

    def __init__(
        self,
        say: Callable[[str], None],
        show: Callable[[str], None] = lambda text: None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """`say` prints a line, at most one per `SECONDS`; `show` shows a text until the next one, "" at the end."""
        self.say, self.show, self.clock = say, show, clock
        self.began = self.said = clock()

    def __call__(self, env_steps: int, what: str = "") -> None:
        """Reports that the episodes are at `env_steps` env steps; `what` names the round, if there are several."""
        now = self.clock()
        text = f"evaluation{what}: env step {env_steps:,} of its episodes, after {now - self.began:.0f} s"
        self.show(text)
        if now - self.said >= SECONDS:
            self.said = now
            self.say(text)
