"""Optax under strict dtype promotion, for parameters that are Equinox modules."""

from typing import Any, TypeVar, cast

import jax
import optax
from jaxtyping import PyTree

Tree = TypeVar("Tree")


def relaxed(chain: optax.GradientTransformation) -> optax.GradientTransformation:
    """The same transformation, for use under strict dtype promotion, under which optax's integer powers would fail."""

    def update(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, PyTree]:
        with jax.numpy_dtype_promotion("standard"):
            return chain.update(updates, state, params)

    return optax.GradientTransformation(chain.init, update)


def descend(
    rule: optax.GradientTransformation, parameters: Tree, gradients: Tree, state: optax.OptState
) -> tuple[Tree, optax.OptState, Tree]:
    """One step: the new parameters, the optimizer's new state, and the change of the parameters."""
    updates, state = rule.update(cast(Any, gradients), state, cast(Any, parameters))
    return cast(Tree, optax.apply_updates(cast(Any, parameters), updates)), state, cast(Tree, updates)
