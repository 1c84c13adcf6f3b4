"""The forms for CPUs and for accelerators compute the same: one update's loss, metrics, latents and gradients."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev import replay as memory
from sobolev.agents.dreamer.agent import Dreamer
from sobolev.nn import sample_one_hot
from sobolev.system.target import Target, traced_for
from tests import tiny
from tests.agents.dreamer import test_behavior, test_reference_vectors
from tests.nn import test_distributions

SEEDS = (2, 5)


@pytest.fixture(autouse=True)
def _quick():
    with tiny.quickly():
        yield


def gradient(target: Target, agent: Dreamer, seeds: tuple[int, ...]) -> Any:
    """Gradients, latents and metrics of a batch for every seed, traced in that form."""
    program = tiny.program(agent, seeds)
    replay, states = tiny.filled(program, seeds), program.initial_state()

    def one(state, replay, key):
        windows, _ = memory.sample(replay, key, *agent.windows)
        return agent.gradient(state.model, state, windows, key)

    axes = memory.replay_axes(replay)
    with traced_for(target):
        keys = jax.vmap(jax.random.key)(jnp.asarray(seeds))
        return jax.jit(jax.vmap(one, (0, axes, 0)))(states, replay, keys)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated:DeprecationWarning")  # newer jax, on a GPU
@pytest.mark.parametrize("target", ["accelerator", "fused"])
def test_an_update_is_the_same_in_every_form(target: Target):
    agent = tiny.agent()
    if target == "fused":  # on a GPU its kernels have blocks of 16 units at least
        model = replace(agent.config.model, deter=64)
        agent = replace(agent, config=replace(agent.config, model=model))
    plain, other = (gradient(each, agent, SEEDS) for each in ("cpu", target))
    _, (latents, _, metrics) = plain
    assert np.array_equal(latents.index, other[1][0].index), "the forms draw different latents"
    for name, value in metrics.items():
        np.testing.assert_allclose(other[1][2][name], value, rtol=1e-4, atol=1e-6, err_msg=name)
    for (path, new), old in zip(jax.tree.leaves_with_path(other[0]), jax.tree.leaves(plain[0]), strict=True):
        scale = float(jnp.abs(old).max())
        np.testing.assert_allclose(
            new, old, rtol=1e-3, atol=1e-5 * max(scale, 1e-3), err_msg=jax.tree_util.keystr(path)
        )


@pytest.mark.parametrize("classes", [2, 5, 16])
def test_draws_are_the_same_in_both_forms(classes: int):
    rng = np.random.default_rng(classes)
    probs = rng.dirichlet(np.full(classes, 0.3), (200, 8)).astype(np.float32)
    probs[0, 0] = 0
    probs[0, 0, classes // 2] = 1
    uniform = rng.uniform(size=(200, 8)).astype(np.float32)
    uniform[1], uniform[2] = 0, np.nextafter(np.float32(1), np.float32(0))
    found = {}
    for target in ("cpu", "accelerator"):
        with traced_for(target):
            found[target] = jax.jit(jax.vmap(sample_one_hot))(probs, uniform)
    samples, indices = zip(*(found[target] for target in ("cpu", "accelerator")), strict=True)
    np.testing.assert_array_equal(*indices)
    np.testing.assert_allclose(*samples, atol=1e-6)
    assert np.array_equal(np.asarray(samples[1]).argmax(-1), indices[0])


OTHERS = (
    test_reference_vectors.test_observe_is_the_same_recurrence,
    test_reference_vectors.test_imagination_losses_and_running_scale,
    test_reference_vectors.test_gradients_of_imagination_losses,
    test_reference_vectors.test_replay_value_loss,
    test_reference_vectors.test_optimizer,
    test_behavior.test_lambda_return_by_hand,
    test_distributions.test_samples_follow_the_table,
    test_distributions.test_gradients_pass_a_sample_as_if_it_were_the_table,
)
"""Tests against reference numbers and calculations by hand, of functions that have two forms."""


@pytest.mark.parametrize("test", OTHERS, ids=lambda test: test.__name__)
def test_what_holds_on_cpus_holds_in_the_form_for_accelerators(test: Callable[[], None]):
    jax.clear_caches()  # of functions that were traced in the other form
    try:
        with traced_for("accelerator"):
            test()
    finally:
        jax.clear_caches()
