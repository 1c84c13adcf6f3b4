"""Spectral normalisation: kernels whose largest singular value is kept at or below a bound (Miyato et al. 2018).

The largest singular value sigma of every kernel W is estimated by power iteration, and W is replaced by
W min(1, c / sigma)^lambda. Miyato et al. (arXiv 1802.05957) always divide by sigma; here a kernel below the bound c
does not change, so that this is a constraint and not a change of scale. With lambda = 1 the bound holds. With a smaller
lambda, a larger singular value becomes the geometric mean sigma^(1 - lambda) c^lambda.

A map that consists of linear layers and functions of bounded slope then has a Lipschitz constant of at most the product
of the bounds and slopes, everywhere. This is the global constraint that paper 1 (Section 2) names as the alternative to
a local penalty. If a layer's output is normalised (RMS norm), the scale of its kernel has almost no effect, and neither
has the bound: in Dreamer's tables, it acts through the kernel of the logits.
"""

from dataclasses import dataclass
from typing import Annotated, TypeVar

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from sobolev.smoothness.regularizers.api import Constraint, Regularizer

Tree = TypeVar("Tree")
Vectors = tuple[Float[Array, " _"], ...]
"""An estimate of the first right singular vector of each kernel, in the order of the tree's leaves."""

BURN_IN = 50
"""Number of power iterations from a random vector, before the first update."""


@dataclass(frozen=True)
class SpectralConfig:
    """Bound on the singular values of kernels."""

    bound: Annotated[float, Gt(0)] = 1.0
    """bound c on the largest singular value of a kernel, above 0"""
    iterations: Annotated[int, Ge(1)] = 1
    """power iterations per update; one suffices, since kernels change little between updates"""


def kernels(tree: PyTree) -> list[Float[Array, "_ _"]]:
    """The kernels of a network: its leaves that are matrices, and not biases or the scales of norms."""
    return [leaf for leaf in jax.tree.leaves(tree) if _is_kernel(leaf)]


def init_vectors(tree: PyTree, key: PRNGKeyArray, iterations: int = BURN_IN) -> Vectors:
    """Estimates of the first right singular vectors of a network's kernels, by power iteration from random ones."""
    found = kernels(tree)
    keys = jax.random.split(key, max(1, len(found)))
    vectors = tuple(_unit(jax.random.normal(k, w.shape[1:], w.dtype)) for k, w in zip(keys, found, strict=False))
    return power_iteration(tree, vectors, iterations)


def power_iteration(tree: PyTree, vectors: Vectors, iterations: int = 1) -> Vectors:
    """v <- W^T W v / ||W^T W v||, repeated `iterations` times for each kernel; constant to derivatives."""

    def iterate(kernel: Float[Array, "inputs outputs"], vector: Float[Array, " outputs"]) -> Float[Array, " outputs"]:
        def step(_: int | Int[Array, ""], v: Float[Array, " outputs"]) -> Float[Array, " outputs"]:
            moved = kernel.T @ (kernel @ v)
            # A kernel of zeros has no singular vector: v does not change.
            return jnp.where(jnp.any(moved != 0), _unit(moved), v)

        return jax.lax.fori_loop(0, iterations, step, vector)

    with jax.default_matmul_precision("float32"):
        stopped = jax.lax.stop_gradient((kernels(tree), vectors))
        return tuple(iterate(kernel, vector) for kernel, vector in zip(*stopped, strict=True))


def singular_values(tree: PyTree, vectors: Vectors) -> Float[Array, " kernels"]:
    """sigma = ||W v|| of every kernel, which is at most its largest singular value, and equal to it for the exact v.

    Differentiable in the kernels with v held constant: u v^T, the derivative of the largest singular value.
    """
    with jax.default_matmul_precision("float32"):
        return jnp.stack([_norm(w @ jax.lax.stop_gradient(v)) for w, v in zip(kernels(tree), vectors, strict=True)])


def spectrally_bounded(
    tree: Tree, vectors: Vectors, bound: float | Float[Array, ""] = 1.0, strength: float | Float[Array, ""] = 1.0
) -> Tree:
    """The network with every kernel W replaced by W min(1, bound / sigma)^strength; other leaves do not change."""
    sigmas = iter(singular_values(tree, vectors))

    def bounded(leaf: PyTree) -> PyTree:
        if not _is_kernel(leaf):
            return leaf
        # Below the bound the factor is constant 1, also for sigma = 0.
        sigma = next(sigmas)
        factor = bound / jnp.maximum(sigma, bound)
        return leaf * jnp.asarray(factor**strength, leaf.dtype)

    return jax.tree.map(bounded, tree)


def _is_kernel(leaf: PyTree) -> bool:
    return getattr(leaf, "ndim", None) == 2 and jnp.issubdtype(leaf.dtype, jnp.floating)


def _unit(vector: Float[Array, " size"]) -> Float[Array, " size"]:
    return vector / jnp.maximum(_norm(vector), jnp.finfo(vector.dtype).tiny)


def _norm(vector: Float[Array, " size"]) -> Float[Array, ""]:
    """The 2-norm, with gradient 0 at 0."""
    square = jnp.sum(jnp.square(vector))
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


CONSTRAINT = Constraint[SpectralConfig](
    init=lambda settings, tree, key: init_vectors(tree, key),
    refresh=lambda settings, tree, vectors: power_iteration(tree, vectors, settings.iterations),
    apply=lambda settings, tree, vectors, strength: spectrally_bounded(tree, vectors, settings.bound, strength),
    value=lambda settings, tree, vectors: singular_values(tree, vectors).max(),
)

SPECTRAL = Regularizer(
    SpectralConfig, "spectral", constraint=CONSTRAINT, coefficient=1.0, defaults={"schedule": "none"}
)
