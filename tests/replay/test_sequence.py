import re
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from sobolev.replay import (
    ReplayConfig,
    add,
    create,
    read_ring,
    replay_axes,
    sample,
    write_back,
    write_ring,
)
from sobolev.replay.sequence import _positions
from tests import tiny
from tests.xla_flags import OPTIMISED


@pytest.fixture(autouse=True)
def _quick():
    with tiny.quickly():
        yield


def forms(deter=4):
    shape = jax.ShapeDtypeStruct
    flag = shape((), jnp.bool_)
    step = {"observation": {"x": shape((3,), jnp.float32)}, "first": flag, "last": flag}
    return step, {"deter": shape((deter,), jnp.uint16), "stoch": shape((2,), jnp.uint8)}


def data_of(number, environments, seeds=()):
    """Random content of step `number`; with seeds, of each seed its own."""
    rng = np.random.default_rng(number)

    def draw(form):
        values = rng.integers(0, 2 if form.dtype == bool else 200, (*seeds, environments, *form.shape))
        return values.astype(form.dtype)

    return jax.tree.map(draw, forms())


AXES = replay_axes(create(*forms(), 1, 1))
jit_add = jax.jit(add)
jit_add_seeds = jax.jit(jax.vmap(add, in_axes=(AXES, 0, 0), out_axes=AXES))
jit_sample = jax.jit(sample, static_argnames=("batch", "length", "online"))
jit_write_back = jax.jit(write_back)


@cache
def filled(count, environments=3, capacity=50, seeds=None):
    """A replay after so many steps of `data_of`."""
    if count == 0:
        return create(*forms(), environments, capacity, seeds)
    replay = filled(count - 1, environments, capacity, seeds)
    step = data_of(count - 1, environments, () if seeds is None else (seeds,))
    return (jit_add if seeds is None else jit_add_seeds)(replay, *step)


