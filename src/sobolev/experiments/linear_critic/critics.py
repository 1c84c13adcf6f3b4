"""The critics that are compared, and how they are trained with the true model of a linear system."""

from dataclasses import dataclass, replace
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
from sobolev.agents.dsdpg.optimizer import adam
from sobolev.agents.dsdpg.target import Model, backup
from sobolev.experiments.linear_system import LinearSystem
from sobolev.nn import follow

SPREAD = 0.6
"""Standard deviation of the states at which critics are trained and compared."""


@dataclass(frozen=True)
class LinearConfig:
    """Sizes of the study; the defaults take about ten minutes on one core."""

    out: Path = Path("results/linear")
    """folder for the figure (PNG and PDF) and the numbers (JSON)"""
    seeds: tuple[int, ...] = (0, 1, 2)
    """seeds; each one draws its own networks and training samples"""
    critics: tuple[str, ...] = ("msmmd", "item", "sliced", "mmd", "biased", "return", "mage")
    """critics to compare. msmmd: DSDPG; item: MSMMD with a direction per state; sliced: uniform slicing; mmd: no
    slicing; biased: the V-statistic of MSMMD; return: MMD of the return only; mage: deterministic"""
    updates: int = 4000
    """updates of the critics"""
    batch: int = 128
    """states per update"""
    samples: int = 10
    """samples of each critic per state"""
    units: int = 64
    """width of the critics' two layers"""
    rate: float = 2e-3
    """initial learning rate; it decays to 0"""


class Kind(NamedTuple):
    """A critic of the study."""

    title: str
    agent: DSDPGConfig
    action_noise: float = 0.0
    """standard deviation of the noise on the policy's actions in training"""
    deterministic: bool = False
    """whether it is MAGE's critic, which has no noise input"""


def kinds(config: LinearConfig) -> dict[str, Kind]:
    """Returns the critics that can be compared.

    No samples are dropped, since that biases the distribution on purpose. Return and gradient have equal weight, since
    their scales are equal here. The critic without gradients needs noise on the actions to learn their effect.
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
    """Trains critics of the linear policy for `updates` updates, with a learning rate that decays to 0 along a cosine.

    They are trained at the policy's actions, or with noise on them.
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
    """Returns MAGE's loss, Huber(δ) + 5 Huber(‖∇ₐδ‖), with one draw of the model per state. Arguments as in
    `critic_loss`."""

    def target(s: Array, a: Array, epsilon: Array) -> Array:
        def value(s: Array, a: Array, xi: Array) -> Array:
            return cautious(targets, s, a)

        return backup(model, policy, value, s, a, (epsilon, jnp.zeros(0), jnp.zeros_like(a)), config.critic.discount)

    wanted = jax.vmap(target)(states, actions, jax.random.normal(key, (states.shape[0], noise)))
    nothing = jnp.zeros((2, states.shape[0], 1, 0))
    predicted = critics.over(lambda one, xi: samples_at(one, states, actions, xi), nothing)[:, :, 0]
    error, slope = sobolev_errors(predicted, jax.lax.stop_gradient(wanted), weight)
    return error + 5 * slope, None
