"""DreamerV3's optimizer: adaptive clipping of each tensor, RMS scaling, momentum, learning rate with warm-up."""

from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PyTree

from sobolev.agents import optimizer
from sobolev.agents.dreamer.config import OptimizerConfig
from sobolev.agents.optimizer import relaxed
from sobolev.system.target import for_accelerator

Tree = TypeVar("Tree")


def adaptive_clip(clip: float, floor: float = 1e-3) -> optax.GradientTransformation:
    """Scales each tensor's gradient down to norm `clip` · max(floor, ‖tensor‖) if it is larger.

    `optax.adaptive_grad_clip` clips the gradient of every output unit; DreamerV3 clips that of every tensor.
    """

    def update(updates: PyTree, state: optax.OptState, params: PyTree | None = None) -> tuple[PyTree, optax.OptState]:
        def scaled(gradient: Array, size: Array, parameter_size: Array) -> Array:
            largest = clip * jnp.maximum(floor, parameter_size)
            return gradient * (1.0 / jnp.maximum(1.0, size / largest))

        return jax.tree.map(scaled, updates, norms(updates), norms(params)), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def build_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """The optimizer as one gradient transformation, whose updates are added to the parameters."""
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
    return parameters, state, tree_norm(updates)


def learning_rate(config: OptimizerConfig, update: Int[Array, ""]) -> Float[Array, ""]:
    """The learning rate at an update, counted from 0: it rises linearly from 0 over the warm-up."""
    return config.learning_rate * jnp.minimum(1.0, update.astype(jnp.float32) / max(1, config.warmup))


def norms(tree: Tree) -> Tree:
    """The norm of every tensor of a tree.

    On an accelerator tensors are concatenated, so that the sums of their squares take a few kernels for all of them.
    """
    if not for_accelerator():
        return jax.tree.map(_norm, tree)
    leaves, structure = jax.tree.flatten(tree)
    small = iter(_norms_together([leaf for leaf in leaves if leaf.size < LARGE]))
    return jax.tree.unflatten(structure, [next(small) if leaf.size < LARGE else _norm(leaf) for leaf in leaves])


def tree_norm(tree: PyTree) -> Float[Array, ""]:
    """The norm of all tensors of a tree together."""
    if not for_accelerator():
        return optax.tree.norm(tree)
    return _norm(jnp.stack(jax.tree.leaves(norms(tree))))


LARGE = 2**20
"""Number of entries from which on a tensor is not concatenated with others, which would copy it."""

ROW = 256
"""Number of entries in each of the partial sums that are formed first."""


def _norms_together(leaves: list[Array]) -> Float[Array, " leaves"]:
    rows = [jnp.pad(leaf.reshape(-1), (0, -leaf.size % ROW)).reshape(-1, ROW) for leaf in leaves]
    end = np.cumsum([len(each) for each in rows])
    begin = end - [len(each) for each in rows]
    number = jnp.arange(end[-1])[None]
    inside = (number >= jnp.asarray(begin)[:, None]) & (number < jnp.asarray(end)[:, None])
    sums = jnp.sum(jnp.square(jnp.concatenate(rows)), 1)
    return jnp.sqrt(jnp.sum(jnp.where(inside, sums[None], 0), 1))


def _norm(x: Array) -> Array:
    return jnp.sqrt(jnp.sum(jnp.square(x)))
