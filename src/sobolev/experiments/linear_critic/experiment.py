"""Critics trained on a linear system with its true model, against the known law of return and gradient."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key

from sobolev.agents.baselines.mage import sobolev_errors
from sobolev.agents.baselines.td3 import cautious
from sobolev.agents.dsdpg.config import (
    AdamConfig,
    CriticConfig,
    DiscrepancyConfig,
    DSDPGConfig,
    NetworkConfig,
    without_gradients,
)
from sobolev.agents.dsdpg.critic import critic_loss, samples_at
from sobolev.agents.dsdpg.networks import Policy, TwinCritic
from sobolev.agents.dsdpg.optimizer import adam, follow
from sobolev.agents.dsdpg.target import Model, backup
from sobolev.errors import UserError, nearest
from sobolev.experiments.linear_system import Law, LinearSystem, exact_law, example

SPREAD = 0.6
"""Standard deviation of the states at which critics are trained and compared."""
COMPARED, SAMPLES = 64, 2000
"""States at which laws are compared, and samples of each critic there."""


@dataclass(frozen=True)
class LinearConfig:
    """Sizes of the study; the defaults take about ten minutes on one core."""

    out: Path = Path("results/linear")
    """folder for the figure (PNG and PDF) and the numbers (JSON)"""
    seeds: tuple[int, ...] = (0, 1, 2)
    """each draws networks and training samples of its own"""
    critics: tuple[str, ...] = ("msmmd", "item", "sliced", "mmd", "biased", "return", "mage")
    """msmmd: DSDPG; item: with a direction for every state; sliced: uniform slicing; mmd: no slicing; biased: MSMMD's
    V-statistic; return: MMD of the return alone; mage: deterministic"""
    updates: int = 4000
    """updates of the critics"""
    batch: int = 128
    """states per update"""
    samples: int = 10
    """samples of each critic per state"""
    units: int = 64
    """width of the critics' two layers"""
    rate: float = 2e-3
    """learning rate at the beginning; it falls to 0"""


class Errors(NamedTuple):
    """Root mean square errors of critics over states."""

    mean_return: float
    """of the mean return, over the return's standard deviation"""
    mean_gradient: float
    """of the mean action gradient, over the gradient's standard deviation"""
    std_return: float
    """of the return's standard deviation, relative"""
    std_gradient: float
    """of the gradient's standard deviation, relative"""
    correlation: float
    """of the correlation between return and gradient"""


class Kind(NamedTuple):
    """A critic of the study."""

    title: str
    agent: DSDPGConfig
    action_noise: float = 0.0
    """on the policy's actions, where it is trained"""
    deterministic: bool = False
    """MAGE's: a value without noise"""


def kinds(config: LinearConfig) -> dict[str, Kind]:
    """The critics that can be compared.

    No samples are dropped, which would bias the law on purpose. Return and gradient count alike: here they are of one
    size. The critic without gradients needs noise to see what actions do.
    """
    network = NetworkConfig(config.units, 2)
    critic = CriticConfig(network=network, noise=4, samples=config.samples, drop=0.0, discount=0.8, rate=0.02)
    alike = DiscrepancyConfig(gradient_scale=1.0)
    base = DSDPGConfig(
        batch_size=config.batch, critic=critic, discrepancy=alike, optimizer=AdamConfig(critic=config.rate)
    )

    def using(**changes: Any) -> DSDPGConfig:
        return replace(base, discrepancy=replace(base.discrepancy, **changes))

    return {
        "msmmd": Kind("MSMMD", base),
        "item": Kind("MSMMD, a direction per state", using(direction="item")),
        "sliced": Kind("uniform slicing", using(kind="sliced")),
        "mmd": Kind("MMD", using(kind="mmd")),
        "biased": Kind("MSMMD, V-statistic", using(unbiased=False)),
        "return": Kind("MMD of the return alone", without_gradients(base), 0.3),
        "mage": Kind("MAGE", replace(base, critic=replace(critic, noise=0)), deterministic=True),
    }


