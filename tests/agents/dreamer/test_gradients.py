"""Which term of the loss trains what, how the terms add up, and their derivatives against finite differences.

The scales of the loss and the number of updates (and so the penalty's coefficient) are arguments of one compiled
function: a term's gradient is that of the loss with all other scales at 0.
"""

import dataclasses
import functools
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev import replay as memory
from sobolev.agents.dreamer.agent import Dreamer, Report
from sobolev.agents.dreamer.config import LossConfig, without_penalty
from sobolev.agents.dreamer.world_model import balanced_kl
from sobolev.envs.specs import ArraySpec, Spaces
from sobolev.smoothness import PenaltyConfig
from sobolev.training.program import Program
from tests import tiny

BEGIN = 1000
"""The penalty's first update; before it the coefficient is 0."""

PARTS = ("encoder", "recurrence", "prior", "posterior", "decoder", "reward", "cont", "actor", "critic")
TERMS = ("reconstruction", "reward", "cont", "dyn", "rep", "policy", "value", "replay_value")
WORLD = {"encoder", "recurrence", "posterior"}
TRAINS = {
    "reconstruction": WORLD | {"decoder"},
    "reward": WORLD | {"reward"},
    "cont": WORLD | {"cont"},
    "dyn": {"encoder", "recurrence", "prior", "posterior"},
    "rep": {"encoder", "recurrence", "posterior"},
    "policy": {"actor"},
    "value": {"critic"},
    "replay_value": WORLD | {"critic"},
    "penalty": {"encoder", "recurrence", "posterior"},
}


@pytest.fixture(autouse=True)
def _quick():
    with tiny.quickly():
        yield


def config(method="gpld"):
    found = tiny.config(method=method).agent
    if method == "dreamer":
        return found
    return replace(found, penalty=replace(found.penalty, start=BEGIN))


@functools.cache
def compiled(method="gpld", precision="float32"):
    """(loss, metrics, latents, scale), gradient of the model, given model, state, windows and scales."""

    # free nats 0, so that the KL terms are not flat
    settings = replace(config(method), precision=precision, loss=LossConfig(free_nats=0.0))

    def evaluate(model, state, windows, scales):
        class Weighed(Dreamer):
            def loss_scale(self, name):
                return scales.get(name, scales["reconstruction"])

        loss = Weighed(settings, tiny.SPACES).loss
        (total, aux), gradient = jax.value_and_grad(loss, has_aux=True)(model, state, windows, jax.random.key(7))
        return total, aux, gradient

    return jax.jit(evaluate)


@functools.cache
def setting():
    """A state whose zero-initialised layers are not zero (else nothing flows through them), and windows."""
    program = tiny.program(tiny.agent(), (2,))
    state = jax.tree.map(lambda leaf: leaf[0], program.initial_state())
    keys = iter(jax.random.split(jax.random.key(3), 200))

    def shake(leaf):
        return leaf + 0.1 * jax.random.normal(next(keys), leaf.shape)

    state = dataclasses.replace(state, model=jax.tree.map(shake, state.model), slow=jax.tree.map(shake, state.slow))
    replay = tiny.filled(program, (2,))
    replay = dataclasses.replace(
        replay, steps=jax.tree.map(lambda x: x[0], replay.steps), latents=jax.tree.map(lambda x: x[0], replay.latents)
    )
    windows, _ = jax.jit(lambda replay: memory.sample(replay, jax.random.key(1), 4, 8))(replay)
    return state, windows


def scales(**some) -> dict:
    """All 0 but some."""
    return {name: jnp.float32(value) for name, value in (dict.fromkeys(TERMS, 0.0) | some).items()}


def standard() -> dict:
    """The paper's, as the agent gives them."""
    agent = tiny.agent()
    return {name: jnp.float32(agent.loss_scale(name)) for name in TERMS}


def evaluate(term_scales, updates=0, model=None, **how):
    state, windows = setting()
    state = dataclasses.replace(state, updates=jnp.int32(updates))
    return compiled(**how)(state.model if model is None else model, state, windows, term_scales)


def parts(model) -> dict:
    world, rssm = model.world, model.world.rssm
    recurrence = (rssm.deter_in, rssm.stoch_in, rssm.action_in, rssm.hidden, rssm.hidden_norm, rssm.gates)
    found = (world.encoder, recurrence, rssm.prior, rssm.posterior, world.decoder, world.reward, world.cont)
    return dict(zip(PARTS, (*found, model.actor, model.critic), strict=True))


def norm(tree) -> float:
    return float(np.sqrt(sum(np.sum(np.square(np.asarray(x, np.float64))) for x in jax.tree.leaves(tree))))


