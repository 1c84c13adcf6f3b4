"""The one-step world model: a conditional variational autoencoder of (Δs, r) given (s, a), with a learned prior.

Everything is in normalised units: states, changes of state and rewards, each with its own running statistics. Draws
are reparametrised: for fixed noise, the next state and the reward are smooth functions of state and action.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from sobolev.agents.dsdpg.config import DynamicsConfig
from sobolev.nn import Perceptron, at_least_float32, bernoulli_loss, normal_log_prob


class Normal(NamedTuple):
    """Independent normal distributions."""

    mean: Float[Array, " size"]
    std: Float[Array, " size"]


class Imagined(NamedTuple):
    """One draw from the model, in normalised units."""

    change: Float[Array, " state"]
    """Δs"""
    reward: Float[Array, ""]


class ModelLosses(NamedTuple):
    """Terms of the model's loss for one transition, in nats but for the last one."""

    likelihood: Float[Array, ""]
    """−log g(Δs, r | s, a, z) with z from the encoder; without r if that has a network of its own"""
    divergence: Float[Array, ""]
    """KL(encoder ‖ prior)"""
    terminal: Float[Array, ""]
    """cross-entropy of the termination head"""
    reward: Float[Array, ""]
    """squared error of the reward's own network, in normalised units; 0 if there is none"""


class Dynamics(eqx.Module):
    """Prior p(z|s,a), encoder q(z|s,a,Δs,r), decoder g(Δs,r|s,a,z), and a head for the end of the episode.

    The decoder's standard deviations are learned, one for each output, up to a small bound: noise that is larger, or
    that depends on state and action, must come from z. With `reward` "network" in the config, encoder and decoder are
    of Δs alone, and r is what a network of its own predicts from (s, a, Δs).
    """

    prior: Perceptron
    encoder: Perceptron
    decoder: Perceptron
    ending: Perceptron
    spread: Float[Array, " outputs"]
    """raw standard deviations of the decoder: Δs, then r"""
    reward: Perceptron | None
    """the network of the reward; None if the decoder predicts it"""
    config: DynamicsConfig = eqx.field(static=True)

    @staticmethod
    def init(key: Key[Array, ""], state: int, action: int, config: DynamicsConfig) -> "Dynamics":
        """A model that initially predicts about the mean change of state and the mean reward."""
        keys, (units, layers) = jax.random.split(key, 4), (config.network.units, config.network.layers)
        latent, apart = config.latent, config.reward == "network"
        outputs = state if apart else state + 1
        own = Perceptron.init(jax.random.fold_in(key, 4), 2 * state + action, units, layers, 1, 0.1) if apart else None
        return Dynamics(
            prior=Perceptron.init(keys[0], state + action, units, layers, 2 * latent, 0.1),
            encoder=Perceptron.init(keys[1], state + action + outputs, units, layers, 2 * latent, 0.1),
            decoder=Perceptron.init(keys[2], state + action + latent, units, layers, outputs, 0.1),
            ending=Perceptron.init(keys[3], 2 * state + action, units, layers, 1, 0.1),
            spread=jnp.full(outputs, 2.0),
            reward=own,
            config=config,
        )

    @property
    def noise(self) -> int:
        """Number of standard normal numbers that one draw takes: for z, the decoder, and the end of the episode."""
        return self.config.latent + self.spread.size + 1

    def prior_at(self, state: Float[Array, " state"], action: Float[Array, " action"]) -> Normal:
        """p(z | s, a)."""
        return self._normal(self.prior(state, action))

    def posterior_at(
        self, state: Float[Array, " state"], action: Float[Array, " action"], outcome: Float[Array, " outputs"]
    ) -> Normal:
        """q(z | s, a, Δs, r), given what the decoder predicts."""
        return self._normal(self.encoder(state, action, outcome))

    def decode(
        self, state: Float[Array, " state"], action: Float[Array, " action"], latent: Float[Array, " latent"]
    ) -> Normal:
        """g(Δs, r | s, a, z): Δs, then r if the decoder predicts it."""
        mean = self.decoder(state, action, latent)
        return Normal(mean, bounded(self.spread, self.config.min_std, self.config.decoder_std))

    def draw(
        self, state: Float[Array, " state"], action: Float[Array, " action"], noise: Float[Array, " noise"]
    ) -> Imagined:
        """(Δs, r) for given standard normal numbers: z is drawn from the prior, then (Δs, r) from the decoder. If the
        reward has a network, it sees the Δs that was drawn.
        """
        latent, rest = noise[: self.config.latent], noise[self.config.latent : -1]
        prior = self.prior_at(state, action)
        decoded = self.decode(state, action, prior.mean + prior.std * latent)
        outcome = decoded.mean + decoded.std * rest
        if self.reward is not None:
            return Imagined(outcome, self.reward(state, action, outcome)[0])
        return Imagined(outcome[:-1], outcome[-1])

    def losses(
        self,
        state: Float[Array, " state"],
        action: Float[Array, " action"],
        outcome: Float[Array, " outcome"],
        following: Float[Array, " state"],
        terminal: Float[Array, ""],
        noise: Float[Array, " latent"],
        perturbed: tuple[Float[Array, " state"], Float[Array, " action"]] | None = None,
    ) -> ModelLosses:
        """The negative evidence bound in two terms, with one draw of z, and the losses of the heads.

        outcome: Δs and r, normalised; following: the next state, normalised like `state`; terminal: 0 or 1.
        perturbed: the inputs of prior, encoder and decoder in place of state and action, if not None. The reward's
        network learns from the true Δs, with nothing perturbed.
        """
        seen = (state, action) if perturbed is None else perturbed
        missed = jnp.zeros(())
        if self.reward is not None:
            outcome, reward = outcome[:-1], outcome[-1]
            missed = jnp.square(self.reward(state, action, outcome)[0] - reward)
        prior, posterior = self.prior_at(*seen), self.posterior_at(*seen, outcome)
        decoded = self.decode(*seen, posterior.mean + posterior.std * noise)
        ended = bernoulli_loss(self.ending(state, action, following)[0], terminal)
        return ModelLosses(-normal_log_prob(*decoded, outcome), normal_divergence(posterior, prior), ended, missed)

    def _normal(self, raw: Float[Array, " outputs"]) -> Normal:
        """Mean, and a standard deviation that is initially close to 1 (if the bounds include 1)."""
        size, high = self.config.latent, self.config.max_std
        start = float(np.log(1 / self.config.min_std) / np.log(high / self.config.min_std))
        shift = float(np.log(start / (1 - start))) if 0 < start < 1 else 4.0
        return Normal(raw[:size], bounded(raw[size:] + shift, self.config.min_std, high))


def bounded(raw: Float[Array, " size"], low: float, high: float) -> Float[Array, " size"]:
    """Standard deviations between two bounds: a sigmoid of `raw`, in the logarithm."""
    raw = raw.astype(at_least_float32(jnp.dtype(raw.dtype)))
    return jnp.exp(float(np.log(low)) + float(np.log(high / low)) * jax.nn.sigmoid(raw))


def normal_divergence(q: Normal, p: Normal) -> Float[Array, ""]:
    """KL(q ‖ p) in nats, summed over the entries."""
    ratio = jnp.square(q.std / p.std)
    gap = jnp.square((q.mean - p.mean) / p.std)
    return 0.5 * jnp.sum(ratio + gap - 1.0 - jnp.log(ratio))
