"""The world model: encoder, recurrent state-space model, decoder, reward and continue heads, and its losses."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from sobolev.agents.api import Step
from sobolev.agents.dreamer.config import LossConfig, ModelConfig
from sobolev.agents.dreamer.decoder import Decoder, reconstruction_loss
from sobolev.agents.dreamer.encoder import Encoder, token_count
from sobolev.agents.dreamer.rssm import RSSM, Latents
from sobolev.envs.specs import Spaces
from sobolev.nn import Head, TwoHot, bernoulli_loss, kl_divergence, over

RECONSTRUCTION = "reconstruction/"
"""Prefix of the name of an observation's loss, which ends in the observation's name."""


class WorldModel(eqx.Module):
    """The networks that are trained to predict replayed experience."""

    encoder: Encoder
    rssm: RSSM
    decoder: Decoder
    reward: Head
    cont: Head

    @staticmethod
    def init(key: Key[Array, ""], spaces: Spaces, config: ModelConfig) -> "WorldModel":
        """A world model for these spaces; the reward head starts at exactly zero."""
        keys = jax.random.split(key, 5)
        features = config.deter + config.rows * config.classes
        return WorldModel(
            encoder=Encoder.init(keys[0], spaces, config),
            rssm=RSSM.init(keys[1], spaces.action, token_count(spaces, config), config),
            decoder=Decoder.init(keys[2], spaces, config),
            reward=Head.init(keys[3], features, config.units, config.reward_layers, config.bins, 0.0),
            cont=Head.init(keys[4], features, config.units, config.continue_layers, 1),
        )

    def observe(
        self,
        observation: dict[str, Array],
        action: Float[Array, "time batch action"],
        first: Bool[Array, "time batch"],
        key: Key[Array, ""],
    ) -> tuple[Latents, Float[Array, "time batch tokens"]]:
        """Posterior latents [time, batch, …] and encoder outputs along streams that begin with a first step.

        `action` is the one chosen at each step. The last one, whose outcome is not in the stream, is not used.
        """
        tokens = over(self.encoder, 2)(observation)
        before = jnp.concatenate([jnp.zeros_like(action[:1]), action[:-1]])
        return self.rssm.observe(*self.rssm.initial(first.shape[1], tokens.dtype), before, tokens, first, key), tokens


def world_model_losses(
    model: WorldModel,
    latents: Latents,
    steps: Step,
    config: LossConfig,
    discount: float,
    prior_noise: Float[Array, "time batch deter"] | None = None,
) -> dict[str, Float[Array, "time batch"]]:
    """Prediction and KL losses of posterior latents [time, batch, …], given the steps that they belong to.

    Reconstruction (of vectors in symlog space), two-hot reward, continue target (1 − terminal) · discount, and both
    directions of the balanced KL, each at least `free_nats` (paper 1, Section 4, with DreamerV3's balance).
    `prior_noise` is added to the prior's input, and to nothing else.
    """
    deter, stoch = latents.deter, latents.stoch
    reconstruction = over(reconstruction_loss, 2)(over(model.decoder, 2)(deter, stoch), steps["observation"])
    bins = TwoHot(model.reward.output.bias.size)
    reward = over(bins.loss_to, 2)(over(model.reward, 2)(*latents.parts), steps["reward"])
    target = (1.0 - steps["terminal"].astype(jnp.float32)) * discount
    cont = over(bernoulli_loss, 2)(over(model.cont, 2)(*latents.parts)[..., 0], target)
    read = deter if prior_noise is None else deter + prior_noise.astype(deter.dtype)
    dyn, rep = balanced_kl(latents.probs, over(model.rssm.prior, 2)(read), config.free_nats)
    reconstruction = {f"{RECONSTRUCTION}{name}": loss for name, loss in reconstruction.items()}
    return {**reconstruction, "reward": reward, "cont": cont, "dyn": dyn, "rep": rep}


def balanced_kl(
    posterior: Float[Array, "time batch rows classes"], prior: Float[Array, "time batch rows classes"], free_nats: float
) -> tuple[Float[Array, "time batch"], Float[Array, "time batch"]]:
    """KL that trains the prior (dyn) and KL that trains the posterior (rep), each at least `free_nats`."""
    stop, kl = jax.lax.stop_gradient, over(kl_divergence, 2)
    dyn = jnp.maximum(free_nats, kl(stop(posterior), prior))
    rep = jnp.maximum(free_nats, kl(posterior, stop(prior)))
    return dyn, rep
