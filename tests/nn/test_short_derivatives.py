"""Functions with short derivatives are the plain ones, in values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.nn import Norm, activated_product, mixed_softmax, probabilities


def close(found, wanted):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(("parts", "blocks"), [(1, 1), (2, 1), (1, 3)])
def test_an_activated_product_is_norm_silu_and_product(parts, blocks):
    keys = jax.random.split(jax.random.key(parts + blocks), 4)
    y, scales = jax.random.normal(keys[0], (5, parts, 6)), 1 + jax.random.normal(keys[1], (parts, 6))
    kernel = jax.random.normal(keys[2], (blocks, parts * 6 // blocks, 4))
    weights = jax.random.normal(keys[3], (5, blocks, 4))

    def multiply(x, kernel):
        return jnp.einsum("bgi,gio->bgo", x.reshape(len(x), blocks, -1), kernel)

    def plain(y, scales, kernel):
        x = [jax.vmap(lambda y, i=i: jax.nn.silu(Norm(scales[i])(y)))(y[:, i]) for i in range(parts)]
        return multiply(jnp.concatenate(x, -1), kernel)

    def ours(y, scales, kernel):
        return activated_product(multiply, y, scales, kernel)

    found, wanted = (
        jax.jit(jax.value_and_grad(lambda *a, f=f: jnp.sum(f(*a) * weights), (0, 1, 2)))(y, scales, kernel)
        for f in (ours, plain)
    )
    close(found, wanted)
    close(ours(y, scales, kernel), plain(y, scales, kernel))


@pytest.mark.parametrize("unimix", [0.0, 0.01])
def test_a_mixed_softmax_is_that_of_the_tables(unimix):
    keys = jax.random.split(jax.random.key(0), 2)
    logits, weights = 3 * jax.random.normal(keys[0], (2, 7, 4, 5)), jax.random.normal(keys[1], (2, 7, 4, 5))

    def total(function):
        return jax.jit(jax.value_and_grad(lambda logits: jnp.sum(function(logits) * weights)))(logits)

    close(
        total(lambda logits: mixed_softmax(logits, unimix)),
        total(jax.vmap(jax.vmap(lambda table: probabilities(table, unimix)))),
    )
