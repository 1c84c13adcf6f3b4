"""Actor, generator and statistics: values by hand, derivatives to second order in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.agents.dsdpg.config import NetworkConfig
from sobolev.agents.dsdpg.networks import Actor, Generator, TwinCritic, joined, sobolev_sample, vector_size
from sobolev.agents.dsdpg.normalizer import Moments
from sobolev.envs.specs import ArraySpec, Spaces
from sobolev.errors import UserError
from sobolev.nn import Perceptron, cast_floating
from tests import tiny
from tests.xla_flags import OPTIMISED

SMALL = NetworkConfig(units=8, layers=2)


@pytest.fixture(autouse=True)
def _quick():
    with tiny.quickly():
        yield


def test_a_perceptron_by_hand():
    net = Perceptron.init(jax.random.key(0), 3, 4, 1, 2)
    x = jnp.array([0.3, -1.0, 2.0])
    raw = x @ net.hidden[0].kernel + net.hidden[0].bias
    by_hand = (raw / (1 + jnp.exp(-raw))) @ net.output.kernel + net.output.bias
    np.testing.assert_allclose(net(x), by_hand, rtol=1e-5)
    np.testing.assert_allclose(net(x[:1], x[1:]), by_hand, rtol=1e-5)
    assert cast_floating(net, jnp.bfloat16)(x).dtype == jnp.float32
    bare = Perceptron.init(jax.random.key(0), 3, 4, 0, 2)
    np.testing.assert_allclose(bare(x), x @ bare.output.kernel, rtol=1e-5)


def test_a_policy_stays_inside_and_starts_in_the_middle():
    actor = Actor.init(jax.random.key(0), 3, 2, SMALL)
    states = jax.random.normal(jax.random.key(1), (200, 3))
    assert (jnp.abs(jax.vmap(actor)(states)) < 0.5).all()
    assert (jnp.abs(jax.vmap(actor)(1e4 * states)) <= 1).all()


def test_noise_of_size_zero_is_a_plain_value():
    q = Generator.init(jax.random.key(0), 3, 2, 0, SMALL)
    s, a = jnp.ones(3), jnp.array([0.5, -0.5])
    np.testing.assert_allclose(q(s, a, jnp.zeros(0)), q.perceptron(jnp.concatenate([s, a]))[0], rtol=1e-6)


def test_twins_differ_and_each_sees_its_own_noise():
    critics = TwinCritic.init(jax.random.key(0), 3, 2, 4, SMALL)
    s, a, xi = jnp.ones(3), jnp.zeros(2), jax.random.normal(jax.random.key(1), (2, 4))
    both = critics(s, a, xi)
    for i in range(2):
        alone = jax.tree.map(lambda leaf, i=i: leaf[i], critics.both)
        np.testing.assert_allclose(both[i], alone(s, a, xi[i]), rtol=1e-5)
    assert abs(float(both[0] - both[1])) > 1e-3


def test_second_derivatives_against_finite_differences():
    """What training a gradient sample needs: d/dφ of ∂Z/∂a, along random directions, in float64."""
    with jax.enable_x64(True):
        critic = cast_floating(Generator.init(jax.random.key(0), 3, 2, 4, SMALL), jnp.float64)
        keys = jax.random.split(jax.random.key(1), 3)
        s, a, xi = [jax.random.normal(k, (n,), jnp.float64) for k, n in zip(keys, (3, 2, 4), strict=True)]
        weights = jnp.array([0.3, -1.0, 2.0])

        @jax.jit
        def value(critic):
            return jnp.sum(weights * sobolev_sample(critic, s, a, xi))

        call = jax.jit(lambda s, a, xi: critic(s, a, xi))
        numeric = [(call(s, a.at[i].add(1e-6), xi) - call(s, a.at[i].add(-1e-6), xi)) / 2e-6 for i in range(2)]
        np.testing.assert_allclose(sobolev_sample(critic, s, a, xi)[1:], jnp.stack(numeric), rtol=1e-7)
        slopes, rng = jax.jit(jax.grad(value))(critic), np.random.default_rng(0)
        for _ in range(3):
            move = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), critic)
            ends = [value(jax.tree.map(lambda p, d, h=h: p + h * d, critic, move)) for h in (1e-5, -1e-5)]
            along = sum(jax.tree.leaves(jax.tree.map(lambda g, d: jnp.sum(g * d), slopes, move)))
            assert float(along) == pytest.approx(float(ends[0] - ends[1]) / 2e-5, rel=1e-6)


def test_vmapped_and_compiled_second_derivatives_equal_plain_ones():
    """Some versions of XLA are wrong about vmapped derivatives when they optimise (see `sobolev doctor`)."""
    critic = Generator.init(jax.random.key(0), 3, 2, 4, NetworkConfig(32, 2))
    keys = jax.random.split(jax.random.key(2), 3)
    s, a, xi = [jax.random.normal(k, (32, n)) for k, n in zip(keys, (3, 2, 4), strict=True)]

    def one(critic, s, a, xi):
        return jnp.sum(jnp.square(sobolev_sample(critic, s, a, xi)))

    total = jax.grad(lambda critic: jax.vmap(one, (None, 0, 0, 0))(critic, s, a, xi).sum())
    batched = jax.jit(total, compiler_options=OPTIMISED)(critic)
    single = jax.jit(jax.grad(one))
    plain = [single(critic, *row) for row in zip(s, a, xi, strict=True)]
    summed = jax.tree.map(lambda *leaves: sum(np.float64(leaf) for leaf in leaves), *plain)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-4 * np.abs(y).max()), batched, summed)


def test_observations_are_joined_by_name():
    spaces = Spaces((("height", ArraySpec((), "float32")), ("pose", ArraySpec((2, 2), "float32"))), 1)
    observation = {"height": jnp.arange(3.0), "pose": jnp.arange(12.0).reshape(3, 2, 2)}
    assert vector_size(spaces) == 5
    np.testing.assert_array_equal(joined(spaces, observation)[1], [1, 4, 5, 6, 7])
    bytes_beside = Spaces((("memory", ArraySpec((2,), "uint8")), ("pose", ArraySpec((2, 2), "float32"))), 1)
    both = joined(bytes_beside, {"memory": jnp.array([[7, 255]], jnp.uint8), "pose": jnp.ones((1, 2, 2))})
    assert vector_size(bytes_beside) == 6 and both.dtype == jnp.float32
    np.testing.assert_array_equal(both, [[7, 255, 1, 1, 1, 1]])
    with pytest.raises(UserError, match="'image' is an image"):
        vector_size(Spaces((("image", ArraySpec((8, 8, 3), "uint8")),), 1))


def test_moments_are_those_of_all_rows():
    rng = np.random.default_rng(0)
    rows = rng.normal(3, 2, (40, 2)).astype(np.float32)
    weight = rng.random(40) < 0.7
    moments = Moments.init(2)
    np.testing.assert_array_equal(moments.std(0.0), 1)
    for part in range(0, 40, 8):
        moments = jax.jit(Moments.update)(
            moments, jnp.asarray(rows[part : part + 8]), jnp.asarray(weight[part : part + 8])
        )
    seen = rows[weight]
    assert float(moments.count) == len(seen)
    np.testing.assert_allclose(moments.mean, seen.mean(0), rtol=1e-5)
    np.testing.assert_allclose(moments.std(0.0), seen.std(0), rtol=1e-5)
    row = jnp.array([1.0, 5.0])
    np.testing.assert_allclose(moments.apply(row, 0.0), (row - seen.mean(0)) / seen.std(0), rtol=1e-4)
    np.testing.assert_allclose(moments.undo(moments.apply(row, 0.0), 0.0), row, rtol=1e-5)
    same = moments.update(jnp.full((3, 2), 99.0), jnp.zeros(3, bool))
    jax.tree.map(np.testing.assert_array_equal, same, moments)
    assert float(Moments(jnp.ones(()), jnp.zeros(1), jnp.zeros(1)).std(0.01)[0]) == pytest.approx(0.01)


def test_a_memory_forgets():
    """After many rows of the new law the old one is gone; the count stops at the memory."""
    moments, keep = Moments.init(1), jnp.ones(10, bool)
    for _ in range(20):
        moments = moments.update(jnp.full((10, 1), 5.0), keep, 50.0)
    for _ in range(40):
        moments = moments.update(jnp.asarray(np.tile([[-1.0], [1.0]], (5, 1)), jnp.float32), keep, 50.0)
    assert float(moments.count) == 50
    np.testing.assert_allclose(moments.mean, 5 * 0.8**40, atol=1e-3)
    np.testing.assert_allclose(moments.std(0.0), 1, rtol=1e-2)
