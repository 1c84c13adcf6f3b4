"""One update of DSDPG: what changes and when, what does not count, derivatives; and acting."""

import functools
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.agents.dsdpg.agent import DSDPG
from sobolev.agents.dsdpg.config import (
    ActorConfig,
    CriticConfig,
    DSDPGConfig,
    DynamicsConfig,
    NetworkConfig,
    TransitionJacobian,
    without_gradients,
)
from sobolev.agents.dsdpg.critic import critic_loss
from sobolev.agents.dsdpg.networks import TwinCritic
from sobolev.agents.dsdpg.units import Pairs, imagination, pairs_of
from sobolev.envs.specs import ArraySpec, Spaces
from sobolev.experiments.linear_system import example
from sobolev.nn import cast_floating
from sobolev.replay import Windows
from tests import tiny

NETWORK = NetworkConfig(units=8, layers=1)
CONFIG = DSDPGConfig(
    batch_size=6,
    critic=CriticConfig(network=NETWORK, noise=2, samples=3, rate=0.1),
    dynamics=DynamicsConfig(network=NETWORK, latent=2, warmup=3),
    penalty=TransitionJacobian(transition=0.1, rho=1.0),
    actor=ActorConfig(network=NETWORK, delay=2),
)
AGENT = DSDPG(CONFIG, Spaces((("pose", ArraySpec((2,), "float32")), ("speed", ArraySpec((), "float32"))), 2))


@pytest.fixture(autouse=True)
def _quick():
    with tiny.quickly():
        yield


@functools.cache
def batch(seed=0):
    rng = np.random.default_rng(seed)
    normal = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    valid = jnp.array([True] * 5 + [False])
    return Pairs(
        normal(6, 3), jnp.tanh(normal(6, 2)), normal(6), normal(6, 3), (normal(6) > 1).astype(jnp.float32), valid
    )


@functools.cache
def fresh():
    """An agent that has seen a few steps, whose statistics are not trivial."""
    state = init(jax.random.key(0))
    pairs = batch(7)
    steps = {"observation": {"pose": pairs.state[:, :2], "speed": pairs.state[:, 2]}, "reward": pairs.reward}
    return jax.jit(AGENT.observe)(state, steps | {"first": ~pairs.valid})


init, update = jax.jit(AGENT.init), jax.jit(AGENT.update)


def changed(before, after) -> set[str]:
    """Names of the parts of model and targets that moved."""
    parts = {
        name: (getattr(before, group), getattr(after, group))
        for name, group in (("model", "model"), ("targets", "targets"))
    }
    return {
        f"{group}.{name}"
        for group, (old, new) in parts.items()
        for name in ("actor", "critics", "dynamics")
        if hasattr(old, name)
        and any(
            not np.array_equal(a, b)
            for a, b in zip(jax.tree.leaves(getattr(old, name)), jax.tree.leaves(getattr(new, name)), strict=True)
        )
    }


@pytest.mark.parametrize(
    ("number", "wanted"),
    [
        (0, {"model.dynamics"}),
        (2, {"model.dynamics"}),
        (3, {"model.dynamics", "model.critics", "targets.critics"}),
        (4, {"model.dynamics", "model.critics", "targets.critics", "model.actor", "targets.actor"}),
    ],
)
def test_what_learns_when(number, wanted):
    """The model first; critics after its warm-up of three updates, the actor with every second update."""
    after, finite, metrics = update(fresh(), batch(), jax.random.key(1), jnp.int32(number))
    assert bool(finite) and changed(fresh(), after) == wanted
    assert (float(metrics["gradient_norm/actor"]) > 0) == (number == 4)
    if number == 4:
        moved = jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, fresh().targets.critics, after.model.critics)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), moved, after.targets.critics)


def test_a_step_into_another_episode_does_not_count():
    pairs = batch()
    other = replace(
        pairs,
        reward=pairs.reward.at[5].add(100.0),
        following=pairs.following.at[5].add(50.0),
        terminal=pairs.terminal.at[5].set(1.0),
        action=pairs.action.at[5].set(0.0),
    )
    (_, _, metrics), (_, _, same) = (update(fresh(), p, jax.random.key(1), jnp.int32(4)) for p in (pairs, other))
    for name in ("loss/model_likelihood", "loss/model_ending", "loss/critic", "gradient_norm/critic"):
        assert float(metrics[name]) == pytest.approx(float(same[name]), rel=1e-5), name
    counted = replace(other, valid=jnp.ones(6, bool))
    _, _, third = update(fresh(), counted, jax.random.key(1), jnp.int32(4))
    assert float(third["loss/model_likelihood"]) > float(metrics["loss/model_likelihood"]) + 1


