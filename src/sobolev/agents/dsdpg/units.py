"""Normalised units: the running statistics that define them, and the world model in the units of the critics."""

from typing import Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr
from jaxtyping import Array, Bool, Float

from sobolev.agents.dsdpg.dynamics import Imagined
from sobolev.agents.dsdpg.networks import joined
from sobolev.agents.dsdpg.normalizer import Moments
from sobolev.agents.dsdpg.target import Model
from sobolev.envs.specs import Spaces
from sobolev.nn import Perceptron
from sobolev.replay import Windows


class Pairs(eqx.Module):
    """A batch of transitions (s, a, r, s', terminal), in the environment's units."""

    state: Float[Array, "batch state"]
    action: Float[Array, "batch action"]
    reward: Float[Array, " batch"]
    following: Float[Array, "batch state"]
    terminal: Float[Array, " batch"]
    valid: Bool[Array, " batch"]
    """false if s' is the first step of another episode, to which no action led"""

    @property
    def weight(self) -> Float[Array, " batch"]:
        """The weight of each transition in a mean over the valid ones."""
        valid = self.valid.astype(jnp.float32)
        return valid / jnp.maximum(jnp.sum(valid), 1.0)


def pairs_of(windows: Windows, spaces: Spaces) -> Pairs:
    """Transitions, from windows that consist of one step and its context step."""
    steps = windows.steps
    states = joined(spaces, steps["observation"])
    return Pairs(
        state=states[:, 0],
        action=steps["action"][:, 0],
        reward=steps["reward"][:, 1],
        following=states[:, 1],
        terminal=steps["terminal"][:, 1].astype(jnp.float32),
        valid=~steps["first"][:, 1],
    )


class Statistics(eqx.Module):
    """The running statistics that normalise the networks' inputs; methods take one state, reward or change of state."""

    state: Moments
    """of all observations"""
    change: Moments
    """of s' − s in replayed steps"""
    reward: Moments
    """of all rewards"""
    min_std: float = eqx.field(static=True)
    clip: float = eqx.field(static=True)

    @staticmethod
    def init(state: int, min_std: float, clip: float) -> "Statistics":
        """Empty statistics. min_std: the smallest standard deviation by which an entry is divided; clip: see `cut`."""
        return Statistics(Moments.init(state), Moments.init(state), Moments.init(1), min_std, clip)

    def cut(self, normalised: Float[Array, " size"]) -> Float[Array, " size"]:
        """Clips normalised entries to ±clip.

        An entry that has been constant so far, such as the force of a collision, is an outlier of a thousand standard
        deviations when it first changes. Rewards are never clipped, since rare ones matter.
        """
        return jnp.clip(normalised, -self.clip, self.clip)

    def normalised(self, state: Float[Array, " state"]) -> Float[Array, " state"]:
        """A state minus its running mean, divided by its running standard deviation, and clipped."""
        return self.cut(self.state.apply(state, self.min_std))

    def outcome(
        self, state: Float[Array, " state"], following: Float[Array, " state"], reward: Float[Array, ""]
    ) -> Float[Array, " outcome"]:
        """Δs, then r, in the units of the world model."""
        change = self.cut((following - state - self.change.mean) / self.change_std)
        return jnp.concatenate([change, self.reward.apply(reward[None], self.min_std)])

    def moved(self, state: Float[Array, " state"], change: Float[Array, " state"]) -> Float[Array, " state"]:
        """The normalised state that follows a normalised state, given Δs in the units of the world model."""
        return self.cut(state + (change * self.change_std + self.change.mean) / self.state.std(self.min_std))

    def earned(self, reward: Float[Array, ""]) -> Float[Array, ""]:
        """A reward in the environment's units, given one in the units of the world model."""
        return self.reward.undo(reward[None], self.min_std)[0]

    @property
    def change_std(self) -> Float[Array, " state"]:
        """The unit of Δs: its standard deviation, but at least a hundredth of the state's."""
        return self.change.std(0.01 * self.state.std(self.min_std))


@runtime_checkable
class OneStep(Protocol):
    """A world model in normalised units: `Dynamics`, or a member of MAGE's ensemble."""

    @property
    def noise(self) -> int:
        """Number of standard normal numbers that one draw takes; the last one is for the end of the episode."""
        ...

    def draw(
        self, state: Float[Array, " state"], action: Float[Array, " action"], noise: Float[Array, " noise"]
    ) -> Imagined:
        """(Δs, r) for given noise."""
        ...

    @property
    def ending(self) -> Perceptron:
        """From state, action and following state to the logit of the probability that the last one is terminal."""
        ...


def imagination(dynamics: OneStep, statistics: Statistics) -> Model:
    """(s, a, ε) → (s', r, d), with normalised states, rewards in the environment's units, and d drawn as 0 or 1.

    The end is drawn rather than averaged, since the critics model the distribution of the return.
    """

    def draw(
        state: Float[Array, " state"], action: Float[Array, " action"], noise: Float[Array, " noise"]
    ) -> tuple[Float[Array, " state"], Float[Array, ""], Float[Array, ""]]:
        imagined = dynamics.draw(state, action, noise)
        following = statistics.moved(state, imagined.change)
        logit = dynamics.ending(*jax.lax.stop_gradient((state, action, following)))[0]
        ended = (ndtr(noise[-1]) < jax.nn.sigmoid(logit)).astype(imagined.reward.dtype)
        return following, statistics.earned(imagined.reward), ended

    return draw