def assert_equal(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


# What is drawn.


@pytest.mark.parametrize("count", [37, 50, 83])
def test_uniform_draw_covers_exactly_the_stored_windows(count):
    """Chi-square over all (environment, start) cells; it fails by chance once in 10^6 keys, and the key is fixed."""
    environments, capacity, length, batch = 3, 50, 5, 40_000
    replay = filled(count, environments, capacity)
    _, replay = jit_sample(replay, jax.random.key(0), batch=100, length=length)  # empties the queue
    windows, _ = jit_sample(replay, jax.random.key(1), batch=batch, length=length)
    oldest = max(count - capacity, 0)
    cells = np.zeros((environments, count - length - oldest), int)
    np.add.at(cells, (np.asarray(windows.environment), np.asarray(windows.start) - oldest), 1)
    assert cells.sum() == batch and cells.size == environments * (min(count, capacity) - length)
    expected = batch / cells.size
    assert expected > 100
    chance = stats.chi2.sf(np.sum((cells - expected) ** 2) / expected, cells.size - 1)
    assert chance > 1e-6, (chance, cells)


def test_online_windows_come_first_each_once_and_in_order():
    replay = filled(26, environments=3)
    draws = []
    for seed in range(4):
        windows, replay = jit_sample(replay, jax.random.key(seed), batch=5, length=4)
        draws += list(zip(windows.environment.tolist(), windows.start.tolist(), strict=True))
    assert draws[:15] == [(environment, 5 * block) for block in range(5) for environment in range(3)]
    assert int(replay.taken) == 15


def test_without_the_online_queue_all_are_drawn():
    """The queue is full, and left so; the draws are those of a replay whose queue is empty."""
    replay = filled(50)
    windows, after = jit_sample(replay, jax.random.key(1), batch=8, length=5, online=False)
    assert int(after.taken) == int(replay.taken) == 0
    _, emptied = jit_sample(replay, jax.random.key(0), batch=100, length=5)
    assert_equal(windows, jit_sample(emptied, jax.random.key(1), batch=8, length=5)[0])


def test_overwritten_online_windows_are_passed_over():
    replay = filled(67, environments=2, capacity=50)  # the oldest step is 17; the first whole block of 5 is at 20
    windows, replay = jit_sample(replay, jax.random.key(0), batch=3, length=4)
    assert list(zip(windows.environment.tolist(), windows.start.tolist(), strict=True)) == [(0, 20), (1, 20), (0, 25)]


@pytest.mark.parametrize("capacity", [60, 1000])
def test_draws_do_not_depend_on_capacity_before_the_ring_wraps(capacity):
    short, long = filled(50, capacity=50), filled(50, capacity=capacity)
    for seed in range(6):
        left, short = jit_sample(short, jax.random.key(seed), batch=8, length=4)
        right, long = jit_sample(long, jax.random.key(seed), batch=8, length=4)
        assert_equal(left, right)


def test_last_is_forced_before_a_first():
    replay = create(*forms(), 1, 10)
    for number in range(5):
        step, latents = data_of(number, 1)
        flags = {"first": jnp.asarray([number in (0, 3)]), "last": jnp.asarray([number == 1])}
        replay = jit_add(replay, step | flags, latents)
    windows, _ = jit_sample(replay, jax.random.key(0), batch=1, length=4)
    assert windows.steps["first"].tolist() == [[True, False, False, True, False]]
    assert windows.steps["last"].tolist() == [[False, True, True, False, False]]
    assert replay.steps["last"][0, :5].tolist() == [False, True, False, False, False], "what is stored stays as it was"


def test_impossible_shapes_are_errors():
    with pytest.raises(ValueError, match="a window of 11 steps does not fit a ring of 10"):
        jit_sample(create(*forms(), 1, 10), jax.random.key(0), batch=1, length=10)
    with pytest.raises(ValueError, match="no replay of 2 environments x 0 steps"):
        create(*forms(), 2, 0)
    with pytest.raises(ValueError, match="no replay of 65536"):
        create(*forms(), 2**16, 2**15)
    with pytest.raises(ValueError, match="lack .'first', 'last'"):
        create({"x": jnp.zeros(())}, {}, 2, 10)


# What is written back.


def fresh(batch, length):
    """Latents that count the batch's steps."""
    number = np.arange(batch * length).reshape(batch, length, 1)
    return jax.tree.map(lambda form: jnp.asarray(np.repeat(number, form.shape[0], -1), form.dtype), forms()[1])


@pytest.mark.parametrize("count", [40, 93])
def test_written_latents_are_read_again_and_all_others_kept(count):
    replay = filled(count)
    before = read_ring(replay.latents, max(count - 50, 0), count)
    windows, replay = jit_sample(replay, jax.random.key(3), batch=6, length=4)
    after = read_ring(jit_write_back(replay, windows, fresh(6, 4)).latents, max(count - 50, 0), count)
    wanted = before["deter"].copy()
    for index in range(6):
        start = int(windows.start[index]) - max(count - 50, 0)
        wanted[start + 1 : start + 5, int(windows.environment[index])] = np.arange(4 * index, 4 * index + 4)[:, None]
    np.testing.assert_array_equal(after["deter"], wanted)
    assert np.any(wanted != before["deter"])


def test_the_later_of_two_overlapping_windows_is_kept():
    replay = filled(8, environments=1, capacity=8)
    windows, replay = jit_sample(replay, jax.random.key(0), batch=30, length=5)
    written = np.asarray(jit_write_back(replay, windows, fresh(30, 5)).latents["deter"][0, :, 0])
    for step in range(1, 8):
        covering = [i for i, start in enumerate(windows.start.tolist()) if start < step <= start + 5]
        offset = step - int(windows.start[covering[-1]]) - 1
        assert written[step] == 5 * covering[-1] + offset


def test_no_two_windows_write_the_same_step():
    """So that the result does not depend on the order in which a device scatters."""
    replay = filled(83)
    windows, replay = jit_sample(replay, jax.random.key(0), batch=30, length=5)
    position = np.asarray(_positions(replay, windows, 5, True))
    targets = set(zip(np.repeat(windows.environment, 5).tolist(), position.ravel().tolist(), strict=True))
    assert len(targets) == 150 and np.any(position >= 50)


def test_a_masked_write_changes_nothing():
    windows, replay = jit_sample(filled(40), jax.random.key(3), batch=6, length=4)
    assert_equal(jit_write_back(replay, windows, fresh(6, 4), where=jnp.asarray(False)), replay)


def test_steps_overwritten_since_they_were_sampled_are_left_alone():
    windows, replay = jit_sample(filled(50), jax.random.key(3), batch=40, length=4)
    for number in range(50, 100):
        replay = jit_add(replay, *data_of(number, 3))
    assert_equal(jit_write_back(replay, windows, fresh(40, 4)), replay)


# Seeds, memory, checkpoints.


def sample_and_write(replay, key, latents, batch, length):
    windows, replay = sample(replay, key, batch, length)
    return windows, write_back(replay, windows, latents)


@pytest.mark.parametrize("count", [30, 83])
def test_each_seed_of_three_equals_that_seed_alone(count):
    together = filled(count, seeds=3)
    step = jax.jit(partial(sample_and_write, batch=7, length=4))
    many = jax.jit(jax.vmap(step, in_axes=(AXES, 0, None), out_axes=(0, AXES)))
    keys = jax.random.split(jax.random.key(0), (3, 4))
    alone = [take_seed(together, seed) for seed in range(3)]
    for turn in range(4):
        windows, together = many(together, keys[:, turn], fresh(7, 4))
        for seed in range(3):
            single, alone[seed] = step(alone[seed], keys[seed, turn], fresh(7, 4))
            assert_equal(jax.tree.map(lambda leaf, seed=seed: leaf[seed], windows), single)
            assert_equal(take_seed(together, seed), alone[seed])


def take_seed(replay, seed):
    return jax.tree.map(lambda leaf, axis: leaf if axis is None else leaf[seed], replay, AXES)


def used(function, replay, *arguments):
    """Temporary bytes of (replay, ...) -> (replay, anything) over the replay's, checking that no buffer moved."""
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(replay))
    buffers = jax.tree.leaves((replay.steps, replay.latents))
    before = [leaf.unsafe_buffer_pointer() for leaf in buffers]
    shapes = {",".join(map(str, leaf.shape)) for leaf in buffers}
    optimised = jax.jit(function, donate_argnums=0, compiler_options=OPTIMISED)
    compiled = optimised.lower(replay, *arguments).compile()
    copies = re.findall(r"= \w+\[([\d,]+)\]\S* copy\(", compiled.as_text() or "")
    assert not shapes & set(copies), copies
    replay, _ = compiled(replay, *arguments)
    assert [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves((replay.steps, replay.latents))] == before
    memory = compiled.memory_analysis()
    assert memory is not None
    assert memory.alias_size_in_bytes >= size
    return memory.temp_size_in_bytes / size