def test_the_network_of_the_reward_learns_from_transitions_that_count():
    agent = replace(AGENT, config=replace(CONFIG, dynamics=replace(CONFIG.dynamics, reward="network")))
    state, pairs = jax.jit(agent.init)(jax.random.key(0)), batch()
    step = jax.jit(agent.update)
    after, finite, metrics = step(state, pairs, jax.random.key(1), jnp.int32(0))
    assert bool(finite) and float(metrics["loss/model_reward"]) > 0
    moved = (state.model.dynamics.reward.output.kernel, after.model.dynamics.reward.output.kernel)
    assert not np.array_equal(*moved)
    other = replace(pairs, reward=pairs.reward.at[5].add(100.0))
    _, _, same = step(state, other, jax.random.key(1), jnp.int32(0))
    assert float(same["loss/model_reward"]) == pytest.approx(float(metrics["loss/model_reward"]), rel=1e-5)
    _, _, without = update(fresh(), pairs, jax.random.key(1), jnp.int32(0))
    assert "loss/model_reward" not in without


def test_windows_become_transitions():
    """The action of the context step leads to reward, flags and observation of the next one."""
    pose = jnp.arange(8.0).reshape(2, 2, 2)
    flags = {name: jnp.array([[False, False], [False, False]]) for name in ("last", "terminal")}
    steps = {
        "observation": {"pose": pose, "speed": jnp.array([[0.5, 0.6], [0.7, 0.8]])},
        "reward": jnp.array([[9.0, 1], [9, 2]]),
    }
    steps |= {"action": jnp.array([[[0.1], [9.0]], [[0.2], [9.0]]]), "first": jnp.array([[True, False], [False, True]])}
    steps |= flags | {"terminal": jnp.array([[True, False], [False, True]])}
    at = jnp.zeros(2, jnp.int32)
    pairs = pairs_of(Windows(steps, {}, at, at), AGENT.spaces)
    np.testing.assert_allclose(pairs.state, [[0, 1, 0.5], [4, 5, 0.7]])
    np.testing.assert_allclose(pairs.following, [[2, 3, 0.6], [6, 7, 0.8]])
    np.testing.assert_allclose(pairs.action, [[0.1], [0.2]], rtol=1e-6)
    assert (
        pairs.reward.tolist() == [1, 2] and pairs.terminal.tolist() == [0, 1] and pairs.valid.tolist() == [True, False]
    )
    np.testing.assert_allclose(pairs.weight, [1, 0])


def test_a_non_finite_update_says_so():
    pairs = replace(batch(), state=batch().state.at[0, 0].set(jnp.nan))
    _, finite, metrics = update(fresh(), pairs, jax.random.key(1), jnp.int32(4))
    assert not bool(finite) and not np.isfinite(float(metrics["loss/critic"]))


@functools.partial(jax.jit, static_argnums=2)
def far(dynamics, critics, config):
    """The critic loss at action 0, with the draws of one key."""
    state = fresh()
    model, where = imagination(dynamics, state.statistics), (batch().state, jnp.zeros((6, 2)), batch().weight)
    targets = (state.targets.critics, state.targets.actor, model, dynamics.noise)
    return critic_loss(critics, *targets, *where, jax.random.key(2), config)[0]


def test_where_critics_are_trained():
    """At the policy's actions, around them, or at those in replay."""

    def judging(**changes):
        return replace(AGENT, config=replace(CONFIG, critic=replace(CONFIG.critic, **changes))).judged

    def found(**changes):
        judged = judging(**changes)
        states = jnp.tile(batch().state, (500, 1))
        actions = judged(actor, states, jnp.zeros((3000, 2)), jax.random.key(0))
        return np.asarray(actions - jax.vmap(actor)(states)), np.asarray(actions)

    actor = fresh().model.actor
    assert (found(actions="policy", spread=0.0)[0] == 0).all()
    noise, actions = found(actions="policy", spread=0.2)
    inside = np.abs(actions) < 1
    assert np.abs(actions).max() <= 1 and inside.mean() > 0.9
    assert noise[inside].std() == pytest.approx(0.2, abs=0.01) and abs(noise[inside].mean()) < 0.02
    assert (found(actions="replay")[1] == 0).all()
    judged = judging(actions="policy")
    slope = jax.grad(lambda one: judged(one, batch().state, jnp.zeros((6, 2)), jax.random.key(0)).sum())(actor)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(slope))


def test_no_gradient_from_critic_to_model():
    slopes = jax.jit(jax.grad(far, (0, 1)), static_argnums=2)(fresh().model.dynamics, fresh().model.critics, CONFIG)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(slopes[0]))
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(slopes[1].both.perceptron.hidden))


def test_second_derivatives_of_the_critic_loss_against_finite_differences():
    """In float64, along two directions of all parameters, with the linear system for a model."""
    with jax.enable_x64(True):
        system = cast_floating(example(), jnp.float64)
        twins = [cast_floating(TwinCritic.init(jax.random.key(k), 2, 1, 2, NETWORK), jnp.float64) for k in (0, 1)]
        config = replace(CONFIG, discrepancy=replace(CONFIG.discrepancy, kind="mmd", bandwidth=2.0))
        states = jax.random.normal(jax.random.key(3), (4, 2), jnp.float64)
        where = (states, jax.vmap(system.policy)(states), jnp.full(4, 0.25, jnp.float64), jax.random.key(4), config)

        @jax.jit
        def loss(critics):
            return critic_loss(critics, twins[1], system.policy, system.model, 2, *where)[0]

        slopes, rng = jax.jit(jax.grad(loss))(twins[0]), np.random.default_rng(0)
        for _ in range(2):
            move = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), twins[0])
            ends = [loss(jax.tree.map(lambda p, d, h=h: p + h * d, twins[0], move)) for h in (1e-5, -1e-5)]
            along = sum(jax.tree.leaves(jax.tree.map(lambda g, d: float(jnp.sum(g * d)), slopes, move)))
            assert along == pytest.approx(float(ends[0] - ends[1]) / 2e-5, rel=1e-4)


