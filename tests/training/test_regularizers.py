"""What every regularizer must do in every agent that has one: a row of CASES is all that a new one needs."""

import dataclasses
import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.agents.dreamer.agent import Dreamer
from sobolev.agents.dsdpg.agent import DSDPG
from sobolev.checkpoints.pytree_io import flatten, unflatten
from sobolev.config import from_json, to_json
from sobolev.smoothness import REGULARIZERS, coefficients, find, kernels
from sobolev.training.snapshot import keep_weights, kept_weights, read_weights
from tests import tiny
from tests.agents import family

pytestmark = pytest.mark.long

METHODS = ("gpld", "dsdpg")
NAMES = (*REGULARIZERS, "tests.own_regularizer:EVERYTHING")
CASES = pytest.mark.parametrize(("method", "name"), [(method, name) for method in METHODS for name in NAMES])
MAPS = {"gpld": ("posterior", "prior"), "dsdpg": ("transition",)}
SEEDS = (0, 1)
BOUNDS = {"spectral": 0.8, "jacobian-norm": 0.1}
"""Below the singular values of fresh kernels, and of Jacobians."""


@pytest.fixture(autouse=True)
def _quick():
    with tiny.quickly():
        yield


def config(method: str, name: str, **settings: Any):
    """A tiny run in which all maps are regularised, with a coefficient that falls by a tenth in every update."""
    strength = {f"penalty__{each}": find(name).coefficient for each in MAPS[method]}
    strength |= {"penalty__schedule": "step", "penalty__step_size": 1}
    strength |= {"penalty__bound": BOUNDS[name]} if name in BOUNDS else {}
    if method == "dsdpg":
        # XLA rounds programs that compute the same differently in the form of the preset laptop, not in this one.
        strength |= {"dynamics__warmup": 0, "discrepancy__direction": "batch", "critic__actions": "policy"}
        return family.config("dsdpg", regularizer=name, **strength, **settings)
    return tiny.config(regularizer=name, **strength, **settings)


def agent_of(method: str, chosen: Any) -> Any:
    return Dreamer(chosen, tiny.SPACES) if method == "gpld" else DSDPG(chosen, family.SPACES)


def off(chosen: Any) -> Any:
    """The same settings with all coefficients 0."""
    zeros = dict.fromkeys(coefficients(chosen.penalty), 0.0)
    return dataclasses.replace(chosen, penalty=dataclasses.replace(chosen.penalty, **zeros))


@functools.cache
def setting(method: str) -> tuple[Any, Any]:
    """Host copies of replay and of what makes it, for `SEEDS`: the same for all regularizers."""
    program = tiny.program(agent_of(method, config(method, "jacobian").agent), SEEDS)
    if method == "gpld":
        return None, jax.tree.map(np.asarray, tiny.filled(program, SEEDS))
    steps = [
        family.steps_of(np.random.default_rng(seed), 5, 60, lambda number, action: action[..., 0], True)
        for seed in SEEDS
    ]
    return jax.tree.map(np.asarray, family.observed(program, steps))


def begun(method: str, chosen: Any) -> tuple[Any, Any, Any]:
    """Program, a fresh state that has seen the replay, and the replay, in arrays of their own."""
    program = tiny.program(agent_of(method, chosen), SEEDS)
    seen, replay = setting(method)
    state = program.initial_state()
    if seen is not None:
        state = eqx.tree_at(
            lambda state: (state.statistics, state.steps), state, jax.tree.map(jnp.array, (seen.statistics, seen.steps))
        )
    return program, *jax.tree.map(jnp.array, (state, replay))


@functools.cache
def updated(method: str, name: str) -> tuple[Any, Any]:
    """The state after one update, and its report, on the host; of no regularizer where the name is "off"."""
    chosen = off(config(method, "jacobian").agent) if name == "off" else config(method, name).agent
    program, state, replay = begun(method, chosen)
    state, _, report = program.learn(state, replay, 0)
    return jax.tree.map(np.asarray, (state, report))


@CASES
def test_an_update(method, name):
    """It is finite, logs value and coefficient of every map, changes what the world model learns, and seeds differ."""
    _, report = updated(method, name)
    assert report.finite.all()
    for each in MAPS[method]:
        label = f"{find(name).name}/{each}"
        assert np.isfinite(report.metrics[label]).all() and (report.metrics[label] >= 0).all()
        np.testing.assert_allclose(report.metrics[f"{label}_lambda"], find(name).coefficient)
        assert report.metrics[label][0] != report.metrics[label][1] and (report.metrics[label] > 0).all()
        if name == NAMES[-1]:
            assert (report.metrics[f"{label}_constraint"] == 0).all() and (report.metrics[f"{label}_noise"] > 0).all()
    _, plain = updated(method, "off")
    assert not any(metric.startswith(find(name).name + "/") for metric in plain.metrics)
    norm = "gradient_norm" if method == "gpld" else "gradient_norm/dynamics"
    assert (np.abs(report.metrics[norm] / plain.metrics[norm] - 1) > 1e-5).all()


@CASES
def test_a_checkpoint_goes_on(method, name):
    """Two updates are the same as one, a state written down and read back, and another; and the same again."""
    chosen = config(method, name).agent
    program, state, replay = begun(method, chosen)
    state, replay, _ = program.learn(state, replay, 0)
    jax.tree.map(np.testing.assert_array_equal, jax.tree.map(np.asarray, state), updated(method, name)[0])
    arrays = {key: np.array(x) for key, x in flatten(state).items()}
    kept = jax.tree.map(np.array, replay)
    ends = []
    for again in (state, unflatten(program.state_shapes(), arrays)):
        again, _, report = program.learn(again, jax.tree.map(jnp.array, kept), 1)
        ends.append(jax.tree.map(np.asarray, (again, report.metrics)))
    jax.tree.map(np.testing.assert_array_equal, *ends)


