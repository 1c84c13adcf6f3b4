"""Regularizers that are not built in: one does all there is to do, penalty, constraint and noise at once; the other one
has a constraint without a state."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from sobolev.smoothness import Constraint, Penalty, Regularizer, as_function


@dataclass(frozen=True)
class EverythingConfig:
    """A little of each."""

    decay: float = 0.9
    """by how much parameters are shrunk at most"""
    width: float = 0.1
    """half the width of uniform noise"""


def penalty(settings, table, inputs, key):
    """Mean squared output."""
    rows = jnp.square(jax.vmap(as_function(table))(inputs)).mean((0, 2))
    return Penalty(rows.mean(), rows)


SHRUNK = Constraint[EverythingConfig](
    init=lambda settings, tree, key: jnp.zeros((), jnp.int32),
    refresh=lambda settings, tree, count: count + 1,
    apply=lambda settings, tree, count, strength: jax.tree.map(lambda x: x * settings.decay**strength, tree),
    value=lambda settings, tree, count: count.astype(jnp.float32),
)


def noise(settings, shape, key):
    """Uniform."""
    return jax.random.uniform(key, shape, minval=-settings.width, maxval=settings.width)


EVERYTHING = Regularizer(EverythingConfig, "everything", penalty=penalty, constraint=SHRUNK, noise=noise)

STATELESS = Regularizer(
    EverythingConfig,
    "stateless",
    constraint=Constraint[EverythingConfig](
        init=lambda settings, tree, key: (),
        refresh=lambda settings, tree, state: state,
        apply=lambda settings, tree, state, strength: jax.tree.map(lambda x: x * settings.decay**strength, tree),
        value=lambda settings, tree, state: jnp.zeros(()),
    ),
)
