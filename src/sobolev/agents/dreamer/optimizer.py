"""DreamerV3's optimizer: per-tensor adaptive clipping, RMS scaling, momentum, warmed-up learning rate."""

from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from sobolev.agents import optimizer
from sobolev.agents.dreamer.config import OptimizerConfig
from sobolev.agents.optimizer import relaxed
from sobolev.system.target import for_accelerator

Tree = TypeVar("Tree")


def adaptive_clip(clip: float, floor: float = 1e-3, stacked: bool = False) -> optax.GradientTransformation:
    """Scales each tensor's gradient down to norm `clip` · max(floor, ‖tensor‖) where it is larger.

    Optax's transformation of this name works per output unit; DreamerV3's works per tensor. `stacked`: the leaves are
    several tensors of a shape, along their first axis.
    """

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        def scaled(gradient: Array, parameter: Array) -> Array:
            largest = clip * jnp.maximum(floor, _norm(parameter))
            return gradient * (1.0 / jnp.maximum(1.0, _norm(gradient) / largest))

        return jax.tree.map(jax.vmap(scaled) if stacked else scaled, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def build_optimizer(config: OptimizerConfig, stacked: bool = False) -> optax.GradientTransformation:
    """The chain as one gradient transformation, to be applied with `optax.apply_updates`; see `adaptive_clip`."""
    chain = optax.chain(
        adaptive_clip(config.clip, stacked=stacked),
        optax.scale_by_rms(config.beta2, config.eps, eps_in_sqrt=False, bias_correction=True),
        optax.ema(config.beta1, debias=True),
        optax.scale_by_schedule(lambda update: -learning_rate(config, jnp.asarray(update))),
    )

    return relaxed(chain)


def descend(
    config: OptimizerConfig, parameters: Tree, gradients: Tree, state: optax.OptState
) -> tuple[Tree, optax.OptState, Array]:
    """One step: the new parameters, the optimizer's new state, and the norm of the change."""
    rule = by_shape(build_optimizer(config, stacked=True)) if for_accelerator() else build_optimizer(config)
    parameters, state, updates = optimizer.descend(rule, parameters, gradients, state)
    return parameters, state, optax.tree.norm(updates)


LARGE = 2**17
"""Entries of a tensor from which on it has kernels of its own."""


def by_shape(rule: optax.GradientTransformation) -> optax.GradientTransformation:
    """A rule that treats every tensor by itself, for all tensors of a shape together: the same numbers, few kernels."""

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        leaves, structure = jax.tree.flatten(updates)
        groups: dict[Any, list[int]] = {}
        for i, leaf in enumerate(leaves):
            groups.setdefault((leaf.shape, None if leaf.size < LARGE else i), []).append(i)

        def whole(node: Any) -> bool:
            return jax.tree.structure(node) == structure

        def pack(node: Any) -> Any:
            if not whole(node):
                return node
            found = jax.tree.leaves(node)
            return {str(key): jnp.stack([found[i] for i in group]) for key, group in groups.items()}

        def unpack(node: Any) -> Any:
            if not isinstance(node, dict):
                return node
            found: list[Any] = [None] * len(leaves)
            for key, group in groups.items():
                for i, leaf in zip(group, node[str(key)], strict=True):
                    found[i] = leaf
            return jax.tree.unflatten(structure, found)

        packed = jax.tree.map(pack, (updates, state, params), is_leaf=whole)
        updates, state = rule.update(*packed)
        return jax.tree.map(unpack, (updates, state), is_leaf=lambda node: isinstance(node, dict))

    return optax.GradientTransformation(rule.init, update)


def follow(slow: Tree, fast: Tree, rate: float) -> Tree:
    """`slow`, moved towards `fast` by a share of the distance."""
    return cast(Tree, optax.incremental_update(cast(Any, fast), cast(Any, slow), rate))


def learning_rate(config: OptimizerConfig, update: Int[Array, ""]) -> Float[Array, ""]:
    """The learning rate of an update (the first one is 0): from 0 up to its full value over the warm-up."""
    return config.learning_rate * jnp.minimum(1.0, update.astype(jnp.float32) / max(1, config.warmup))


def _norm(x: Array) -> Array:
    return jnp.sqrt(jnp.sum(jnp.square(x)))