def fit(system: LinearSystem, kind: Kind, updates: int, key: Key[Array, ""]) -> TwinCritic:
    """Critics of the linear policy after so many updates, with the learning rate falling to 0 along a cosine.

    They are trained at the policy's actions, as in the method, or with noise on these.
    """
    keys, (state, action), config = jax.random.split(key), system.b.shape, kind.agent
    critics = TwinCritic.init(keys[0], state, action, config.critic.noise, config.critic.network)
    rates = config.optimizer.critic * (0.5 + 0.5 * np.cos(np.linspace(0, np.pi, updates)))
    rule, weight = adam(config.optimizer, 1.0), jnp.full(config.batch_size, 1 / config.batch_size)

    def step(now: tuple[TwinCritic, TwinCritic, Any], drawn: tuple[Array, Array]) -> tuple[Any, None]:
        (critics, targets, memory), (key, rate) = now, drawn
        keys = jax.random.split(key, 3)
        states = SPREAD * jax.random.normal(keys[0], (config.batch_size, state))
        actions = jax.vmap(system.policy)(states)
        actions = actions + kind.action_noise * jax.random.normal(keys[1], actions.shape)
        where = (system.policy, system.model, system.noise.shape[1], states, actions, weight, keys[2], config)
        loss = deterministic_loss if kind.deterministic else critic_loss
        slopes, _ = jax.grad(loss, has_aux=True)(critics, targets, *where)
        changes, memory = rule.update(cast(Any, slopes), memory)
        changes = jax.tree.map(lambda change: rate * change, changes)
        critics = cast(TwinCritic, optax.apply_updates(cast(Any, critics), changes))
        return (critics, follow(targets, critics, config.critic.rate), memory), None

    begin = (critics, jax.tree.map(jnp.copy, critics), rule.init(cast(Any, critics)))
    drawn = (jax.random.split(keys[1], updates), jnp.asarray(rates, jnp.float32))
    return jax.lax.scan(step, begin, drawn)[0][0]


def deterministic_loss(
    critics: TwinCritic,
    targets: TwinCritic,
    policy: Policy,
    model: Model,
    noise: int,
    states: Float[Array, "batch state"],
    actions: Float[Array, "batch action"],
    weight: Float[Array, " batch"],
    key: Key[Array, ""],
    config: DSDPGConfig,
) -> tuple[Float[Array, ""], None]:
    """MAGE's loss, Huber(δ) + 5 Huber(‖∇ₐδ‖), with one draw of the model per state; arguments as of `critic_loss`."""

    def target(s: Array, a: Array, epsilon: Array) -> Array:
        def value(s: Array, a: Array, xi: Array) -> Array:
            return cautious(targets, s, a)

        return backup(model, policy, value, s, a, (epsilon, jnp.zeros(0), jnp.zeros_like(a)), config.critic.discount)

    wanted = jax.vmap(target)(states, actions, jax.random.normal(key, (states.shape[0], noise)))
    nothing = jnp.zeros((2, states.shape[0], 1, 0))
    found = critics.over(lambda one, xi: samples_at(one, states, actions, xi), nothing)[:, :, 0]
    error, slope = sobolev_errors(found, jax.lax.stop_gradient(wanted), weight)
    return error + 5 * slope, None


def laws(
    critics: TwinCritic, noise: int, states: Float[Array, "batch state"], system: LinearSystem, key: Key[Array, ""]
) -> Law:
    """Mean and covariance [2, batch, …] of each critic's samples at states and the policy's actions there."""
    actions = jax.vmap(system.policy)(states)
    xi = jax.random.normal(key, (2, states.shape[0], SAMPLES, noise))
    found = critics.over(lambda critic, xi: samples_at(critic, states, actions, xi), xi)
    mean = found.mean(2)
    gap = found - mean[:, :, None]
    return Law(mean, jnp.einsum("cbni,cbnj->cbij", gap, gap, precision="highest") / SAMPLES)


