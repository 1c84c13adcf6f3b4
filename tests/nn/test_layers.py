"""Layers against calculations by hand, their gradients, and the spread of their initial parameters."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.nn import MLP, BlockLinear, Head, Hidden, Linear, Norm, cast_floating, over, product


def test_linear_by_hand():
    layer = Linear(jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), jnp.array([0.5, -0.5]))
    x = jnp.array([1.0, -1.0, 2.0])
    np.testing.assert_allclose(layer(x), [1 - 3 + 10 + 0.5, 2 - 4 + 12 - 0.5])
    np.testing.assert_allclose(layer(x[:1], x[1:]), layer(x))


@pytest.mark.parametrize("size", [2, 4])
def test_linear_refuses_inputs_of_another_size(size):
    with pytest.raises((ValueError, TypeError), match=str(size)):
        Linear(jnp.ones((3, 2)), jnp.zeros(2))(jnp.ones(size))


def test_block_linear_is_one_product_per_block():
    kernel = jnp.arange(2 * 3 * 2.0).reshape(2, 3, 2)
    x = jnp.array([[1.0, 2.0, 3.0], [-1.0, 0.0, 1.0]])
    y = BlockLinear(kernel, jnp.array([0.0, 1.0, 2.0, 3.0]))(x)
    np.testing.assert_allclose(y, [[2 * 2 + 3 * 4, 1 + 6 + 15 + 1], [-6 + 10 + 2, -7 + 11 + 3]])


def test_norm_by_hand():
    y = Norm(jnp.array([1.0, 2.0]))(jnp.array([3.0, -4.0]))
    np.testing.assert_allclose(y, np.array([3, -8]) / np.sqrt(12.5 + 1e-4), rtol=1e-6)
    np.testing.assert_array_equal(Norm(jnp.ones(2))(jnp.zeros(2)), [0, 0])


def test_norm_goes_over_all_axes_and_computes_in_float32():
    x = jnp.array([[300.0, 1.0], [2.0, 3.0]], jnp.bfloat16)
    y = Norm(jnp.array([1.0, 2.0, 3.0, 4.0]))(x)
    wide = np.array([[300, 1], [2, 3]]) / np.sqrt(np.mean(np.square([300, 1, 2, 3.0])))
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(jnp.float32), wide * [[1, 2], [3, 4]], rtol=4e-3)


def test_hidden_is_linear_norm_silu():
    layer = Hidden(Linear(jnp.eye(2), jnp.array([1.0, 0.0])), Norm(jnp.ones(2)))
    z = np.array([3, -1]) / np.sqrt(5 + 1e-4)
    np.testing.assert_allclose(layer(jnp.array([2.0, -1.0])), z / (1 + np.exp(-z)), rtol=1e-6)


def test_mlp_and_head_apply_their_layers_in_order():
    head = Head.init(jax.random.key(0), 5, 8, 3, 2)
    x = jax.random.normal(jax.random.key(1), (5,))
    y = x
    for layer in head.mlp.layers:
        y = layer(y)
    assert len(head.mlp.layers) == 3
    np.testing.assert_allclose(head(x[:2], x[2:]), head.output(y), rtol=1e-5, atol=1e-6)


def test_a_head_gives_float32_whatever_it_computes_in():
    head = Head.init(jax.random.key(0), 5, 8, 1, 2)
    narrow = cast_floating(head, jnp.dtype("bfloat16"))
    assert narrow.output.kernel.dtype == jnp.bfloat16
    y = narrow(jnp.ones(5, jnp.bfloat16))
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, head(jnp.ones(5)), rtol=0.05, atol=0.02)


@pytest.mark.parametrize("shape", [(7, 3), (3, 7), (4, 4)], ids=str)
def test_product_has_the_gradients_of_a_product(shape):
    keys = jax.random.split(jax.random.key(0), 3)
    kernel, x = jax.random.normal(keys[0], shape), jax.random.normal(keys[1], (6, shape[0]))
    weight = jax.random.normal(keys[2], (6, shape[1]))

    def total(multiply):
        return lambda x, kernel: jnp.sum(jnp.sin(over(lambda x: multiply(x, kernel), 1)(x)) * weight)

    found, value = (jax.jit(jax.grad(total(f), (0, 1)))(x, kernel) for f in (product, jnp.matmul))
    for ours, plain in zip(found, value, strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-5, atol=1e-6)


def test_product_can_be_differentiated_twice():
    """As a penalty on Jacobians does."""
    kernel = jax.random.normal(jax.random.key(0), (7, 3))
    x = jax.random.normal(jax.random.key(1), (7,))

    def energy(multiply):
        slope = jax.grad(lambda x, kernel: jnp.sum(jnp.sin(multiply(x, kernel))))
        return jax.grad(lambda kernel: jnp.sum(jnp.square(slope(x, kernel))))(kernel)

    np.testing.assert_allclose(energy(product), energy(jnp.matmul), rtol=1e-5, atol=1e-6)


def test_over_joins_axes_and_keeps_them():
    function = lambda x, y: {"sum": x.sum() + y, "all": x}  # noqa: E731
    x, y = jnp.arange(24.0).reshape(2, 3, 4), jnp.arange(6.0).reshape(2, 3)
    found, nested = over(function, 2)(x, y), jax.vmap(jax.vmap(function))(x, y)
    assert found["all"].shape == (2, 3, 4)
    for name in found:
        np.testing.assert_array_equal(found[name], nested[name])


def assert_truncated_normal(kernel, deviation):
    """Standard deviation `deviation`, cut at two of the normal's own (which is wider by 1.1368)."""
    kernel = np.asarray(kernel)
    edge = 2 * 1.1368 * deviation
    assert np.abs(kernel).max() <= edge * (1 + 1e-6)
    assert np.abs(kernel).max() > 0.98 * edge
    # the standard error of a deviation estimated from n values is below deviation / sqrt(2 n)
    np.testing.assert_allclose(kernel.std(), deviation, rtol=4 / np.sqrt(2 * kernel.size) + 0.002)
    assert abs(kernel.mean()) < 4 * deviation / np.sqrt(kernel.size)


