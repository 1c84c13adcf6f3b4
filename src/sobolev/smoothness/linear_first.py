"""Squared Jacobian norms of networks that begin with a linear layer, without gradients with respect to the input.

With y = x W + b the first layer's output and v_i the gradient of <eps_i, q_i> with respect to y, the gradient with
respect to x is W v_i, so that ||J_i^T eps_i||^2 = v_i^T (W^T W) v_i: one Gram matrix per call replaces K gradients of
the input's size per state.
"""

from collections.abc import Callable
from functools import partial
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sobolev.smoothness.means import mean_of_sums


@runtime_checkable
class LinearFirst(Protocol):
    """A map from x to a table of probabilities: linear, anything, linear, then row-wise probabilities.

    Unbatched. The parts are fields or properties of, for example, an Equinox module. Every function computes in the
    dtype of its argument.
    """

    @property
    def first_kernel(self) -> Float[Array, "inputs hidden"]:
        """W of y = x W + b."""
        ...

    @property
    def first_bias(self) -> Float[Array, " hidden"]:
        """b of y = x W + b."""
        ...

    @property
    def last_kernel(self) -> Float[Array, "features rows_classes"]:
        """Kernel of the logits; columns i * classes to (i + 1) * classes belong to row i of the table."""
        ...

    @property
    def last_bias(self) -> Float[Array, " rows_classes"]:
        """Bias of the logits."""
        ...

    @property
    def classes(self) -> int:
        """Number of entries in a row of the table."""
        ...

    def hidden(self, y: Float[Array, " hidden"]) -> Float[Array, " features"]:
        """Maps the first linear layer's output to the last linear layer's input."""
        ...

    def probabilities(self, logits: Float[Array, "rows classes"]) -> Float[Array, "rows classes"]:
        """Maps each row of logits to a row of probabilities, independently of the others, for any number of rows."""
        ...


def probability_table(network: LinearFirst, x: Float[Array, " inputs"]) -> Float[Array, "rows classes"]:
    """The table of `network` at one input x, computed from its parts."""
    features = network.hidden(x @ network.first_kernel + network.first_bias)
    logits = features @ network.last_kernel + network.last_bias
    return network.probabilities(logits.reshape(-1, network.classes))


def as_function(table: Callable[[Array], Array] | LinearFirst) -> Callable[[Array], Array]:
    """A map from x [d] to its table [K, C] as a function; a `LinearFirst` becomes one."""
    return partial(probability_table, table) if isinstance(table, LinearFirst) else table


@jax.custom_jvp
def gram(kernel: Float[Array, "inputs hidden"]) -> Float[Array, "hidden hidden"]:
    """W^T W. Its custom derivative takes one product, W (G + G^T), where automatic differentiation takes two."""
    return kernel.T @ kernel


@gram.defjvp
def _gram_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (kernel,), (change,) = primals, tangents
    half = kernel.T @ change
    return gram(kernel), half + half.T


@jax.custom_jvp
def quadratic(v: Float[Array, "*batch hidden"], matrix: Float[Array, "hidden hidden"]) -> Float[Array, "*batch"]:
    """v^T M v for a symmetric M. Its custom derivative, 2 M v, reuses the product of the value."""
    return jnp.sum((v @ matrix) * v, -1)


@quadratic.defjvp
def _quadratic_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (v, matrix), (dv, dmatrix) = primals, tangents
    image = v @ matrix
    return jnp.sum(image * v, -1), 2 * jnp.sum(image * dv, -1) + jnp.sum((v @ dmatrix) * v, -1)


@jax.custom_jvp
def quadratic_sums(
    v: Float[Array, "states rows hidden"], matrix: Float[Array, "hidden hidden"]
) -> Float[Array, " rows"]:
    """`quadratic`, summed over states, with one long axis in all products, which saves copies."""
    return jnp.sum(_image(v, matrix) * v, (0, 2))


@quadratic_sums.defjvp
def _quadratic_sums_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (v, matrix), (dv, dmatrix) = primals, tangents
    double = _image(v, 2 * matrix)
    change = jnp.sum(double * dv, (0, 2)) + jnp.sum(_image(v, dmatrix) * v, (0, 2))
    return jnp.sum(double * v, (0, 2)) / 2, change


def _image(v: Float[Array, "states rows hidden"], matrix: Float[Array, "hidden hidden"]) -> Array:
    return (v.reshape(-1, v.shape[-1]) @ matrix).reshape(v.shape)


def fast_energies(
    network: LinearFirst,
    inputs: Float[Array, "states inputs"],
    probes: Float[Array, "states rows classes"],
    rows: Int[Array, " rows"] | None,
    joint: bool,
) -> Float[Array, "states energies"]:
    """||grad_x <eps_i, q_i>||^2 for every state and every row in `rows` (None: all).

    With `joint`, ||grad_x sum_i <eps_i, q_i>||^2: one number per state.
    """
    v = _cotangents(network, _row_blocks(network, rows), _preactivation(network, inputs), probes, joint)
    return quadratic(v, gram(network.first_kernel))


def fast_means(
    network: LinearFirst,
    inputs: Float[Array, "states inputs"],
    probes: Float[Array, "states rows classes"],
    rows: Int[Array, " rows"] | None,
    joint: bool,
) -> tuple[Float[Array, ""], Float[Array, " energies"]]:
    """The means of `fast_energies` over states and rows, and over states alone.

    The gradient of the first one is cheap: see `mean_of_sums`.
    """
    matrix, blocks = gram(network.first_kernel), _row_blocks(network, rows)

    def sums(y: Float[Array, "part hidden"], probes: Float[Array, "part rows classes"]) -> Float[Array, " energies"]:
        return quadratic_sums(_cotangents(network, blocks, y, probes, joint), matrix)

    return mean_of_sums(sums, _preactivation(network, inputs), probes)


def _preactivation(network: LinearFirst, inputs: Float[Array, "states inputs"]) -> Float[Array, "states hidden"]:
    return inputs @ network.first_kernel + network.first_bias[None]


def _cotangents(
    network: LinearFirst,
    blocks: tuple[Array, Array],
    preactivation: Float[Array, "states hidden"],
    probes: Float[Array, "states rows classes"],
    joint: bool,
) -> Float[Array, "states energies hidden"]:
    """v: the gradients of <eps_i, q_i>, or with `joint` of their sum, with respect to the first layer's output."""
    (kernel, bias), (features, pull_hidden) = blocks, jax.vjp(jax.vmap(network.hidden), preactivation)
    logits = jnp.einsum("nf,frc->nrc", features, kernel) + bias
    _, pull_probabilities = jax.vjp(jax.vmap(network.probabilities), logits)
    (slopes,) = pull_probabilities(probes)
    if joint:
        return pull_hidden(jnp.einsum("nrc,frc->nf", slopes, kernel))[0][:, None]
    return jax.vmap(pull_hidden, 1, 1)(jnp.einsum("nrc,frc->nrf", slopes, kernel))[0]


def _row_blocks(network: LinearFirst, rows: Int[Array, " rows"] | None) -> tuple[Array, Array]:
    """The last layer of the chosen rows: kernel [features, rows, classes] and bias [1, rows, classes]."""
    kernel = network.last_kernel.reshape(network.last_kernel.shape[0], -1, network.classes)
    bias = network.last_bias.reshape(1, -1, network.classes)
    return (kernel, bias) if rows is None else (kernel[:, rows], bias[:, rows])
