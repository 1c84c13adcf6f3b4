"""Scans over time whose parameter gradients are formed once, after the backward pass, for all steps together.

`recurrence` is for CPUs: it keeps only the state of every step, and computes each step again in the backward pass.
`batched_recurrence` is for accelerators: everything that does not depend on the previous step is computed for all steps
together.
"""

import operator
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
from jaxtyping import PyTree

Step = Callable[[PyTree, PyTree, PyTree], tuple[PyTree, PyTree]]


@partial(jax.custom_vjp, nondiff_argnums=(0, 4))
def recurrence(step: Step, parameters: PyTree, carry: PyTree, inputs: PyTree, carry_axes: Any) -> Any:
    """Outputs [time, batch, …] of `carry, output = step(parameters, carry, input)` along time, for a batch of streams.

    `step` is unbatched. Inputs are [time, batch, …]; the batch axis of each leaf of `carry` is given by `carry_axes`, a
    pytree of integers. All leaves are floating-point.

    Equals `jax.lax.scan` and its gradients. There, backpropagation adds every step's parameter gradient, a product of
    few rows, to buffers as large as the parameters. Here the backward scan carries only the gradient of the state, and
    recomputes the step from the state before it, which is all that is kept; the parameters' gradients then come from
    one product over all steps.
    """
    return _run(step, parameters, carry, inputs, carry_axes)[0]


def _batched(step: Step, carry_axes: Any) -> Callable:
    return jax.vmap(step, (None, carry_axes, 0), (carry_axes, 0))


def _run(step, parameters, carry, inputs, carry_axes):
    """Outputs, and the carry before every step."""

    def advance(carry, x):
        after, output = _batched(step, carry_axes)(parameters, carry, x)
        return after, (output, carry)

    return jax.lax.scan(advance, carry, inputs)[1]


def _forward(step, parameters, carry, inputs, carry_axes):
    outputs, before = _run(step, parameters, carry, inputs, carry_axes)
    return outputs, (parameters, inputs, before)


def _backward(step, carry_axes, kept, gradients):
    parameters, inputs, before = kept
    batched = _batched(step, carry_axes)

    def retreat(following, xs):
        x, carry, gradient = xs
        _, pull = jax.vjp(lambda carry: batched(parameters, carry, x), carry)
        return pull((following, gradient))[0], following

    nothing = jax.tree.map(lambda leaf: jnp.zeros_like(leaf[0]), before)
    first, following = jax.lax.scan(retreat, nothing, (inputs, before, gradients), reverse=True)

    # Time and batch become one axis, at the place of the batch axis.
    def join(leaf, axis):
        leaf = jnp.moveaxis(leaf, 0, axis)
        return leaf.reshape(*leaf.shape[:axis], -1, *leaf.shape[axis + 2 :])

    def flat(tree, axes=0):
        return jax.tree.map(join, tree, jax.tree.map(lambda _: 0, tree) if axes == 0 else axes)

    carries, xs = flat(before, carry_axes), flat(inputs)
    _, pull = jax.vjp(lambda parameters, xs: batched(parameters, carries, xs), parameters, xs)
    for_parameters, for_inputs = pull((flat(following, carry_axes), flat(gradients)))
    for_inputs = jax.tree.map(lambda leaf, like: leaf.reshape(like.shape), for_inputs, inputs)
    return for_parameters, first, for_inputs


recurrence.defvjp(_forward, _backward)


def scan_in_pieces(advance: Callable, carry: PyTree, xs: PyTree, size: int) -> tuple:
    """`jax.lax.scan` whose loop makes `size` steps at a time, on inputs that are fetched for all of them at once.

    XLA does not fuse a kernel that fetches its own part of a loop's inputs with the next kernel.
    """
    length = len(jax.tree.leaves(xs)[0])
    size = min(size, length)
    turns, left = divmod(length, size)

    def steps(carry: PyTree, piece: PyTree, number: int) -> tuple:
        outputs = []
        for i in range(number):
            carry, output = advance(carry, jax.tree.map(operator.itemgetter(i), piece))
            outputs.append(output)
        return carry, jax.tree.map(lambda *leaves: jnp.stack(leaves), *outputs)

    def some(carry: PyTree, piece: PyTree) -> tuple:
        return steps(carry, jax.lax.optimization_barrier(piece), size)

    whole = jax.tree.map(lambda x: x[: turns * size].reshape(turns, size, *x.shape[1:]), xs)
    carry, outputs = jax.lax.scan(some, carry, whole)
    outputs = jax.tree.map(lambda x: x.reshape(turns * size, *x.shape[2:]), outputs)
    if left:
        carry, rest = steps(carry, jax.tree.map(lambda x: x[turns * size :], xs), left)
        outputs = jax.tree.map(lambda *parts: jnp.concatenate(parts), outputs, rest)
    return carry, outputs


