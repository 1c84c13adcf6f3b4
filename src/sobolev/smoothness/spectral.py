"""Spectral normalisation: kernels whose largest singular value is kept at or below a bound (Miyato et al. 2018).

The largest singular value sigma of every kernel W is estimated by power iteration, and W min(1, c / sigma)^lambda takes
its place. Miyato et al. (arXiv 1802.05957) divide by sigma always; here a kernel below the bound c is left alone, so
that this is a constraint and no change of scale. With lambda = 1 it holds whole; below 1 the singular value is the
geometric mean sigma^(1 - lambda) c^lambda: lambda multiplies the logarithm of the factor.

A map of linear layers and functions of known slope has then a Lipschitz constant of at most the product of bounds and
slopes, everywhere: the global constraint that paper 1 (Section 2) names as the alternative to a local penalty. Where a
layer's output is normalised (RMS norm), its kernel's scale hardly matters, and so nor does the bound: in Dreamer's
tables what binds is the kernel of the logits.
"""

from dataclasses import dataclass
from typing import Annotated, TypeVar

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from sobolev.smoothness.regularizer import Constraint, Regularizer

Tree = TypeVar("Tree")
Vectors = tuple[Float[Array, " _"], ...]
"""An estimate of the first right singular vector of each kernel, in the order of the tree's leaves."""

BURN_IN = 50
"""Power iterations from a random vector, before the first update."""


@dataclass(frozen=True)
class SpectralConfig:
    """How far kernels may stretch."""

    bound: Annotated[float, Gt(0)] = 1.0
    """largest singular value c of a kernel, above 0"""
    iterations: Annotated[int, Ge(1)] = 1
    """power iterations per update; kernels change little from one to the next"""


def kernels(tree: PyTree) -> list[Float[Array, "_ _"]]:
    """The kernels of a network: its leaves that are matrices. Biases and the scales of norms are none."""
    return [leaf for leaf in jax.tree.leaves(tree) if _is_kernel(leaf)]


def init_vectors(tree: PyTree, key: PRNGKeyArray, iterations: int = BURN_IN) -> Vectors:
    """First right singular vectors of a network's kernels, by so many power iterations from random ones."""
    found = kernels(tree)
    keys = jax.random.split(key, max(1, len(found)))
    vectors = tuple(_unit(jax.random.normal(k, w.shape[1:], w.dtype)) for k, w in zip(keys, found, strict=False))
    return power_iteration(tree, vectors, iterations)


def power_iteration(tree: PyTree, vectors: Vectors, iterations: int = 1) -> Vectors:
    """v <- W^T W v / ||W^T W v||, so many times for each kernel; nothing is differentiated through it."""

    def iterate(kernel: Float[Array, "inputs outputs"], vector: Float[Array, " outputs"]) -> Float[Array, " outputs"]:
        def step(_: int | Int[Array, ""], v: Float[Array, " outputs"]) -> Float[Array, " outputs"]:
            moved = kernel.T @ (kernel @ v)
            # A kernel of zeros has no singular vector: the old one is kept.
            return jnp.where(jnp.any(moved != 0), _unit(moved), v)

        return jax.lax.fori_loop(0, iterations, step, vector)

    with jax.default_matmul_precision("float32"):
        stopped = jax.lax.stop_gradient((kernels(tree), vectors))
        return tuple(iterate(kernel, vector) for kernel, vector in zip(*stopped, strict=True))


def singular_values(tree: PyTree, vectors: Vectors) -> Float[Array, " kernels"]:
    """sigma = ||W v|| of every kernel: at most its largest singular value, and close to it for a close v.

    Differentiable in the kernels, with v held constant: u v^T, which is the largest singular value's own derivative.
    """
    with jax.default_matmul_precision("float32"):
        return jnp.stack([_norm(w @ jax.lax.stop_gradient(v)) for w, v in zip(kernels(tree), vectors, strict=True)])


def spectrally_bounded(
    tree: Tree, vectors: Vectors, bound: float | Float[Array, ""] = 1.0, strength: float | Float[Array, ""] = 1.0
) -> Tree:
    """The network with every kernel W replaced by W min(1, bound / sigma)^strength; all else stays as it is."""
    sigmas = iter(singular_values(tree, vectors))

    def bounded(leaf: PyTree) -> PyTree:
        if not _is_kernel(leaf):
            return leaf
        # Above the bound alone there is something to differentiate, and sigma cannot be 0.
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