def test_without_gradients_the_loss_sees_returns_alone():
    """Weights of the action, at action 0: they move the action gradient and nothing else."""
    config, model = without_gradients(CONFIG), fresh().model
    assert (config.critic.gradient, config.critic.actions, config.discrepancy.kind) == (False, "replay", "mmd")
    kernel = model.critics.both.perceptron.hidden[0].kernel
    tilted = eqx.tree_at(lambda c: c.both.perceptron.hidden[0].kernel, model.critics, kernel.at[:, 3:5].add(1.0))
    alone, both = (
        [float(far(model.dynamics, critics, which)) for critics in (model.critics, tilted)]
        for which in (config, CONFIG)
    )
    assert alone[0] == pytest.approx(alone[1], rel=1e-6)
    assert abs(both[0] - both[1]) > 1e-3


def test_the_penalty_is_the_mean_squared_jacobian_of_the_models_map():
    """Its mean over keys, which draw noise and probes, against exact Jacobians for the same noises."""
    state, states, actions = fresh(), batch().state, batch().action
    model = imagination(state.model.dynamics, state.statistics)

    def exact(key):
        noise = jax.random.normal(jax.random.split(key, 3)[1], (state.model.dynamics.noise,))
        jacobians = jax.vmap(jax.jacrev(lambda s, a: model(s, a, noise)[0], (0, 1)))(states, actions)
        return sum(jnp.square(j).sum((1, 2)).mean() for j in jacobians)

    def both(key):
        args = state.model.dynamics, state.statistics, states, actions, key, jnp.int32(0)
        loss, metrics = AGENT.penalty(*args)
        return metrics["penalty/transition"], exact(key), loss

    estimates, norms, losses = jax.jit(jax.vmap(both))(jax.random.split(jax.random.key(0), 500))
    assert float(estimates.mean()) == pytest.approx(float(norms.mean()), rel=0.03)
    assert float(estimates.std()) > 1e-3
    np.testing.assert_allclose(losses, 0.1 * estimates, rtol=1e-6)


def transition(last=(False, False)):
    values = {"pose": jnp.array([[0.3, -1.0], [2.0, 0.5]]), "speed": jnp.array([0.1, -0.4])}
    return {"observation": values, "reward": jnp.zeros(2), "first": jnp.zeros(2, bool), "last": jnp.array(last)}


def test_acting():
    """Uniform to begin with, then the policy with noise, inside the bounds; bare in evaluation; 0 at an end."""
    state = fresh()
    act = lambda state, seen, key: AGENT.act(state, (), seen, key, "train")[0]  # noqa: E731
    many, keys = jax.jit(jax.vmap(act, (None, None, 0))), jax.random.split(jax.random.key(0), 400)
    later = replace(state, steps=jnp.int32(CONFIG.exploration.random_steps))
    early, noisy = (many(s, transition(), keys) for s in (state, later))
    assert np.abs(early).max() <= 1 and early.std() == pytest.approx(1 / np.sqrt(3), rel=0.05)
    plain, carry, extras = AGENT.act(state, (), transition(), keys[0], "evaluate")
    assert carry == () and extras == {}
    np.testing.assert_allclose(noisy.mean(0), plain, atol=0.03)
    assert (noisy - noisy.mean(0)[None]).std() == pytest.approx(CONFIG.exploration.noise, rel=0.1)
    loud = DSDPG(replace(CONFIG, exploration=replace(CONFIG.exploration, noise=50.0)), AGENT.spaces)
    assert np.abs(loud.act(later, (), transition(), keys[0], "train")[0]).max() == 1
    ended = AGENT.act(later, (), transition(last=(False, True)), keys[0], "train")[0]
    assert ended[0].any() and not ended[1].any()


def test_observing_counts_steps_and_leaves_first_rewards_out():
    state = init(jax.random.key(0))
    seen = transition() | {"reward": jnp.array([0.0, 4.0]), "first": jnp.array([True, False])}
    after = AGENT.observe(state, seen)
    assert int(after.steps) == 2 and float(after.statistics.reward.count) == 1
    np.testing.assert_allclose(after.statistics.reward.mean, 4)
    np.testing.assert_allclose(after.statistics.state.mean, [1.15, -0.25, -0.15], rtol=1e-5)
    assert all(new is old for new, old in zip(*map(jax.tree.leaves, (after.model, state.model)), strict=True))
