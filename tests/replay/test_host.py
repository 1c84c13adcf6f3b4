"""A replay in host memory gives the batches of the one on the device, bit for bit, whatever was gathered ahead."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.replay import (
    Ring,
    add,
    append,
    choose,
    create,
    create_host,
    look_ahead,
    read_ring,
    replay_axes,
    returned,
    sample,
    streamed,
    take,
    write_back,
    write_ring,
)

SEEDS, ENVIRONMENTS, CAPACITY, BATCH, LENGTH = 2, 3, 20, 4, 5


def forms():
    shape = jax.ShapeDtypeStruct
    flag = shape((), jnp.bool_)
    step = {"observation": {"image": shape((4, 4, 3), jnp.uint8)}, "first": flag, "last": flag}
    return step, {"deter": shape((4,), jnp.uint16)}


def data_of(number):
    """Random content of step `number` of all seeds and environments, and its latents."""
    rng = np.random.default_rng(number)

    def draw(form):
        high = 2 if form.dtype == bool else 200
        return rng.integers(0, high, (SEEDS, ENVIRONMENTS, *form.shape)).astype(form.dtype)

    return jax.tree.map(draw, forms())


def keys_of(update):
    return jax.random.split(jax.random.key(update), SEEDS)


@jax.jit
def learn(replay, keys):
    """Stands for an update: new latents are made of the sampled steps and of the latents of the context step."""

    def one(replay, key):
        windows, replay = sample(replay, key, BATCH, LENGTH)
        image = windows.steps["observation"]["image"][:, 1:].sum((2, 3, 4)).astype(jnp.uint16)
        latents = {
            "deter": windows.latents["deter"][:, None] + image[..., None] + jnp.arange(4, dtype=jnp.uint16)[None, None]
        }
        return windows, write_back(replay, windows, latents)

    axes = replay_axes(replay)
    return jax.vmap(one, (axes, 0), (0, axes))(replay, keys)


@jax.jit
def add_all(replay, step, latents):
    axes = replay_axes(replay)
    return jax.vmap(add, (axes, 0, 0), axes)(replay, step, latents)


@partial(jax.jit, static_argnums=2)
def choose_all(count, taken, shape, keys):
    ring = Ring(count, taken, *shape)
    axes = type(choose(ring, jax.random.key(0), BATCH, LENGTH))(0, 0, None)
    return jax.vmap(lambda key: choose(ring, key, BATCH, LENGTH), out_axes=axes)(keys)


def chosen(replay, update, ahead=0):
    choice = choose_all(replay.count + np.int32(ahead), replay.taken, replay.shape[1:], keys_of(update))
    return jax.tree.map(np.asarray, choice)


@pytest.mark.parametrize("looks", [(), (0, 0), (0, 1), (0, 3), (5, 1)], ids=str)
def test_batches_and_latents_are_those_of_the_device(looks):
    """Over a wrap of the ring. `looks`: how many steps ahead the next batch is gathered after each update, in turn;
    too few or too many are a batch gathered for nothing."""
    device, host, update = create(*forms(), ENVIRONMENTS, CAPACITY, SEEDS), None, 0
    host = create_host(*forms(), ENVIRONMENTS, CAPACITY, SEEDS)
    for number in range(50):
        step, latents = data_of(number)
        device = add_all(device, step, latents)
        host = append(host, step, add_all(streamed(host), step, latents))
        for turn in range(2 if number > 8 else 0):
            wanted, device = learn(device, keys_of(update))
            part, host = take(host, chosen(host, update), LENGTH)
            windows, part = learn(part, keys_of(update))
            host = returned(host, part)
            jax.tree.map(np.testing.assert_array_equal, windows, wanted)
            assert int(part.taken) == int(host.taken) == int(device.taken)
            if looks:
                host = look_ahead(host, chosen(host, update + 1, looks[turn]), LENGTH)
            update += 1
    jax.tree.map(np.testing.assert_array_equal, host.steps, device.steps)
    jax.tree.map(np.testing.assert_array_equal, host.latents, device.latents)
    assert update > 80 and int(host.count) == 50


def test_what_was_gathered_ahead_is_used_once():
    """The device may work in the memory of what it was given."""
    host = create_host(*forms(), ENVIRONMENTS, CAPACITY, SEEDS)
    for number in range(12):
        step, latents = data_of(number)
        host = append(host, step, add_all(streamed(host), step, latents))
    host = look_ahead(host, chosen(host, 0), LENGTH)
    gathered = host.ahead
    assert gathered is not None
    _, host = take(host, chosen(host, 0), LENGTH)
    assert host.ahead is None


def test_rings_of_numpy_are_written_in_place_and_read():
    steps = {"x": np.zeros((SEEDS, ENVIRONMENTS, 10, 2), np.uint8)}
    values = {"x": np.random.default_rng(0).integers(0, 200, (8, SEEDS, ENVIRONMENTS, 2)).astype(np.uint8)}
    assert write_ring(steps, values, 7, axis=2)["x"] is steps["x"]
    np.testing.assert_array_equal(read_ring(steps, 7, 15, axis=2)["x"], values["x"])
    np.testing.assert_array_equal(steps["x"][:, :, 4], values["x"][7])


def test_impossible_shapes_are_errors():
    with pytest.raises(ValueError, match="no replay of 2 environments x 0 steps"):
        create_host(*forms(), 2, 0, 1)