def errors(found: Law, exact: Law) -> Errors:
    """Of laws [2, batch, …] against the exact ones [batch, …]; of one action dimension."""
    ours, theirs = (moments(np.asarray(law.mean), np.asarray(law.covariance)) for law in (found, exact))
    off = [float(np.sqrt(np.square(a - b).mean())) for a, b in zip(ours[:2], theirs[:2], strict=True)]
    size = [float(np.sqrt(np.square(std).mean())) for std in theirs[2:4]]
    relative = [float(np.sqrt(np.square(a / b - 1).mean())) for a, b in zip(ours[2:4], theirs[2:4], strict=True)]
    correlation = float(np.sqrt(np.square(ours[4] - theirs[4]).mean()))
    return Errors(off[0] / size[0], off[1] / size[1], relative[0], relative[1], correlation)


def moments(mean: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, ...]:
    """Mean return, mean gradient, their standard deviations, and their correlation; of one action dimension."""
    std = np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))
    # a value without noise has no correlation
    correlation = covariance[..., 0, 1] / np.maximum(std.prod(-1), 1e-9)
    return mean[..., 0], mean[..., 1], std[..., 0], std[..., 1], correlation


def exact_laws(system: LinearSystem, states: Float[Array, "batch state"]) -> Law:
    """The law at every state and the policy's action there, in float64."""
    with jax.enable_x64(True):
        system, states = jax.tree.map(lambda x: jnp.asarray(np.asarray(x), jnp.float64), (system, states))
        found = jax.jit(jax.vmap(lambda s: exact_law(system, s, system.policy(s))))(states)
        return jax.tree.map(np.asarray, found)


def check(config: LinearConfig) -> None:
    """Raises UserError for sizes that the study cannot have."""
    if not config.seeds or min(config.seeds) < 0:
        raise UserError("--seeds needs one seed at least, from 0 on")
    for flag, value, least in (("updates", config.updates, 1), ("batch", config.batch, 1), ("units", config.units, 1)):
        if value < least:
            raise UserError(f"--{flag} is {value}, but must be at least {least}")
    if not config.critics:
        raise UserError("--critics is empty: give one at least, as in --critics msmmd mmd")
    for name in config.critics:
        if name not in kinds(config):
            raise nearest("critic", name, kinds(config))
    if config.samples < 2:
        raise UserError(f"--samples is {config.samples}, but a discrepancy needs at least 2")
    if not config.rate > 0:
        raise UserError(f"--rate is {config.rate}, but must be above 0")


def run(config: LinearConfig) -> list[dict[str, Any]]:
    """A record per kind of critic: errors of every seed, and the laws of seed one for the figure."""
    system, records = example(), []
    states = SPREAD * jax.random.normal(jax.random.key(10_000), (COMPARED, 2))
    exact = exact_laws(system, states)
    for kind in [kinds(config)[name] for name in config.critics]:
        train = jax.jit(partial(fit, system, kind, config.updates))
        begun, found = time.monotonic(), []
        for seed in config.seeds:
            critics = train(jax.random.key(seed))
            law = jax.jit(laws, static_argnums=1)(critics, kind.agent.critic.noise, states, system, jax.random.key(1))
            found.append((law, errors(law, exact)))
            print(f"{kind.title}, seed {seed}: {sentence([found[-1][1]])}", flush=True)
        records.append(
            {
                "name": kind.title,
                "seconds": time.monotonic() - begun,
                "errors": [error._asdict() for _, error in found],
                "mean": np.asarray(found[0][0].mean).tolist(),
                "covariance": np.asarray(found[0][0].covariance).tolist(),
                "exact_mean": exact.mean.tolist(),
                "exact_covariance": exact.covariance.tolist(),
            }
        )
    return records


def sentence(found: Sequence[Errors]) -> str:
    """Mean errors over seeds, in words."""
    mean = Errors(*np.mean([tuple(error) for error in found], 0).tolist())
    return (
        f"mean of return {mean.mean_return:.3f} and gradient {mean.mean_gradient:.3f} standard deviations off, "
        f"their deviations {100 * mean.std_return:.1f}% and {100 * mean.std_gradient:.1f}%, "
        f"their correlation {mean.correlation:.3f}"
    )


def lines(records: Sequence[dict[str, Any]]) -> list[str]:
    """A sentence per kind of critic."""
    return [f"{r['name']}: {sentence([Errors(**error) for error in r['errors']])}" for r in records]
