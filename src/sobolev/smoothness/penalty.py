"""The Jacobian penalty of a map from x to a K x C table of probabilities (paper 1, Section 4, equation 5).

R(x) = (1/K) sum_i ||J_i(x)||_F^2, with J_i the Jacobian of row i of the table. There are three estimators:
  rows   one Rademacher probe per row and state (Algorithm 1): (1/K) sum_i ||J_i^T eps_i||^2, unbiased because
         E[eps eps^T] = I;
  joint  one probe over all rows: (1/K) ||sum_i J_i^T eps_i||^2, with the same expectation (probes of different rows are
         independent, so that cross terms vanish), one product per state instead of K, and somewhat more variance;
  exact  R(x) itself, by C products per row: for diagnostics and tests.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from sobolev.errors import UserError, nearest
from sobolev.smoothness.linear_first import LinearFirst, fast_energies, fast_means

Table = Callable[[Array], Array] | LinearFirst
"""Any callable from x [d] to a table [K, C], or a network that begins with a linear layer (`LinearFirst`)."""

Tree = TypeVar("Tree")
ESTIMATORS = ("rows", "joint", "exact")


class Penalty(NamedTuple):
    """The penalty at a set of states."""

    value: Float[Array, ""]
    """mean over states and rows, without the coefficient"""
    rows: Float[Array, " rows"]
    """mean over states, for each penalised row; a single entry for `joint`, which does not separate rows"""


def jacobian_penalty(
    fn: Table,
    inputs: Float[Array, "states inputs"],
    key: PRNGKeyArray,
    *,
    estimator: str = "rows",
    rows: int | None = None,
    row_choice: str = "first",
) -> Penalty:
    """Mean row-wise squared Jacobian norm of `fn` over `inputs` (paper 1, equation 5 and Algorithm 1).

    Args:
        fn: maps one input [d] to a table of probabilities [K, C] (or of any other numbers). A `LinearFirst` takes a
            faster algorithm, which gives the same number for the same key.
        inputs: a batch of inputs. Those in bfloat16, and bfloat16 parameters of a pytree `fn`, are converted to
            float32.
        key: for the probes, and for the rows if they are random.
        estimator: rows, joint or exact, as described at the head of this file.
        rows: number of rows of the table that are penalised; None for all.
        row_choice: "first", the first `rows` rows, or "random", rows drawn for every call (the same for all states).

    The result is differentiable with respect to `inputs` and the arrays in `fn`. Raises UserError for an unknown
    estimator or row choice, for inputs that are not [states, d], and for a number of rows outside 1 to K.
    """
    key_rows, key_probes = jax.random.split(key)
    fn, inputs, (total, classes) = prepared(fn, inputs)
    chosen = choose_rows(key_rows, total, rows, row_choice)
    number = total if chosen is None else chosen.shape[0]
    if estimator == "exact":
        return _summary(exact_energies(fn, inputs, chosen))
    if estimator not in ESTIMATORS:
        raise nearest("estimator", estimator, ESTIMATORS)
    # Drawn along one axis, for the same numbers: with a short last axis, XLA generates twenty times as much code.
    shape = inputs.shape[0], number, classes
    probes = jax.random.rademacher(key_probes, (math.prod(shape),), _wide(inputs.dtype)).reshape(shape)
    if isinstance(fn, LinearFirst):
        with jax.default_matmul_precision("float32"):
            joint = estimator == "joint"
            value, means = fast_means(fn, inputs, probes, chosen, joint)
            return Penalty(value / number, means / number) if joint else Penalty(value, means)
    if estimator == "joint":
        return _summary(joint_energies(fn, inputs, probes, chosen)[:, None])
    return _summary(row_energies(fn, inputs, probes, chosen))


def sample_states(key: PRNGKeyArray, total: int, rho: float) -> Int[Array, " sampled"]:
    """Indices of floor(rho * total) states of `total`, at least one, without replacement (Algorithm 1, lines 4-5)."""
    # The small summand keeps 0.29 * 100 = 28.999... from losing a state.
    number = max(1, int(rho * total + 1e-9))
    return jax.random.permutation(key, total)[:number]


def choose_rows(key: PRNGKeyArray, total: int, rows: int | None, row_choice: str) -> Int[Array, " rows"] | None:
    """Indices of the penalised rows of a table of `total` rows, None for all. Raises UserError if there are too few."""
    if row_choice not in ("first", "random"):
        raise nearest("row choice", row_choice, ("first", "random"))
    if rows is None or rows == total:
        return None
    if not 1 <= rows <= total:
        raise UserError(f"cannot penalise {rows} rows of a table that has {total}: give a number from 1 to {total}")
    return jnp.arange(rows) if row_choice == "first" else jax.random.permutation(key, total)[:rows]


def prepared(
    fn: Table, inputs: Float[Array, "states inputs"]
) -> tuple[Table, Float[Array, "states inputs"], tuple[int, int]]:
    """A function and its inputs in at least float32, and the shape (K, C) of its table.

    Raises UserError for inputs that are not [states, d], or none, and for a function whose result is not a table.
    """
    if inputs.ndim != 2 or not inputs.shape[0]:
        raise UserError(f"the penalty needs inputs of shape [states, d] with at least one state, not {inputs.shape}")
    fn, inputs = widened(fn), widened(inputs)
    return fn, inputs, table_shape(fn, inputs)


def table_shape(fn: Table, inputs: Float[Array, "states inputs"]) -> tuple[int, int]:
    """The shape (K, C) of the table `fn(x)` for x in `inputs`. Raises UserError if it has another number of axes."""
    if isinstance(fn, LinearFirst):
        return fn.last_kernel.shape[1] // fn.classes, fn.classes
    shape = jax.eval_shape(fn, jax.ShapeDtypeStruct(inputs.shape[1:], inputs.dtype)).shape
    if len(shape) != 2:
        raise UserError(f"the penalty needs a function from [d] to [rows, classes]; this one gives shape {shape}")
    return shape


def row_energies(
    fn: Table,
    inputs: Float[Array, "states inputs"],
    probes: Float[Array, "states rows classes"],
    rows: Int[Array, " rows"] | None = None,
) -> Float[Array, "states rows"]:
    """||grad_x <eps_i, q_i(x)>||^2 of every state and penalised row, for given probes (Algorithm 1, lines 13 to 15)."""
    fn, inputs, probes = widened(fn), widened(inputs), probes.astype(_wide(inputs.dtype))
    with jax.default_matmul_precision("float32"):
        if isinstance(fn, LinearFirst):
            return fast_energies(fn, inputs, probes, rows, joint=False)
        energies = jax.vmap(_energy, (None, None, 0))
        return jax.vmap(lambda x, eps: energies(fn, x, _spread(fn, x, eps, rows)))(inputs, probes)


def joint_energies(
    fn: Table,
    inputs: Float[Array, "states inputs"],
    probes: Float[Array, "states rows classes"],
    rows: Int[Array, " rows"] | None = None,
) -> Float[Array, " states"]:
    """(1/K) ||grad_x sum_i <eps_i, q_i(x)>||^2 for given probes: an estimate of R(x) at every state."""
    fn, inputs, probes = widened(fn), widened(inputs), probes.astype(_wide(inputs.dtype))
    with jax.default_matmul_precision("float32"):
        if isinstance(fn, LinearFirst):
            return fast_energies(fn, inputs, probes, rows, joint=True)[:, 0] / probes.shape[1]
        whole = jax.vmap(lambda x, eps: _energy(fn, x, _spread(fn, x, eps, rows).sum(0)))(inputs, probes)
        return whole / probes.shape[1]


def exact_energies(
    fn: Table, inputs: Float[Array, "states inputs"], rows: Int[Array, " rows"] | None = None
) -> Float[Array, "states rows"]:
    """The exact ||J_i(x)||_F^2 for every state and penalised row, computed class by class."""
    fn, inputs = widened(fn), widened(inputs)
    total, classes = table_shape(fn, inputs)
    number = total if rows is None else rows.shape[0]
    eye = jnp.eye(classes, dtype=_wide(inputs.dtype))
    shape = (inputs.shape[0], number, classes)

    def one_class(unit: Float[Array, " classes"]) -> Float[Array, "states rows"]:
        return row_energies(fn, inputs, jnp.broadcast_to(unit[None, None], shape), rows)

    return jax.lax.map(one_class, eye).sum(0)


def _spread(
    fn: Callable[[Array], Array],
    x: Float[Array, " inputs"],
    probe: Float[Array, "rows classes"],
    rows: Int[Array, " rows"] | None,
) -> Float[Array, "rows total classes"]:
    """A cotangent of the whole table for every penalised row: the probe in that row, and zeros in the others."""
    total = jax.eval_shape(fn, x).shape[0]
    chosen = jnp.arange(total) if rows is None else rows
    return jax.nn.one_hot(chosen, total, dtype=probe.dtype)[:, :, None] * probe[:, None, :]


def _energy(
    fn: Callable[[Array], Array], x: Float[Array, " inputs"], cotangent: Float[Array, "total classes"]
) -> Float[Array, ""]:
    """||grad_x <cotangent, fn(x)>||^2 by one vector-Jacobian product."""
    _, pull = jax.vjp(lambda x: fn(x).astype(cotangent.dtype), x)
    return jnp.sum(jnp.square(pull(cotangent)[0]))


def _summary(energies: Float[Array, "states rows"]) -> Penalty:
    rows = energies.mean(0)
    return Penalty(rows.mean(), rows)


def _wide(dtype: jnp.dtype) -> jnp.dtype:
    """float64 for float64, otherwise float32."""
    return jnp.dtype(jnp.float64 if dtype == jnp.float64 else jnp.float32)


def widened(tree: Tree) -> Tree:
    """The same pytree with its half-precision arrays converted to float32; other leaves do not change."""
    half = (jnp.bfloat16, jnp.float16)
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float32) if getattr(leaf, "dtype", None) in half else leaf, tree)