@pytest.mark.parametrize("term", [*TERMS, "penalty"])
def test_what_a_term_trains(term):
    total, _, gradient = evaluate(scales() if term == "penalty" else scales(**{term: 1}), BEGIN * (term == "penalty"))
    sizes = {name: norm(part) for name, part in parts(gradient).items()}
    assert {name for name, size in sizes.items() if size} == TRAINS[term], sizes
    assert min(sizes[name] for name in TRAINS[term]) > 1e-7
    assert np.isfinite(total)


def test_the_whole_loss_is_the_scaled_sum():
    """The paper's scales, and lambda times the penalty on top."""
    total, (_, _, metrics), gradient = evaluate(standard(), BEGIN)
    wanted = {"reconstruction/position": 1, "reconstruction/velocity": 1, "reward": 1, "cont": 1, "dyn": 1, "rep": 0.1}
    wanted |= {"policy": 1, "value": 1, "replay_value": 0.3}
    summed = sum(scale * float(metrics[f"loss/{name}"]) for name, scale in wanted.items())
    penalty = float(metrics["penalty/posterior"])
    assert penalty > 1e-4 and float(metrics["penalty/posterior_lambda"]) == 0.5
    assert float(total) == pytest.approx(summed + 0.5 * penalty, rel=1e-5)
    assert float(metrics["loss"]) == float(total)
    without, _, _ = evaluate(standard(), 0)
    assert float(total - without) == pytest.approx(0.5 * penalty, rel=1e-3, abs=1e-5)
    each = [evaluate(scales(**{name: standard()[name]}))[2] for name in TERMS]
    each.append(evaluate(scales(), BEGIN)[2])
    added = jax.tree.map(lambda *leaves: sum(leaves), *each)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * (1 + norm(b))), added, gradient)


def test_share_of_the_penalty_in_the_gradient():
    """`inspect` against the gradient of the loss with all other scales at 0, and of the whole loss."""
    state, windows = setting()
    state = dataclasses.replace(state, updates=jnp.int32(BEGIN))
    _, _, alone = evaluate(scales(), BEGIN)
    whole = norm(evaluate(standard(), BEGIN)[2])
    agent = Dreamer(config(), tiny.SPACES)
    report = Report({"gradient_norm": jnp.float32(whole)}, jnp.array(True), windows)
    inspect = jax.jit(agent.inspect)
    found = inspect(state, report, jax.random.key(7))
    assert float(found["penalty/gradient_norm"]) == pytest.approx(norm(alone), rel=1e-4)
    assert float(found["penalty/gradient_share"]) == pytest.approx(norm(alone) / whole, rel=1e-4)
    before = inspect(dataclasses.replace(state, updates=jnp.int32(0)), report, jax.random.key(7))
    assert float(before["penalty/gradient_share"]) == 0
    assert Dreamer(config("dreamer"), tiny.SPACES).inspect(state, report, jax.random.key(7)) == {}


@pytest.mark.parametrize("coefficients", [(0.5, 0.0), (0.0, 0.25), (0.5, 0.25)])
def test_tables_that_are_penalised(coefficients):
    """Posterior, prior or both, each with its lambda: what they add, what they train, what is logged."""
    settings: dict[str, float] = dict(zip(("posterior", "prior"), coefficients, strict=True))
    agent = Dreamer(replace(config(), penalty=PenaltyConfig(*coefficients, schedule="none")), tiny.SPACES)
    world = setting()[0].model.world
    keys = jax.random.split(jax.random.key(5), 3)
    inputs = jnp.tanh(jax.random.normal(keys[0], (3, 4, 32))), jax.random.normal(keys[1], (3, 4, 16))

    def penalty(world, deter, tokens):
        return agent.penalty(world, deter, tokens, jnp.int32(0), keys[2])

    (total, metrics), gradients = jax.jit(jax.value_and_grad(penalty, (0, 1, 2), has_aux=True))(world, *inputs)
    on = {name for name, coefficient in settings.items() if coefficient}
    assert set(metrics) == {f"penalty/{name}{part}" for name in on for part in ("", "_lambda", "_row_std")}
    wanted = sum(settings[name] * float(metrics[f"penalty/{name}"]) for name in on)
    assert float(total) == pytest.approx(wanted, rel=1e-5)
    assert all(float(metrics[f"penalty/{name}_lambda"]) == settings[name] for name in on)
    assert all(float(metrics[f"penalty/{name}_row_std"]) > 0 for name in on)
    sizes = {name: norm(getattr(gradients[0].rssm, name)) for name in ("posterior", "prior")}
    assert {name for name, size in sizes.items() if size} == on
    assert norm(gradients[1]) > 0 and bool(norm(gradients[2])) == ("posterior" in on)


