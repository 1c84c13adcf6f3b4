"""Adam and RAdam, and one step of either."""

from typing import Protocol, TypeVar, runtime_checkable

import jax
import optax
from jaxtyping import Array, Bool

from sobolev.agents import optimizer
from sobolev.agents.optimizer import relaxed

Tree = TypeVar("Tree")

Rules = tuple[optax.GradientTransformation, optax.GradientTransformation, optax.GradientTransformation]
"""Optimizers of actor, critics and model."""


@runtime_checkable
class Moments(Protocol):
    """How Adam averages."""

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
        """What is added to the root of the latter."""
        ...


def adam(config: Moments, rate: float, clip: float | None = None) -> optax.GradientTransformation:
    """Adam with that learning rate, after the gradient's norm is cut to `clip`."""
    rule = optax.adam(rate, config.beta1, config.beta2, config.eps)
    return relaxed(rule if clip is None else optax.chain(optax.clip_by_global_norm(clip), rule))


def rectified_adam(config: Moments, rate: float, clip: float, decay: float = 0.0) -> optax.GradientTransformation:
    """RAdam with that learning rate, on gradients whose entries are cut to ±`clip`, with decoupled weight decay."""
    return relaxed(
        optax.chain(
            optax.clip(clip),
            optax.scale_by_radam(config.beta1, config.beta2, config.eps),
            optax.add_decayed_weights(decay),
            optax.scale(-rate),
        )
    )


def descend(
    rule: optax.GradientTransformation, parameters: Tree, gradients: Tree, state: optax.OptState
) -> tuple[Tree, optax.OptState]:
    """One step: the new parameters and the optimizer's new state."""
    return optimizer.descend(rule, parameters, gradients, state)[:2]


def chosen(condition: Bool[Array, ""], new: Tree, old: Tree) -> Tree:
    """`new` where the scalar condition holds, else `old`, leaf by leaf."""
    return jax.tree.map(lambda a, b: jax.numpy.where(condition, a, b), new, old)
