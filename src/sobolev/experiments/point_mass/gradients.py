"""The action gradients of trained critics, compared with the true ones, by differences of the simulator's returns.

The true Q(s, a) is the expected discounted return of the trained policy after action a, without an end of the episode,
since all methods treat the end as a truncation. Its gradient is the mean over rollouts of the discounted return's
slope between a − 0.1 and a + 0.1, one entry of a at a time, with the same noise on both sides. The simulator could be
differentiated at a itself, but where a policy makes the closed loop unstable the derivative grows exponentially along
the rollout, and the mean of such numbers over some rollouts tells nothing about Q.

Every method has two critics, initialised and trained on their own against shared targets. With errors e₁ and e₂ of
their gradients, the mean of ⟨e₁, e₂⟩ estimates the squared bias, what both have in common, and the mean of
½‖e₁ − e₂‖² the variance, what differs between them.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from sobolev.agents.dsdpg.learner import Learner, State
from sobolev.agents.dsdpg.networks import Value, joined
from sobolev.envs.families.toy import REVEAL, STIR, Layout, closeness, locations, moved, worths
from sobolev.experiments.api import Record
from sobolev.experiments.trained import visited

EPISODES = 8
"""Episodes per seed from which the states are drawn."""
HORIZON = 400
"""Steps of a rollout. With a discount of 0.99, 2% of a constant return come later, and nothing of the gradient."""
SAMPLES = 64
"""Samples of each critic's distribution at every state."""
STEP = 0.1
"""Half the interval of an action's entry over which slopes are taken, less at the ends of its range."""
CHUNK = 8
"""States whose rollouts are made together, which bounds the memory."""


class Mass(NamedTuple):
    """The state of the simulator."""

    position: Float[Array, " dimensions"]
    velocity: Float[Array, " dimensions"]
    goal: Int[Array, ""]
    """the location, −1 while it is unknown"""


def compare(run: Path, layout: Layout, noise: float, states: int, rollouts: int) -> list[Record]:
    """Compares the critics of a run with the simulator, at `states` states of the policy's own episodes.

    Returns for every seed `bias` and `variance` of the action gradient, both relative to the true gradient's mean
    square; `cosine`, the mean cosine between the mean of both critics' gradients and the true one; `agreement`, the
    mean cosine between two independent estimates of the true one, each from half of the rollouts; and `predicted` and
    `true`, the mean values. Estimates of `bias` are unbiased and may be slightly negative. Where `agreement` is low,
    the true gradient is too small beside its noise to have a direction, and `cosine` cannot be high.
    """
    agent, found = visited(run, EPISODES, states)
    records = []
    for seed, state, now, _ in found:
        numbers = _compare(agent, layout, rollouts, state, now["observation"], noise, jax.random.key(seed))
        records.append({"seed": seed, **{name: float(number) for name, number in numbers.items()}})
    return records


