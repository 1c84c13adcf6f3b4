"""How fast both sides of equations (3) and (4) of arXiv 2605.23089 converge, on a small random network in float64."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from sobolev.experiments.api import Record
from sobolev.smoothness import identities

STEPS = tuple(float(step) for step in 10.0 ** -np.arange(1, 10))
"""Steps h of equation (3), from 1e-1 to values at which rounding dominates."""
FITTED = slice(1, 5)
"""The steps between which the order is measured: 1e-2 to 1e-5."""
NUMBERS = (2, 8, 32, 128, 512)
"""Numbers of directions that are averaged in equation (4)."""
DIRECTIONS, REPEATS = 16, 512
INPUTS, HIDDEN, ROWS, CLASSES = 16, 32, 8, 4


def measure(seed: int = 0) -> Record:
    """Measures the errors of both identities and their orders.

    difference [directions][steps]: | ||(f(x+hu) - f(x)) / h||^2 - ||Ju||^2 | / ||Ju||^2, expected to have order 1 in h.
    isotropic [numbers]: the root mean square error of the average of ||Ju||^2 over n directions, relative to its
    expectation ||J||_F^2 / d, expected to have order -1/2 in n. isotropic_predicted: its value in theory.
    """
    with jax.enable_x64(True):
        fn, x = _network(seed)
        keys = jax.random.split(jax.random.key(seed), 2)
        errors = jax.jit(lambda keys: _errors(fn, x, keys))(keys)
        differences, isotropic, jacobian = jax.tree.map(np.asarray, errors)
    expected = np.square(jacobian).sum() / INPUTS
    isotropic, deviation = isotropic / expected, predicted_deviation(jacobian) / expected
    orders = [identities.observed_order(STEPS[FITTED], row[FITTED].tolist()) for row in differences]
    return {
        "sizes": {"inputs": INPUTS, "hidden": HIDDEN, "rows": ROWS, "classes": CLASSES, "seed": seed},
        "steps": list(STEPS),
        "difference": differences.tolist(),
        "difference_fitted": [STEPS[FITTED][0], STEPS[FITTED][-1]],
        "difference_orders": orders,
        "numbers": list(NUMBERS),
        "repeats": REPEATS,
        "isotropic": isotropic.tolist(),
        "isotropic_predicted": [float(deviation / np.sqrt(number)) for number in NUMBERS],
        "isotropic_order": identities.observed_order(NUMBERS, isotropic.tolist()),
    }


def _errors(
    fn: identities.Map, x: Float[Array, " d"], keys: Key[Array, "2"]
) -> tuple[Float[Array, "directions steps"], Float[Array, " numbers"], Float[Array, "m d"]]:
    """Returns the relative errors of equation (3), the errors of equation (4), and the Jacobian."""

    def relative(u: Float[Array, " d"]) -> Float[Array, " steps"]:
        return identities.difference_errors(fn, x, u, STEPS) / identities.directional_energy(fn, x, u)

    differences = jax.vmap(relative)(identities.unit_directions(keys[0], DIRECTIONS, x))
    return differences, identities.isotropic_errors(fn, x, keys[1], NUMBERS, REPEATS), jax.jacfwd(fn)(x)


def predicted_deviation(jacobian: Float[np.ndarray, "m d"]) -> float:
    """Returns the standard deviation of ||Ju||^2 over uniform unit vectors u.

    With A = J^T J the fourth moments of the sphere give the variance 2 (tr(A^2) - tr(A)^2 / d) / (d (d + 2)).
    """
    square, d = jacobian.T @ jacobian, jacobian.shape[1]
    variance = 2 * (np.sum(square * square) - np.trace(square) ** 2 / d) / (d * (d + 2))
    return float(np.sqrt(variance))


def sentences(record: Record) -> list[str]:
    """Returns a sentence for each identity with the observed and the expected order."""
    orders = record["difference_orders"]
    return [
        f"equation (3): observed order {np.mean(orders):.3f} in h ({min(orders):.3f} to {max(orders):.3f} over "
        f"{len(orders)} directions), expected 1",
        f"equation (4): observed order {record['isotropic_order']:.3f} in the number of directions, expected -0.5",
    ]


def _network(seed: int) -> tuple[identities.Map, Float[Array, " inputs"]]:
    """Returns a random layer with SiLU and a row-wise softmax, and an input."""
    keys = jax.random.split(jax.random.key(seed + 1), 3)
    first = jax.random.normal(keys[0], (INPUTS, HIDDEN), jnp.float64) / np.sqrt(INPUTS)
    last = jax.random.normal(keys[1], (HIDDEN, ROWS * CLASSES), jnp.float64) * 2 / np.sqrt(HIDDEN)

    def fn(x: Float[Array, " inputs"]) -> Float[Array, " outputs"]:
        return jax.nn.softmax((jax.nn.silu(x @ first) @ last).reshape(ROWS, CLASSES)).reshape(-1)

    return fn, jax.random.normal(keys[2], (INPUTS,), jnp.float64)
