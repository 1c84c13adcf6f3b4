"""Two-hot targets and their loss, as they are defined: what `TwoHot.loss_to` computes without forming them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sobolev.nn import TwoHot


def target(head: TwoHot, value: Float[Array, ""]) -> Float[Array, " bins"]:
    """The distribution on the two bins around `value` whose mean it is; beyond the ends, the end bin."""
    (below, above, share), index = head.near(value), jnp.arange(head.bins)
    return jnp.where(index == below, 1 - share, 0.0) + jnp.where(index == above, share, 0.0)


def cross_entropy(logits: Float[Array, " bins"], target: Float[Array, " bins"]) -> Float[Array, ""]:
    """Cross-entropy to a target, or to a sum of several."""
    return -jnp.sum(target * jax.nn.log_softmax(logits))
