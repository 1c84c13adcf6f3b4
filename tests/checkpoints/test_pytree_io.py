import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.checkpoints.pytree_io import check_spaces, flatten, unflatten
from sobolev.checkpoints.slots import Checkpoints
from sobolev.envs.specs import ArraySpec, Spaces
from sobolev.errors import UserError


def tree_of(seed):
    key = jax.random.key(seed)
    return {
        "model": eqx.nn.MLP(3, 2, 4, 1, key=key, activation=jax.nn.silu),
        "keys": jax.random.split(key, 3),
        "fast": jax.random.key(seed, impl="rbg"),
        "updates": jnp.asarray(seed, jnp.int32),
        "bits": [jnp.arange(4, dtype=jnp.uint16), None, jnp.asarray([True, False])],
        "host": np.arange(3, dtype=np.int64) + seed,
    }


def assert_equal(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        if callable(a):
            assert a is b
            continue
        assert a.dtype == b.dtype and type(a) is type(b)
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b)


def test_round_trip_through_a_checkpoint(tmp_path):
    Checkpoints(tmp_path).save(1, flatten(tree_of(1)), {}, {})
    loaded = Checkpoints(tmp_path).load()
    assert loaded is not None
    assert_equal(unflatten(tree_of(2), loaded.state), tree_of(1))


def test_restored_keys_draw_the_same_numbers():
    restored = unflatten(tree_of(2), flatten(tree_of(1)))
    np.testing.assert_array_equal(
        jax.random.normal(restored["fast"], (4,)), jax.random.normal(tree_of(1)["fast"], (4,))
    )


def test_shapes_alone_are_enough():
    def device_part(seed):
        return {name: value for name, value in tree_of(seed).items() if name != "host"}

    restored = unflatten(eqx.filter_eval_shape(device_part, 2), flatten(device_part(1)))
    assert_equal(restored, device_part(1))


def test_names_are_key_paths():
    assert sorted(flatten(tree_of(1)))[:3] == ["bits/0", "bits/2", "fast"]
    assert "model/layers/0/weight" in flatten(tree_of(1))


def test_restored_arrays_own_their_memory():
    arrays = {"x": np.zeros(4096, np.float32)}
    restored = unflatten({"x": jnp.ones(4096)}, arrays)
    arrays["x"][:] = 5
    assert float(restored["x"].sum()) == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda arrays: arrays.pop("updates"), "lacks 'updates'"),
        (lambda arrays: arrays.update(more=np.zeros(1)), "it has 'more'"),
        (
            lambda arrays: arrays.update(updates=np.zeros(2, np.int32)),
            r"'updates' is int32\[2\] there and int32\[\] here",
        ),
        (lambda arrays: arrays.update(updates=np.zeros((), np.uint8)), r"'updates' is uint8\[\] there"),
        (lambda arrays: arrays.update(keys=np.zeros((3, 4), np.uint32)), r"'keys' is uint32\[3, 4\] there"),
    ],
)
def test_a_mismatch_names_the_leaf(change, words):
    arrays = flatten(tree_of(1))
    change(arrays)
    with pytest.raises(UserError, match=words):
        unflatten(tree_of(2), arrays)


def test_what_cannot_be_saved_is_refused():
    with pytest.raises(ValueError, match="'a' is 3"):
        flatten({"a": 3})
    with pytest.raises(ValueError, match="two leaves are called 'a/b'"):
        flatten({"a": {"b": jnp.ones(1)}, "a/b": jnp.ones(1)})


SPACES = Spaces((("image", ArraySpec((8, 8, 3), "uint8")), ("position", ArraySpec((3,), "float32"))), 2)


def state_of(action: int = 2, **entries: np.ndarray) -> dict[str, np.ndarray]:
    whole = {"image": np.zeros((1, 2, 8, 8, 3), np.uint8), "position": np.zeros((1, 2, 3), np.float32)} | entries
    arrays = {f"transition/observation/{name}": array for name, array in whole.items()}
    return arrays | {"records/action": np.zeros((0, action), np.float32)}


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        (
            state_of(position=np.zeros((1, 2, 4), np.float32)),
            "the environment gives 'position' of shape (3,), the checkpoint was made with (4,): mend it",
        ),
        (
            state_of(image=np.zeros((1, 2, 8, 8, 3), np.float32)),
            "gives 'image' as uint8, the checkpoint was made with float32: mend it",
        ),
        (
            state_of(speed=np.zeros((1, 2, 1), np.float32)),
            "the environment gives no 'speed', the checkpoint was made with it, of shape (1,): mend it",
        ),
        (state_of(action=1), "the environment takes actions of size 2, the checkpoint was made with 1: mend it"),
    ],
)
def test_other_spaces_are_named(state: dict[str, np.ndarray], sentence: str) -> None:
    check_spaces(state_of(), SPACES, "the environment", "mend it")
    check_spaces({}, SPACES, "the environment", "mend it")
    with pytest.raises(UserError, match=re.escape(sentence)):
        check_spaces(state, SPACES, "the environment", "mend it")
