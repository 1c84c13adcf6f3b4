"""DreamerV3 whose policy is to act alike in states that are alike: the spatial term of CAPS (arXiv 2012.06644).

    L = L_DreamerV3 + calm · E ‖μ(h + ε, z) − μ(h, z)‖²,   ε ~ N(0, radius² I)

with μ the mean of the policy in the states that imagination starts from. Everything else is DreamerV3's.
"""

from dataclasses import dataclass, replace
from typing import Annotated

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt
from jaxtyping import Array, Key

from sobolev.agents.dreamer.agent import Dreamer, Model
from sobolev.agents.dreamer.behavior import ImaginationLosses, ReturnScale
from sobolev.agents.dreamer.config import DreamerConfig
from sobolev.agents.dreamer.method import DREAMER
from sobolev.agents.method import variant
from sobolev.nn import Head


@dataclass(frozen=True)
class CalmConfig(DreamerConfig):
    """DreamerV3's settings and two more, which are the flags --calm and --radius."""

    calm: Annotated[float, Ge(0)] = 0.1
    """weight of the squared change of the mean action"""
    radius: Annotated[float, Gt(0)] = 0.05
    """standard deviation of the change of the recurrent state that should not change it"""


@dataclass(frozen=True)
class CalmDreamer(Dreamer):
    """DreamerV3 with one more term in the actor's loss."""

    config: CalmConfig

    def imagination(
        self, model: Model, slow: Head, scale: ReturnScale, starts: tuple[Array, Array], key: Key[Array, ""]
    ) -> ImaginationLosses:
        """DreamerV3's losses [horizon, starts], with the new term in the actor's."""
        losses = super().imagination(model, slow, scale, starts, key)
        deter, stoch = starts
        noise = self.config.radius * jax.random.normal(jax.random.fold_in(key, 1), deter.shape, deter.dtype)
        action, moved = (jax.vmap(model.actor)(near, stoch).mean for near in (deter, deter + noise))
        change = jnp.sum(jnp.square(moved - action), -1)
        return replace(losses, policy=losses.policy + self.config.calm * change[None])


METHOD = variant(
    DREAMER,
    name="calm",
    about="DreamerV3 that acts alike in states that are alike",
    change=lambda config: CalmConfig(**vars(config)),
    config=CalmConfig,
    make=CalmDreamer,
)