def test_initial_kernels():
    key = jax.random.key(3)
    layer = Linear.init(key, 200, 150)
    assert_truncated_normal(layer.kernel, 1 / np.sqrt(200))
    assert not layer.bias.any()
    np.testing.assert_allclose(Linear.init(key, 200, 150, 0.01).kernel, 0.01 * layer.kernel, rtol=1e-5)
    assert not Linear.init(key, 200, 150, 0.0).kernel.any()
    assert (Norm.init(4).scale == 1).all()


def test_initial_block_kernel_counts_the_whole_input():
    layer = BlockLinear.init(jax.random.key(3), 4, 400, 320)
    assert layer.kernel.shape == (4, 100, 80)
    assert_truncated_normal(layer.kernel, 1 / np.sqrt(400))


def test_layers_of_one_network_start_apart():
    head = Head.init(jax.random.key(0), 16, 16, 3, 16)
    kernels = [layer.linear.kernel for layer in head.mlp.layers] + [head.output.kernel]
    for i, kernel in enumerate(kernels):
        assert all(not np.array_equal(kernel, other) for other in kernels[:i])
    assert [k.shape for k in kernels] == [(16, 16)] * 4
    assert MLP.init(jax.random.key(0), 5, 3, 2).layers[1].linear.kernel.shape == (3, 3)


@pytest.mark.long
def test_a_call_whose_products_are_known_costs_its_gradient_alone():
    """The same value, and the same gradient with respect to parameters and inputs, for fewer operations."""
    mlp, x = MLP.init(jax.random.key(0), 64, 32, 3), jax.random.normal(jax.random.key(1), (16, 64))
    value, outputs = jax.vmap(lambda x: mlp.traced(x))(x)
    np.testing.assert_array_equal(value, jax.vmap(mlp)(x))

    def loss(mlp, x, before):
        return jnp.sum(jnp.sin(jax.vmap(lambda x, before: mlp.traced(x, before=before)[0])(x, before)))

    def cost(before):
        compiled = jax.jit(jax.grad(loss, (0, 1))).lower(mlp, x, before).compile()
        return (compiled.cost_analysis() or {})["flops"]

    plain, known = (jax.jit(jax.value_and_grad(loss, (0, 1)))(mlp, x, before) for before in (None, outputs))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), known, plain)
    products = 2 * 16 * (64 * 32 + 2 * 32 * 32)
    assert cost(None) - cost(outputs) > 0.9 * products


def test_networks_in_half_precision_keep_the_scales_of_their_norms():
    layer = Hidden.init(jax.random.key(0), 3, 4)
    half = cast_floating(layer, jnp.bfloat16)
    assert half.linear.kernel.dtype == half.linear.bias.dtype == jnp.bfloat16
    assert half.norm.scale.dtype == jnp.float32
    assert half(jnp.ones(3, jnp.bfloat16)).dtype == jnp.bfloat16
    fine = eqx.tree_at(lambda layer: layer.norm.scale, layer, jnp.full(4, 1.001))  # bfloat16 has no number so near 1
    y = jnp.asarray([1.0, 2.0, -1.0, 0.5])
    np.testing.assert_allclose(cast_floating(fine, jnp.bfloat16).norm(y), fine.norm(y), rtol=1e-6)
