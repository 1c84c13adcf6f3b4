"""DreamerV3's optimizer: per-tensor adaptive clipping, RMS scaling, momentum, warmed-up learning rate."""

from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from sobolev.agents import optimizer
from sobolev.agents.dreamer.config import OptimizerConfig
from sobolev.agents.optimizer import relaxed

Tree = TypeVar("Tree")


def adaptive_clip(clip: float, floor: float = 1e-3) -> optax.GradientTransformation:
    """Scales each tensor's gradient down to norm `clip` · max(floor, ‖tensor‖) where it is larger.

    Optax's transformation of this name works per output unit; DreamerV3's works per tensor.
    """

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        def scaled(gradient: Array, parameter: Array) -> Array:
            largest = clip * jnp.maximum(floor, _norm(parameter))
            return gradient * (1.0 / jnp.maximum(1.0, _norm(gradient) / largest))

        return jax.tree.map(scaled, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def build_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """The chain as one gradient transformation, to be applied with `optax.apply_updates`."""
    chain = optax.chain(
        adaptive_clip(config.clip),
        optax.scale_by_rms(config.beta2, config.eps, eps_in_sqrt=False, bias_correction=True),
        optax.ema(config.beta1, debias=True),
        optax.scale_by_schedule(lambda update: -learning_rate(config, jnp.asarray(update))),
    )

    return relaxed(chain)


def descend(
    config: OptimizerConfig, parameters: Tree, gradients: Tree, state: optax.OptState
) -> tuple[Tree, optax.OptState, Array]:
    """One step: the new parameters, the optimizer's new state, and the norm of the change."""
    parameters, state, updates = optimizer.descend(build_optimizer(config), parameters, gradients, state)
    return parameters, state, optax.tree.norm(updates)


def follow(slow: Tree, fast: Tree, rate: float) -> Tree:
    """`slow`, moved towards `fast` by a share of the distance."""
    return cast(Tree, optax.incremental_update(cast(Any, fast), cast(Any, slow), rate))


def learning_rate(config: OptimizerConfig, update: Int[Array, ""]) -> Float[Array, ""]:
    """The learning rate of an update (the first one is 0): from 0 up to its full value over the warm-up."""
    return config.learning_rate * jnp.minimum(1.0, update.astype(jnp.float32) / max(1, config.warmup))


def _norm(x: Array) -> Array:
    return jnp.sqrt(jnp.sum(jnp.square(x)))
