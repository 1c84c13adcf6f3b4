"""Images in encoder and decoder: sizes by hand, what goes with vectors, errors, and dreams that see no future."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.agents.dreamer.agent import Dreamer
from sobolev.agents.dreamer.config import SIZES, DreamerConfig
from sobolev.agents.dreamer.decoder import Decoder, observed, reconstruction_loss, target
from sobolev.agents.dreamer.encoder import Encoder, token_count
from sobolev.agents.dreamer.world_model import WorldModel
from sobolev.envs.specs import ArraySpec, Spaces
from sobolev.errors import UserError
from tests import tiny


def spaces(**entries: tuple[tuple[int, ...], str]) -> Spaces:
    return Spaces(tuple((name, ArraySpec(*spec)) for name, spec in sorted(entries.items())), 1)


IMAGE = ((16, 16, 3), "uint8")
BOTH = spaces(image=IMAGE, speed=((2,), "float32"))
MODEL = tiny.config(tiny.DOT, **{name.replace(".", "__"): value for name, value in tiny.PIXELS.items()}).agent.model


def count(tree) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def made(part: Any, spaces: Spaces) -> Any:
    """A fresh encoder or decoder."""
    return eqx.filter_jit(part.init)(jax.random.key(0), spaces, MODEL)


def convolution(inputs: int, outputs: int) -> int:
    return 25 * inputs * outputs + outputs


@pytest.mark.parametrize("size", SIZES)
def test_parameters_by_hand(size):
    """Of 64×64 images: four stages in both directions, kernels, biases, and scales of the norms."""
    pixels, model = spaces(image=((64, 64, 3), "uint8")), SIZES[size]
    world = jax.eval_shape(lambda key: WorldModel.init(key, pixels, model), jax.random.key(0))
    d, u, z = model.depth, model.units, model.rows * model.classes
    chain = [3, 2 * d, 3 * d, 4 * d, 4 * d]
    stages = sum(convolution(a, b) + b for a, b in zip(chain, chain[1:], strict=False))
    assert count(world.encoder) == stages
    small = 4 * 4 * 4 * d
    start = model.deter * small // 8 + small + z * 2 * u + 2 * u + 2 * u + 2 * u * small + small + 4 * d
    back = sum(convolution(a, b) + b for a, b in zip(chain[:1:-1], chain[-2:0:-1], strict=True))
    assert count(world.decoder) == start + back + convolution(2 * d, 3)
    assert token_count(pixels, model) == small
    assert world.rssm.posterior.layers[0].linear.kernel.shape[0] == model.deter + small


def test_tokens_of_vectors_come_first():
    encoder = made(Encoder, BOTH)
    observation = {"image": jnp.full((16, 16, 3), 7, jnp.uint8), "speed": jnp.asarray([1.0, -2.0])}
    call = eqx.filter_jit(encoder)
    tokens = call(observation)
    assert tokens.shape == (token_count(BOTH, MODEL),) == (MODEL.units + 4,)
    other = call(observation | {"image": jnp.zeros((16, 16, 3), jnp.uint8)})
    np.testing.assert_array_equal(tokens[: MODEL.units], other[: MODEL.units])
    assert encoder.image is not None
    np.testing.assert_allclose(tokens[MODEL.units :], eqx.filter_jit(encoder.image)(observation["image"]), rtol=1e-5)
    assert np.any(np.asarray(tokens - other)[MODEL.units :])


def test_an_agent_of_vectors_is_as_it_was():
    """The random numbers of its parts do not depend on there being images in other agents."""
    vectors = spaces(speed=((2,), "float32"))
    for part in (Encoder, Decoder):
        alone, beside = made(part, vectors), made(part, BOTH)
        jax.tree.map(np.testing.assert_array_equal, alone.mlp, beside.mlp)
        assert alone.image is None


def test_several_images_are_joined_and_parted():
    two = spaces(left=((16, 32, 1), "uint8"), right=((16, 32, 3), "uint8"))
    decoder = eqx.filter_jit(made(Decoder, two))
    images = decoder(jnp.ones(MODEL.deter), jnp.ones(MODEL.rows * MODEL.classes))
    assert {name: image.shape for name, image in images.items()} == {"left": (16, 32, 1), "right": (16, 32, 3)}
    assert all(0 < float(image.min()) <= float(image.max()) < 1 for image in images.values())
    blank = {name: jnp.zeros(spec.shape, jnp.uint8) for name, spec in two.observation}
    tokens = jax.eval_shape(made(Encoder, two), blank)
    assert tokens.shape == (token_count(two, MODEL),) == (8,)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (spaces(image=((84, 84, 3), "uint8")), "the image 'image' is 84×84: resize it"),
        (spaces(image=((16, 8, 3), "uint8")), "the image 'image' is 16×8"),
        (spaces(a=((16, 16, 3), "uint8"), b=((32, 32, 3), "uint8")), "'a' and 'b' are 16×16 and 32×32"),
    ],
)
def test_images_that_cannot_be_halved(wrong, sentence):
    with pytest.raises(UserError, match=sentence):
        Dreamer(DreamerConfig(model=MODEL), wrong).init(jax.random.key(0))


def test_the_loss_of_an_image_by_hand():
    prediction = {"image": jnp.full((16, 16, 3), 0.5)}
    observation = {"image": jnp.zeros((16, 16, 3), jnp.uint8).at[0, 0, 0].set(255)}
    assert float(reconstruction_loss(prediction, observation)["image"]) == 16 * 16 * 3 * 0.25


def test_predictions_in_the_numbers_of_the_environment():
    image, vector = jnp.asarray([[[0, 128, 255]]], jnp.uint8), jnp.asarray([-3.0, 0.0, 20.0])
    for observation in (image, vector):
        back = observed(target(observation), observation)
        assert back.dtype == observation.dtype
        np.testing.assert_allclose(back, observation, rtol=1e-5)


@pytest.mark.long
def test_a_dream_does_not_see_what_is_to_come():
    """It changes with what is observed and with all actions, and not with observations that it has to foresee."""
    program = tiny.program(Dreamer(DreamerConfig(model=MODEL, precision="float32"), BOTH), (0,))
    rng = np.random.default_rng(0)
    steps = {
        "observation": {
            "image": rng.integers(0, 256, (6, 2, 16, 16, 3)).astype(np.uint8),
            "speed": rng.normal(size=(6, 2, 2)).astype(np.float32),
        },
        "first": np.arange(6)[:, None] == np.zeros((1, 2)),
        "action": rng.uniform(-0.5, 0.5, (6, 2, 1)).astype(np.float32),
    }

    def dreamt(change=None, at: int = 0) -> dict[str, np.ndarray]:
        changed = jax.tree.map(np.array, steps)
        if change == "action":
            changed["action"][at] += 0.4
        elif change:
            changed["observation"]["image"][at], changed["observation"]["speed"][at] = 3, 3.0
        found = program.dream(state, changed, 3)
        assert found is not None
        return found

    with tiny.quickly():
        state, wanted = program.initial_state(), None
        wanted = dreamt()
        assert wanted["image"].dtype == np.uint8 and wanted["image"].shape == (6, 2, 16, 16, 3)
        assert wanted["speed"].shape == (6, 2, 2) and np.isfinite(wanted["speed"]).all()
        for at in (3, 5):
            jax.tree.map(np.testing.assert_array_equal, dreamt("observation", at), wanted)
        jax.tree.map(np.testing.assert_array_equal, dreamt("action", 5), wanted)  # its outcome is not there any more
        for change, at in (("observation", 2), ("action", 1), ("action", 4)):
            other = dreamt(change, at)["speed"]
            np.testing.assert_array_equal(other[:at], wanted["speed"][:at])
            assert np.any(other[at + (change == "action") :] != wanted["speed"][at + (change == "action") :])
