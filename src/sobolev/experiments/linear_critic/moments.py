"""Mean and covariance of [return; action gradient]: those of critics, against the exact ones."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from sobolev.agents.dsdpg.critic import samples_at
from sobolev.agents.dsdpg.networks import TwinCritic
from sobolev.experiments.linear_system import LinearSystem, Moments, exact_moments

SAMPLES = 2000
"""Samples of each critic at each state."""


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


def critic_moments(
    critics: TwinCritic, noise: int, states: Float[Array, "batch state"], system: LinearSystem, key: Key[Array, ""]
) -> Moments:
    """Mean and covariance [2, batch, …] of each critic's samples at states and the policy's actions there."""
    actions = jax.vmap(system.policy)(states)
    xi = jax.random.normal(key, (2, states.shape[0], SAMPLES, noise))
    samples = critics.over(lambda critic, xi: samples_at(critic, states, actions, xi), xi)
    mean = samples.mean(2)
    gap = samples - mean[:, :, None]
    return Moments(mean, jnp.einsum("cbni,cbnj->cbij", gap, gap, precision="highest") / SAMPLES)


def errors(learned: Moments, exact: Moments) -> Errors:
    """Of critics' moments [2, batch, …] against the exact ones [batch, …]; of one action dimension."""
    ours, theirs = (statistics(np.asarray(one.mean), np.asarray(one.covariance)) for one in (learned, exact))
    off = [float(np.sqrt(np.square(a - b).mean())) for a, b in zip(ours[:2], theirs[:2], strict=True)]
    size = [float(np.sqrt(np.square(std).mean())) for std in theirs[2:4]]
    relative = [float(np.sqrt(np.square(a / b - 1).mean())) for a, b in zip(ours[2:4], theirs[2:4], strict=True)]
    correlation = float(np.sqrt(np.square(ours[4] - theirs[4]).mean()))
    return Errors(off[0] / size[0], off[1] / size[1], relative[0], relative[1], correlation)


def statistics(mean: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, ...]:
    """Mean return, mean gradient, their standard deviations, and their correlation; of one action dimension."""
    std = np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))
    # a value without noise has no correlation
    correlation = covariance[..., 0, 1] / np.maximum(std.prod(-1), 1e-9)
    return mean[..., 0], mean[..., 1], std[..., 0], std[..., 1], correlation


def exact_at(system: LinearSystem, states: Float[Array, "batch state"]) -> Moments:
    """The exact moments at every state and the policy's action there, in float64."""
    with jax.enable_x64(True):
        system, states = jax.tree.map(lambda x: jnp.asarray(np.asarray(x), jnp.float64), (system, states))
        exact = jax.jit(jax.vmap(lambda s: exact_moments(system, s, system.policy(s))))(states)
        return jax.tree.map(np.asarray, exact)


def sentence(errors: Sequence[Errors]) -> str:
    """Mean errors over seeds, in words."""
    mean = Errors(*np.mean([tuple(error) for error in errors], 0).tolist())
    return (
        f"mean of return {mean.mean_return:.3f} and gradient {mean.mean_gradient:.3f} standard deviations off, "
        f"their deviations {100 * mean.std_return:.1f}% and {100 * mean.std_gradient:.1f}%, "
        f"their correlation {mean.correlation:.3f}"
    )
