"""Pytrees with a seed axis, and one report for several updates."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from sobolev.agents.api import Report


@jax.jit
def joined(trees: list[PyTree]) -> PyTree:
    """Concatenates trees with leaves [1, …] into one with leaves [len(trees), …]."""
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *trees)


def map_axes(change: Callable[[Array], Array], trees: tuple[PyTree, ...], axes: PyTree) -> tuple[PyTree, ...]:
    """Applies `change` to the leaves whose entry in `axes` (a prefix of `trees`, or 0 for all) is 0."""

    def below(axis: int | None, tree: PyTree) -> PyTree:
        return tree if axis is None else jax.tree.map(change, tree)

    axes = (axes,) * len(trees) if axes == 0 else axes
    return jax.tree.map(below, axes, trees, is_leaf=lambda axis: axis is None)


def with_another(before: Report, report: Report, number: Array) -> Report:
    """The report of `number` + 1 updates, given that of the first `number` and that of the last one.

    It has the mean metrics, whether all were finite, and the batch of the last one, or of the first that was not
    finite.
    """
    share = 1 / (number.astype(jnp.float32) + 1)

    def mean(old: Array, new: Array) -> Array:
        return old + share * (new - old)

    def first_failure(old: Array, new: Array) -> Array:
        return jnp.where(before.finite.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    return dataclasses.replace(
        report,
        metrics=jax.tree.map(mean, before.metrics, report.metrics),
        finite=before.finite & report.finite,
        batch=jax.tree.map(first_failure, before.batch, report.batch),
    )