@CASES
def test_settings_come_back_from_json(method, name):
    chosen = config(method, name, penalty__start=7)
    assert from_json(to_json(chosen)) == chosen
    assert chosen.agent.regularizer == name and chosen.agent.penalty.start == 7


@CASES
def test_off_costs_nothing(method, name):
    """With coefficients of 0 the update is, operation by operation, that of the method without a regularizer."""

    assert traced(method, off(config(method, name).agent)) == traced(method, off(config(method, "jacobian").agent))


@functools.cache
def traced(method: str, chosen: Any) -> str:
    """The operations of an update of one seed."""
    agent = agent_of(method, chosen)
    program = tiny.program(agent, SEEDS)
    state, replay = program.state_shapes(), jax.eval_shape(lambda: program.initial_replay(2, 100))
    alone = lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype)  # noqa: E731
    state, replay = jax.tree.map(lambda leaf: alone(leaf) if leaf.shape else leaf, (state, replay))
    return str(jax.make_jaxpr(agent.learn)(state, replay, jax.random.key(0), jnp.int32(0)))


@pytest.mark.parametrize("method", METHODS)
def test_noise_of_no_size_is_no_noise(method):
    """To the bit: losses and the state after an update."""
    program, state, replay = begun(method, config(method, "noise", penalty__std=0.0).agent)
    state, _, report = program.learn(state, replay, 0)
    wanted, plain = updated(method, "off")
    for name, value in plain.metrics.items():
        np.testing.assert_array_equal(report.metrics[name], value, err_msg=name)
    jax.tree.map(np.testing.assert_array_equal, jax.tree.map(np.asarray, state), wanted)


def seed_of(state: Any, index: int = 0) -> Any:
    return jax.tree.map(lambda leaf: jnp.array(leaf[index]), state)


@pytest.mark.parametrize("method", METHODS)
def test_spectral_kernels_keep_to_the_bound_where_they_are_used(method):
    """After an update: in what acts and imagines, and to a thousandth, as far as power iteration has come."""
    state = updated(method, "spectral")[0]
    for index in range(len(SEEDS)):
        one, agent = seed_of(state, index), agent_of(method, config(method, "spectral").agent)
        if method == "gpld":
            world = agent.networks(eqx.tree_at(lambda s: s.updates, one, jnp.int32(0))).world
            trained, used = one.model.world.rssm, [world.rssm.posterior, world.rssm.prior]
            raw = kernels((trained.posterior, trained.prior))
        else:
            trained = one.model.dynamics
            dynamics = agent.constrained(trained, one, jnp.int32(0))
            used, raw = (
                [dynamics.prior, dynamics.decoder],
                kernels((trained.prior, trained.decoder)),
            )
        sizes = [float(np.linalg.norm(np.asarray(kernel), 2)) for kernel in kernels(used)]
        assert BOUNDS["spectral"] * 0.99 < max(sizes) < BOUNDS["spectral"] * 1.001
        assert max(float(np.linalg.norm(np.asarray(kernel), 2)) for kernel in raw) > 1.1 * BOUNDS["spectral"]


@pytest.mark.parametrize("name", NAMES)
def test_acting_uses_the_networks_that_learn(name):
    """The actions of a regularised agent are those of a plain one that has the constrained networks."""
    chosen = config("gpld", name).agent
    agent, plain = Dreamer(chosen, tiny.SPACES), Dreamer(off(chosen), tiny.SPACES)
    state = seed_of(updated("gpld", name)[0])
    bare = dataclasses.replace(state, model=agent.networks(state), smoothing={})
    seen = jax.tree.map(lambda leaf: jnp.asarray(leaf[:, 0]), tiny.random_steps(np.random.default_rng(0), (3, 1)))
    carry, key = agent.initial_carry(3), jax.random.key(0)
    actions = [who.act(which, carry, seen, key, "evaluate")[0] for who, which in ((agent, state), (plain, bare))]
    np.testing.assert_array_equal(actions[0], actions[1])
    changed = find(name).constraint is not None
    assert changed != all(
        np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (bare.model, state.model)), strict=True)
    )


def test_kept_networks_bring_their_constraint_along(tmp_path):
    state = jax.tree.map(jnp.array, updated("gpld", "spectral")[0])
    agent = Dreamer(config("gpld", "spectral").agent, tiny.SPACES)
    keep_weights(tmp_path, agent, state, 10)
    other: Any = tiny.program(agent, SEEDS).initial_state()
    found: Any = read_weights(kept_weights(tmp_path)[10], agent, other)
    jax.tree.map(np.testing.assert_array_equal, (found.model, found.smoothing), (state.model, state.smoothing))
    assert (np.asarray(found.updates) == 1).all() and (np.asarray(other.updates) == 0).all()


def test_the_coefficient_multiplies_the_standard_deviation():
    """As the schedule makes it smaller."""
    program, state, replay = begun("gpld", config("gpld", "noise").agent)
    for size in (0.1, 0.09):
        state, replay, report = program.learn(state, replay, 0)
        for name in MAPS["gpld"]:
            np.testing.assert_allclose(report.metrics[f"noise/{name}"], size, rtol=0.05)
