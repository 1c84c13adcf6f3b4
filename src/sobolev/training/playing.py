"""Playing episodes in many environments at once, to their end or to a limit: every loop of this kind is `episodes`."""

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from sobolev.distributed.processes import Envs
from sobolev.envs import Transition

AT_ONCE = 32
"""Environments of a seed that are played in together, at most."""
SECONDS = 30.0
"""How often a line reports on episodes that take long."""


class Limit(NamedTuple):
    """How long an episode may be."""

    env_steps: int
    repeat: int
    """env steps of an agent step"""
    flag: str = "--evaluation.max-steps"
    """the setting that says so"""

    def reached(self, agent_steps: int) -> bool:
        """Whether so many agent steps after the first observation are enough."""
        return agent_steps * self.repeat >= self.env_steps

    def sentence(self) -> str:
        """What to say where it binds."""
        return (
            f"an episode had not ended after {self.env_steps:,} env steps and was truncated: its return so far counts "
            f"({self.flag} N sets another limit)"
        )


def rounds(number: int) -> tuple[int, int]:
    """Into how many rounds so many episodes of a seed are divided, and how many environments play a round.

    The last round may have environments to spare.
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
    """One episode in every environment, all stepping together: yields every step, and in which environments, bool
    [seeds, environments], the episode was running until then. Ends with the last episode, or at the limit.

    `act` gives the actions for a step, but for the last one. `first`: see `VectorEnv.reset`. `watch` hears of every
    step.
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
    """Says how far episodes are that take long; at most a line per `SECONDS`, beside what a terminal shows all the
    time."""

    def __init__(
        self,
        say: Callable[[str], None],
        show: Callable[[str], None] = lambda text: None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """`say` gets a line for good, `show` gets a text that stands until the next one; "" in the end."""
        self.say, self.show, self.clock = say, show, clock
        self.began = self.said = clock()

    def __call__(self, env_steps: int, what: str = "") -> None:
        """The episodes are at so many env steps; `what` says which these are, where there are several rounds."""
        now = self.clock()
        text = f"evaluation{what}: env step {env_steps:,} of its episodes, after {now - self.began:.0f} s"
        self.show(text)
        if now - self.said >= SECONDS:
            self.said = now
            self.say(text)
