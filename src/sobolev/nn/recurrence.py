"""A scan over time whose parameter gradients are formed once, after the backward pass, for all steps together."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
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
