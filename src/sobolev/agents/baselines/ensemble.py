"""MAGE's world model: an ensemble of normal distributions of Δs given (s, a), and networks for the reward and the end.

Everything is in normalised units, as in `Dynamics`. Draws are reparametrised: for fixed noise, the draw of a member is
a smooth function of state and action.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sobolev.agents.baselines.config import EnsembleConfig
from sobolev.agents.dsdpg.dynamics import Imagined, Normal
from sobolev.nn import Perceptron, bernoulli_loss


class Member(eqx.Module):
    """One member, with the networks that all members share."""

    transition: Perceptron
    reward: Perceptron
    ending: Perceptron
    bounds: tuple[float, float] = eqx.field(static=True)

    @property
    def noise(self) -> int:
        """Number of standard normal numbers that one draw takes: one for each entry of Δs, and one for the end."""
        return self.transition.output.bias.size // 2 + 1

    def distribution(self, state: Float[Array, " state"], action: Float[Array, " action"]) -> Normal:
        """The distribution of Δs; log-variances are mapped to the interval between the bounds by a sigmoid."""
        raw, (low, high) = self.transition(state, action), self.bounds
        size = raw.size // 2
        return Normal(raw[:size], jnp.exp(0.5 * (low + (high - low) * jax.nn.sigmoid(raw[size:]))))

    def draw(
        self, state: Float[Array, " state"], action: Float[Array, " action"], noise: Float[Array, " noise"]
    ) -> Imagined:
        """(Δs, r) for given standard normal numbers."""
        predicted = self.distribution(state, action)
        change = predicted.mean + predicted.std * noise[:-1]
        return Imagined(change, self.reward(state, action, change)[0])

    def loss(
        self,
        state: Float[Array, " state"],
        action: Float[Array, " action"],
        outcome: Float[Array, " outcome"],
        following: Float[Array, " state"],
        terminal: Float[Array, ""],
    ) -> Float[Array, ""]:
        """The loss of one transition: likelihood loss of Δs, squared error of r, and cross-entropy of the end.

        outcome: Δs, then r, normalised; terminal: 0 or 1. The likelihood loss is the mean over the entries of Δs of the
        squared error over the variance, plus the log-variance. The reward is predicted from the true Δs.
        """
        predicted, change = self.distribution(state, action), outcome[:-1]
        likelihood = jnp.mean(jnp.square((change - predicted.mean) / predicted.std) + 2 * jnp.log(predicted.std))
        reward = jnp.square(self.reward(state, action, change)[0] - outcome[-1])
        return likelihood + reward + bernoulli_loss(self.ending(state, action, following)[0], terminal)


class Ensemble(eqx.Module):
    """Members of equal shape, whose parameters are stacked along a leading axis."""

    transitions: Perceptron
    reward: Perceptron
    ending: Perceptron
    config: EnsembleConfig = eqx.field(static=True)

    @staticmethod
    def init(key: Key[Array, ""], state: int, action: int, config: EnsembleConfig) -> "Ensemble":
        """An ensemble of independently initialized members."""
        network, heads, keys = config.network, config.reward, jax.random.split(key, 3)

        def member(k: Key[Array, ""]) -> Perceptron:
            return Perceptron.init(k, state + action, network.units, network.layers, 2 * state, 0.1)

        return Ensemble(
            transitions=jax.vmap(member)(jax.random.split(keys[0], config.members)),
            reward=Perceptron.init(keys[1], 2 * state + action, heads.units, heads.layers, 1, 0.1),
            ending=Perceptron.init(keys[2], 2 * state + action, heads.units, heads.layers, 1, 0.1),
            config=config,
        )

    def member(self, transition: Perceptron) -> Member:
        """The member with this transition network, for use under `vmap` over `transitions`."""
        return Member(transition, self.reward, self.ending, (self.config.low, self.config.high))

    def loss(
        self,
        states: Float[Array, "members batch state"],
        actions: Float[Array, "members batch action"],
        outcomes: Float[Array, "members batch outcome"],
        following: Float[Array, "members batch state"],
        terminal: Float[Array, "members batch"],
        weight: Float[Array, "members batch"],
    ) -> Float[Array, ""]:
        """Mean over members of the weighted mean of `Member.loss` on the member's batch, whose weights sum to 1."""

        def one(transition: Perceptron, *batch: Array) -> Float[Array, " batch"]:
            return jax.vmap(self.member(transition).loss)(*batch)

        losses = jax.vmap(one)(self.transitions, states, actions, outcomes, following, terminal)
        return jnp.sum(weight * losses) / self.config.members
