"""Adam and RAdam, and one step of an optimizer."""

from typing import Protocol, TypeVar, runtime_checkable

import jax
import optax
from jaxtyping import Array, Bool, Int

from sobolev.agents import optimizer
from sobolev.agents.optimizer import relaxed

Tree = TypeVar("Tree")

Rules = tuple[optax.GradientTransformation, optax.GradientTransformation, optax.GradientTransformation]
"""Optimizers of actor, critics and model."""


@runtime_checkable
class Moments(Protocol):
    """The constants of Adam's running averages."""

    @property
    def beta1(self) -> float:
        """Decay of the mean of gradients."""
        ...

    @property
    def beta2(self) -> float:
        """Decay of the mean of squared gradients."""
        ...

    @property
    def eps(self) -> float:
        """Added to the root of the mean of squared gradients."""
        ...


def adam(config: Moments, rate: float, clip: float | None = None) -> optax.GradientTransformation:
    """Adam with learning rate `rate`, on gradients that are clipped to the global norm `clip`."""
    rule = optax.adam(rate, config.beta1, config.beta2, config.eps)
    return relaxed(rule if clip is None else optax.chain(optax.clip_by_global_norm(clip), rule))


def rectified_adam(config: Moments, rate: float, clip: float, decay: float = 0.0) -> optax.GradientTransformation:
    """RAdam with learning rate `rate` and decoupled weight decay, on gradients whose entries are clipped to ±`clip`."""
    return relaxed(
        optax.chain(
            optax.clip(clip),
            optax.scale_by_radam(config.beta1, config.beta2, config.eps),
            optax.add_decayed_weights(decay),
            optax.scale(-rate),
        )
    )


def turn(number: Int[Array, ""], delay: int) -> Bool[Array, ""]:
    """Whether the actor moves in update `number`, from 0: in every `delay`-th one, the first in number `delay` − 1."""
    return (number + 1) % delay == 0


def descend(
    rule: optax.GradientTransformation, parameters: Tree, gradients: Tree, state: optax.OptState
) -> tuple[Tree, optax.OptState]:
    """One step: the new parameters and the optimizer's new state."""
    return optimizer.descend(rule, parameters, gradients, state)[:2]


def chosen(condition: Bool[Array, ""], new: Tree, old: Tree) -> Tree:
    """`new` if the scalar condition is true, else `old`, for every leaf."""
    return jax.tree.map(lambda a, b: jax.numpy.where(condition, a, b), new, old)
