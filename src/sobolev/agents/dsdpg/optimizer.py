"""Adam under strict dtype promotion."""

from typing import Any, TypeVar, cast

import jax
import optax

from sobolev.agents.baselines.config import RatesConfig
from sobolev.agents.dsdpg.config import AdamConfig

Tree = TypeVar("Tree")


def adam(config: AdamConfig | RatesConfig, rate: float, clip: float | None = None) -> optax.GradientTransformation:
    """Adam with that learning rate, after the gradient's norm is cut to `clip`."""
    rule = optax.adam(rate, config.beta1, config.beta2, config.eps)
    return _relaxed(rule if clip is None else optax.chain(optax.clip_by_global_norm(clip), rule))


def rectified_adam(config: RatesConfig, rate: float, clip: float, decay: float = 0.0) -> optax.GradientTransformation:
    """RAdam with that learning rate, on gradients whose entries are cut to ±`clip`, with decoupled weight decay."""
    return _relaxed(
        optax.chain(
            optax.clip(clip),
            optax.scale_by_radam(config.beta1, config.beta2, config.eps),
            optax.add_decayed_weights(decay),
            optax.scale(-rate),
        )
    )


def _relaxed(chain: optax.GradientTransformation) -> optax.GradientTransformation:
    """The same rule where dtype promotion is strict."""

    def update(updates, state, params=None):
        with jax.numpy_dtype_promotion("standard"):  # optax raises floats to integer powers
            return chain.update(updates, state, params)

    return optax.GradientTransformation(chain.init, update)


def descend(rule: optax.GradientTransformation, parameters: Tree, gradients: Tree, state: Any) -> tuple[Tree, Any]:
    """One step: the new parameters and the optimizer's new state."""
    updates, state = rule.update(cast(Any, gradients), state, cast(Any, parameters))
    return cast(Tree, optax.apply_updates(cast(Any, parameters), updates)), state


def follow(target: Tree, online: Tree, rate: float) -> Tree:
    """`target`, moved towards `online` by a share of the distance."""
    return jax.tree.map(lambda old, new: old + rate * (new - old), target, online)


def chosen(condition: Any, new: Tree, old: Tree) -> Tree:
    """`new` where the scalar condition holds, else `old`, leaf by leaf."""
    return jax.tree.map(lambda a, b: jax.numpy.where(condition, a, b), new, old)