Before = Callable[[PyTree, PyTree, PyTree], PyTree]


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 5))
def batched_recurrence(
    step: Step, before: Before, parameters: PyTree, carry: PyTree, inputs: PyTree, unroll: int = 1
) -> Any:
    """Outputs [time, …] of `carry, output = step(parameters, carry, input)` along time, with few kernels for a step.

    All leaves are floating-point, and a batch is part of their shapes. `before(carry, outputs, inputs)` returns the
    carry before every step, [time, …], given the first one; it must be exactly what the scan carried, so that only the
    outputs need to be stored.

    Equals `jax.lax.scan` and its gradients. Since the carries are known when the backward pass begins, everything that
    a step's derivative needs is computed for all steps at once, and the backward scan computes only what is linear in
    the state's gradient.
    """
    return scan_in_pieces(partial(step, parameters), carry, inputs, unroll)[1]


def _batched_forward(step, before, parameters, carry, inputs, unroll):
    outputs = batched_recurrence(step, before, parameters, carry, inputs, unroll)
    return outputs, (parameters, carry, inputs, outputs)


def _batched_backward(step, before, unroll, kept, gradients):
    parameters, carry, inputs, outputs = kept
    carries = before(carry, outputs, inputs)
    fixed, varying, pull = _residuals(step, parameters, carries, inputs)

    def retreat(following, xs):
        residuals, gradient = xs
        return pull(fixed, residuals, (following, gradient)), following

    nothing = jax.tree.map(jnp.zeros_like, carry)
    # Not in pieces: the inputs of a step are large, and each kernel fetches its own faster.
    first, following = jax.lax.scan(retreat, nothing, (varying, gradients), reverse=True, unroll=unroll)

    def forward(parameters, inputs):
        return jax.vmap(step, (None, 0, 0))(parameters, carries, inputs)

    for_parameters, for_inputs = jax.vjp(forward, parameters, inputs)[1]((following, gradients))
    return for_parameters, first, for_inputs


batched_recurrence.defvjp(_batched_forward, _batched_backward)


def _residuals(step: Step, parameters: PyTree, carries: PyTree, inputs: PyTree) -> tuple[list, list, Callable]:
    """What the derivative of a step by its carry needs: what is the same for all steps, what is not [time, …], and
    `pull(fixed, varying, cotangents)`, the derivative's transpose at a step."""
    structure: Any = None

    def linearized(parameters, carry, x):
        nonlocal structure
        _, pull = jax.vjp(lambda carry: step(parameters, carry, x), carry)
        leaves, structure = jax.tree.flatten(pull)
        return leaves

    first = jax.tree.map(lambda leaf: leaf[0], (carries, inputs))
    fixed = _independent(linearized, (parameters, *first), len(jax.tree.leaves(parameters)))
    leaves = linearized(parameters, *first)

    def some(*arguments):
        return [leaf for leaf, alike in zip(linearized(*arguments), fixed, strict=True) if not alike]

    varying = jax.vmap(some, (None, 0, 0))(parameters, carries, inputs)

    def pull(fixed_leaves, varying_leaves, cotangents):
        alike, others = iter(fixed_leaves), iter(varying_leaves)
        both = [next(alike) if same else next(others) for same in fixed]
        return jax.tree.unflatten(structure, both)(cotangents)[0]

    return [leaf for leaf, same in zip(leaves, fixed, strict=True) if same], varying, pull


def _independent(function: Callable, arguments: tuple, number: int) -> list[bool]:
    """Which results of a function depend only on the first `number` leaves of its arguments and on constants."""
    jaxpr = jax.make_jaxpr(function)(*arguments).jaxpr
    dependent = set(jaxpr.invars[number:])

    def depends(variable: Any) -> bool:
        return not isinstance(variable, jax.extend.core.Literal) and variable in dependent

    for equation in jaxpr.eqns:
        if any(depends(variable) for variable in equation.invars):
            dependent.update(equation.outvars)
    return [not depends(variable) for variable in jaxpr.outvars]
