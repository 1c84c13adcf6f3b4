"""Functions whose derivative takes few kernels on an accelerator, for use in the loops of recurrences.

A sum along an axis, whose result is used all along that axis, ends one kernel and begins another.
"""

from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sobolev.nn.layers import NORM_EPSILON, Norm


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def activated_product(
    multiply: Callable[[Array, Array], Array],
    y: Float[Array, "batch parts units"],
    scales: Float[Array, "parts units"],
    kernel: Float[Array, "..."],
) -> Any:
    """multiply(silu(norm(y)), kernel): RMS norm of every part, SiLU, and a product with all parts side by side.

    `multiply` is bilinear, and maps [batch, parts · units] and the kernel. With G the gradient of the product's input,
    u the normalised y and a the slope of SiLU times scale and root, the gradient of y is a · G − u · mean(u · a · G).
    That mean is a product of the output's gradient with multiply(u · a, kernel), which does not wait for any gradient:
    in a recurrence it is known for all steps before the backward pass begins.
    """
    return multiply(activated(y, scales), kernel)


def activated(y: Float[Array, "batch parts units"], scales: Float[Array, "parts units"]) -> Float[Array, "batch _"]:
    """silu(norm(y)), the parts side by side."""
    each = jax.vmap(lambda y, scale: jax.nn.silu(Norm(scale)(y)))
    return jax.vmap(each, (0, None))(y, scales).reshape(len(y), -1)


def slopes(y: Float[Array, "batch parts units"], scales: Float[Array, "parts units"]) -> tuple[Array, Array, Array]:
    """Of norm and SiLU in float32, [batch, parts, units] each: u, the normalised y; the slope of SiLU; and a, that
    slope times scale and root. With the gradient G of silu(norm(y)), that of y is a · G − u · mean(u · a · G)."""
    wide = y.astype(jnp.float32)
    root = jax.lax.rsqrt(jnp.mean(jnp.square(wide), -1, keepdims=True) + NORM_EPSILON)
    unit = wide * root
    z = unit * scales.astype(jnp.float32)[None]
    gate = jax.nn.sigmoid(z)
    slope = gate * (1 + z * (1 - gate))
    return unit, slope, slope * scales.astype(jnp.float32)[None] * root


def _activated_forward(multiply: Callable, y: Array, scales: Array, kernel: Array) -> tuple[Array, Any]:
    batch, parts, units = y.shape
    unit, slope, factor = slopes(y, scales)
    # Each part alone, with zeros in the place of the others.
    alone = jnp.eye(parts)[None, :, :, None] * (unit * factor)[:, None]
    images = multiply(alone.reshape(batch * parts, -1).astype(kernel.dtype), kernel)
    images = images.reshape(batch, parts, -1).astype(jnp.float32) / units
    x = activated(y, scales)
    return multiply(x, kernel), (x, unit, slope, factor, images, scales, kernel, jnp.zeros((), y.dtype))


def _activated_backward(multiply: Callable, kept: Any, gradient: Array) -> tuple[Array, Array, Array]:
    x, unit, slope, factor, images, scales, kernel, like = kept
    for_x, for_kernel = jax.vjp(multiply, x, kernel)[1](gradient)
    for_x = for_x.reshape(unit.shape).astype(jnp.float32)
    flat = gradient.reshape(len(x), 1, -1).astype(jnp.float32)
    means = jnp.sum(flat * images, -1, keepdims=True)
    for_scales = jnp.sum(unit * slope * for_x, 0).astype(scales.dtype)
    return (factor * for_x - unit * means).astype(like.dtype), for_scales, for_kernel


activated_product.defvjp(_activated_forward, _activated_backward)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def mixed_softmax(logits: Float[Array, "*batch rows classes"], unimix: float) -> Float[Array, "*batch rows classes"]:
    """`probabilities` of tables, with a gradient that adds up the classes one by one."""
    return _softmax_forward(logits, unimix)[0]


def _softmax_forward(logits: Array, unimix: float) -> tuple[Array, Any]:
    softmax = jax.nn.softmax(logits.astype(jnp.float32), -1)
    return (1 - unimix) * softmax + unimix / logits.shape[-1], (softmax, jnp.zeros((), logits.dtype))


def _softmax_backward(unimix: float, kept: Any, gradient: Array) -> tuple[Array]:
    softmax, like = kept
    weighed = (1 - unimix) * softmax * gradient
    total = reduce(jnp.add, [weighed[..., i, None] for i in range(weighed.shape[-1])])
    return ((weighed - softmax * total).astype(like.dtype),)


mixed_softmax.defvjp(_softmax_forward, _softmax_backward)