def test_free_nats():
    """KL below that many nats is not pushed down: the loss is the constant, without gradient."""
    p, q = jnp.full((1, 1, 1, 2), 0.5), jnp.array([[[[0.9, 0.1]]]])
    kl = 0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(0.5 / 0.1)
    for nats in (0.0, 1.0):
        (dyn, rep), pull = jax.vjp(lambda p, q, nats=nats: balanced_kl(p, q, nats), p, q)
        np.testing.assert_allclose([dyn[0, 0], rep[0, 0]], max(nats, kl), rtol=1e-5)
        one, zero = jnp.ones((1, 1)), jnp.zeros((1, 1))
        through = [[bool(np.any(x)) for x in pull(to)] for to in ((one, zero), (zero, one))]
        assert through == ([[False, True], [True, False]] if kl > nats else [[False] * 2] * 2)


def test_lambda_zero_is_dreamer():
    """Before the penalty begins the loss and its gradient are those of the method without it."""
    (ours, _, gradient), (plain, aux, wanted) = evaluate(standard()), evaluate(standard(), method="dreamer")
    assert not any(name.startswith("penalty") for name in aux[2])
    assert without_penalty(config("gpld")) == replace(config("dreamer"), penalty=without_penalty(config()).penalty)
    assert float(ours) == pytest.approx(float(plain), rel=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6 * (1 + norm(b))), gradient, wanted)


@pytest.mark.parametrize(
    ("term", "part"), [("reconstruction", "decoder"), ("reward", "reward"), ("cont", "cont"), ("dyn", "prior")]
)
def test_derivatives_against_finite_differences(term, part):
    """Along three random directions of the parameters that no draw depends on."""
    state, _ = setting()
    _, _, gradient = evaluate(scales(**{term: 1}))
    slopes = parts(gradient)[part]
    for seed in range(3):
        rng = np.random.default_rng(seed)
        direction = jax.tree.map(lambda leaf, rng=rng: rng.normal(size=leaf.shape).astype(np.float32), slopes)
        step = 1e-2 / norm(direction)

        def value(share, direction=direction):
            moved = jax.tree.map(lambda p, d: p + np.float32(share) * d, parts(state.model)[part], direction)
            model = eqx.tree_at(lambda model: parts(model)[part], state.model, moved)
            return float(evaluate(scales(**{term: 1}), model=model)[0])

        products = jax.tree.map(lambda g, d: np.vdot(np.float64(g), np.float64(d)), slopes, direction)
        # the size that such a product has on average: what small ones are compared with
        typical = norm(slopes)
        wanted = sum(jax.tree.leaves(products))
        assert (value(step) - value(-step)) / (2 * step) == pytest.approx(wanted, rel=0.02, abs=0.02 * typical)


@pytest.mark.long
def test_bfloat16_is_close():
    """Losses, latents' storage form and gradients; parameters and gradients stay float32."""
    (total, aux, gradient), (wide, wanted, _) = (
        evaluate(standard(), BEGIN, precision="bfloat16"),
        evaluate(standard(), BEGIN),
    )
    assert np.isfinite(total) and float(total) == pytest.approx(float(wide), rel=0.1)
    for name in ("loss/reconstruction/position", "loss/reward", "loss/cont", "penalty/posterior"):
        assert aux[2][name].dtype == jnp.float32
        assert float(aux[2][name]) == pytest.approx(float(wanted[2][name]), rel=0.15), name
    assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {jnp.dtype("float32")}
    assert np.isfinite(norm(gradient))
    assert aux[0].deter.dtype == jnp.bfloat16 and aux[0].probs.dtype == jnp.float32


def test_an_observation_may_have_the_name_of_a_term():
    spaces = Spaces((("free_nats", ArraySpec((2,), "float32")), ("reward", ArraySpec((3,), "float32"))), 1)
    agent = Dreamer(config(), spaces)
    program = Program(agent, (0,))
    replay = program.initial_replay(tiny.ENVIRONMENTS, 100)
    _, _, report = jax.eval_shape(program.functions.learn, program.state_shapes(), replay, np.int32(0))
    assert {"loss/reconstruction/free_nats", "loss/reconstruction/reward", "loss/reward"} <= set(report.metrics)
    for name in ("free_nats", "reward"):
        assert agent.loss_scale(f"reconstruction/{name}") == LossConfig().reconstruction