@pytest.mark.parametrize("seeds", [None, 3])
def test_add_is_in_place(seeds):
    lead = () if seeds is None else (seeds,)
    replay = create(*forms(256), 4, 2000, seeds)
    step = jax.tree.map(lambda form: jnp.ones((*lead, 4, *form.shape), form.dtype), forms(256))
    function = add if seeds is None else jax.vmap(add, in_axes=(AXES, 0, 0), out_axes=AXES)
    assert used(lambda *arguments: (function(*arguments), None), replay, *step) < 0.01


@pytest.mark.parametrize("seeds", [None, 3])
@pytest.mark.parametrize("kind", ["one", "unrelated", "masked", "loop"])
def test_sample_and_write_back_are_in_place(seeds, kind):
    """Also where the new latents do not depend on the sampled ones, where the write is masked, and in a loop."""
    batch, length = 8, 16

    def update(replay, key, latents):
        windows, replay = sample(replay, key, batch, length)
        if kind != "unrelated":
            latents = jax.tree.map(lambda new, old: new + old[:, None], latents, windows.latents)
        fine = jnp.sum(windows.steps["observation"]["x"]) < 100 if kind == "masked" else True
        return write_back(replay, windows, latents, fine), windows

    def loop(replay, key, latents):
        def body(index, replay):
            return update(replay, jax.random.fold_in(key, index), latents)[0]

        return jax.lax.fori_loop(0, 3, body, replay), None

    replay = create(*forms(256), 4, 2000, seeds)
    lead = () if seeds is None else (seeds,)
    latents = jax.tree.map(lambda form: jnp.ones((*lead, batch, length, *form.shape), form.dtype), forms(256)[1])
    keys = jax.random.key(0) if seeds is None else jax.random.split(jax.random.key(0), seeds)
    function = loop if kind == "loop" else update
    if seeds is not None:
        function = jax.vmap(function, in_axes=(AXES, 0, 0), out_axes=(AXES, 0))
    assert used(function, replay, keys, latents) < 0.1


@pytest.mark.parametrize("seeds", [None, 2])
@pytest.mark.parametrize(("count", "capacity"), [(30, 50), (83, 50), (83, 61)])
def test_rings_are_saved_and_restored_at_any_capacity(seeds, count, capacity):
    replay = filled(count, seeds=seeds)
    axis = 1 if seeds is None else 2
    oldest = max(count - 50, 0)
    values = read_ring((replay.steps, replay.latents), oldest, count, axis)
    lead = (count - oldest, 3) if seeds is None else (count - oldest, seeds, 3)
    assert values[1]["deter"].shape == (*lead, 4)
    newest, _ = data_of(count - 1, 3, () if seeds is None else (seeds,))
    np.testing.assert_array_equal(values[0]["observation"]["x"][-1], newest["observation"]["x"])
    empty = create(*forms(), 3, capacity, seeds)
    restored = write_ring((empty.steps, empty.latents), values, oldest, axis)
    assert_equal(read_ring(restored, oldest, count, axis), values)
    if capacity == 50:
        assert_equal(restored, (replay.steps, replay.latents))


def test_ranges_longer_than_the_ring_are_errors():
    replay = filled(83)
    with pytest.raises(ValueError, match="steps 32 to 83 do not fit a ring of 50"):
        read_ring(replay.steps, 32, 83)
    assert read_ring(replay.steps, 40, 40)["observation"]["x"].shape == (0, 3, 3)


def test_the_ring_is_the_share_of_the_capacity_or_the_planned_steps():
    config = ReplayConfig(capacity=1000)
    assert config.steps_per_environment(16, 10_000) == 62
    assert config.steps_per_environment(16, 50) == 50