@partial(jax.jit, static_argnums=(0, 1, 2))
def _compare(
    agent: Learner,
    layout: Layout,
    rollouts: int,
    state: State,
    observation: dict[str, Float[Array, "states dimensions"]],
    noise: Float[Array, ""] | float,
    key: Key[Array, ""],
) -> dict[str, Float[Array, ""]]:
    """The numbers of `compare`, for the agent of one seed."""
    critic_key, rollout_key = jax.random.split(key)
    states = jax.vmap(state.statistics.normalised)(joined(agent.spaces, observation))
    actions = jax.vmap(state.model.actor)(states)
    values, found = critic_gradients(agent, state, states, actions, critic_key)

    def policy(mass: Mass) -> Float[Array, " dimensions"]:
        seen = joined(agent.spaces, {name: entry[None] for name, entry in observed(mass, layout).items()})[0]
        return state.model.actor(state.statistics.normalised(seen))

    masses = jax.vmap(lambda p, v, g: Mass(p, v, location_of(g, layout)))(
        *(observation[name] for name in ("position", "velocity", "goal"))
    )
    draw = partial(simulate, policy, layout=layout, noise=noise, discount=agent.config.critic.discount)

    def truth(one: tuple[Mass, Array, Array]) -> tuple[Float[Array, ""], Float[Array, "2 dimensions"]]:
        mass, action, key = one
        keys = jax.random.split(key, (2, rollouts // 2))

        def values(action: Float[Array, " dimensions"]) -> Float[Array, "2"]:
            return jax.vmap(jax.vmap(lambda k: draw(mass, action, k)))(keys).mean(1)

        return values(action).mean(), slopes(values, action).T

    keys = jax.random.split(rollout_key, states.shape[0])
    true_values, halves = jax.lax.map(truth, (masses, actions, keys), batch_size=min(CHUNK, states.shape[0]))
    return statistics(found, halves) | {"predicted": values.mean(), "true": true_values.mean()}


def slopes(
    values: Callable[[Float[Array, " dimensions"]], Float[Array, "..."]], action: Float[Array, " dimensions"]
) -> Float[Array, "dimensions ..."]:
    """The slope of `values` along every entry of an action, between STEP below and STEP above it within [−1, 1]."""

    def along(entry: Int[Array, ""]) -> Float[Array, "..."]:
        ends = jnp.clip(action[entry] + jnp.asarray([-STEP, STEP]), -1.0, 1.0)
        low, high = (values(action.at[entry].set(end)) for end in ends)
        return (high - low) / (ends[1] - ends[0])

    return jax.vmap(along)(jnp.arange(action.size))


def statistics(
    found: Float[Array, "2 states dimensions"], halves: Float[Array, "states 2 dimensions"]
) -> dict[str, Float[Array, ""]]:
    """`bias`, `variance`, `cosine` and `agreement` (see `compare`), given the gradients of both critics and two
    independent estimates of the true ones.

    Products of errors take one estimate each, so that the noise of the estimates does not count as bias.
    """
    one, other = halves[:, 0], halves[:, 1]
    truth, mean = halves.mean(1), found.mean(0)
    scale = jnp.sum(one * other, -1).mean()
    crossed = jnp.sum((found[0] - one) * (found[1] - other) + (found[0] - other) * (found[1] - one), -1).mean() / 2
    spread = jnp.sum(jnp.square(found[0] - found[1]), -1).mean() / 2
    return {
        "bias": crossed / scale,
        "variance": spread / scale,
        "cosine": cosines(mean, truth).mean(),
        "agreement": cosines(one, other).mean(),
    }


def cosines(one: Float[Array, "states action"], other: Float[Array, "states action"]) -> Float[Array, " states"]:
    """The cosine between two gradients at every state, 0 where one of them is."""
    lengths = jnp.linalg.norm(one, axis=-1) * jnp.linalg.norm(other, axis=-1)
    return jnp.sum(one * other, -1) / jnp.maximum(lengths, 1e-30)


def critic_gradients(
    agent: Learner,
    state: State,
    states: Float[Array, "states state"],
    actions: Float[Array, "states action"],
    key: Key[Array, ""],
) -> tuple[Float[Array, "2 states"], Float[Array, "2 states action"]]:
    """The expected values of both critics and their gradients by the action, at normalised states."""
    noise = agent.critic_noise(key, (2, states.shape[0], SAMPLES))

    def of_critic(critic: Value, noise: Array) -> tuple[Array, Array]:
        def mean(state: Array, action: Array, noise: Array) -> Array:
            return jax.vmap(lambda xi: critic(state, action, xi))(noise).mean()

        return jax.vmap(jax.value_and_grad(mean, argnums=1))(states, actions, noise)

    return state.model.critics.over(of_critic, noise)


def simulate(
    policy: Callable[[Mass], Float[Array, " dimensions"]],
    mass: Mass,
    action: Float[Array, " dimensions"],
    key: Key[Array, ""],
    *,
    layout: Layout,
    noise: Float[Array, ""] | float,
    discount: float,
) -> Float[Array, ""]:
    """The discounted return of one rollout of the policy, after a first action."""
    places = jnp.asarray(locations(layout), jnp.float32)
    heights = jnp.asarray(worths(layout.locations), jnp.float32)
    deviation = jnp.sqrt(STIR**2 + noise**2)

    def step(now: tuple[Mass, Array], drawn: tuple[Array, Array]) -> tuple[tuple[Mass, Array], Array]:
        (mass, push), (key, weight), number = now, drawn, layout.locations
        keys = jax.random.split(key, 3)
        added = deviation * jax.random.normal(keys[0], push.shape)
        position, velocity = moved(mass.position, mass.velocity, push, added, jnp)
        revealed = jax.random.uniform(keys[1]) < REVEAL
        goal = jnp.where((mass.goal < 0) & revealed, jax.random.randint(keys[2], (), 0, number), mass.goal)
        at = jnp.maximum(goal, 0)
        reward = jnp.where(goal >= 0, heights[at] * closeness(position, places[at], jnp), 0.0)
        following = Mass(position, velocity, goal)
        return (following, policy(following)), weight * reward

    weights = jnp.asarray(discount ** np.arange(HORIZON), jnp.float32)
    _, rewards = jax.lax.scan(step, (mass, action), (jax.random.split(key, HORIZON), weights))
    return rewards.sum()


def observed(mass: Mass, layout: Layout) -> dict[str, Float[Array, " dimensions"]]:
    """The observation of the simulator's state."""
    places = jnp.asarray(locations(layout), jnp.float32)
    goal = jnp.where(mass.goal >= 0, places[jnp.maximum(mass.goal, 0)], 0.0)
    return {"goal": goal, "position": mass.position, "velocity": mass.velocity}


def location_of(goal: Float[Array, " dimensions"], layout: Layout) -> Int[Array, ""]:
    """The location that an observation shows, −1 if none."""
    nearest = jnp.argmin(jnp.sum(jnp.square(jnp.asarray(locations(layout), jnp.float32) - goal[None]), 1))
    return jnp.where(jnp.any(goal != 0), nearest, -1).astype(jnp.int32)
