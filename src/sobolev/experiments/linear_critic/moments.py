"""Mean and covariance of [return; action gradient] of critics, and their errors."""

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
"""Number of samples of each critic at each state."""


class Errors(NamedTuple):
    """Root mean square errors of critics over states."""

    mean_return: float
    """error of the mean return, divided by the standard deviation of the return"""
    mean_gradient: float
    """error of the mean action gradient, divided by the standard deviation of the gradient"""
    std_return: float
    """relative error of the standard deviation of the return"""
    std_gradient: float
    """relative error of the standard deviation of the gradient"""
    correlation: float
    """error of the correlation between return and gradient"""


def critic_moments(
    critics: TwinCritic, noise: int, states: Float[Array, "batch state"], system: LinearSystem, key: Key[Array, ""]
) -> Moments:
    """Returns mean and covariance [2, batch, …] of the samples of each critic at states and the policy's actions."""
    actions = jax.vmap(system.policy)(states)
    xi = jax.random.normal(key, (2, states.shape[0], SAMPLES, noise))
    samples = critics.over(lambda critic, xi: samples_at(critic, states, actions, xi), xi)
    mean = samples.mean(2)
    gap = samples - mean[:, :, None]
    return Moments(mean, jnp.einsum("cbni,cbnj->cbij", gap, gap, precision="highest") / SAMPLES)


def errors(learned: Moments, exact: Moments) -> Errors:
    """Returns the errors of the critics' moments [2, batch, …], given the exact ones [batch, …], for one action
    dimension."""
    ours, theirs = (statistics(np.asarray(one.mean), np.asarray(one.covariance)) for one in (learned, exact))
    off = [float(np.sqrt(np.square(a - b).mean())) for a, b in zip(ours[:2], theirs[:2], strict=True)]
    size = [float(np.sqrt(np.square(std).mean())) for std in theirs[2:4]]
    relative = [float(np.sqrt(np.square(a / b - 1).mean())) for a, b in zip(ours[2:4], theirs[2:4], strict=True)]
    correlation = float(np.sqrt(np.square(ours[4] - theirs[4]).mean()))
    return Errors(off[0] / size[0], off[1] / size[1], relative[0], relative[1], correlation)


def statistics(mean: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, ...]:
    """Returns mean return, mean gradient, their standard deviations and their correlation, for one action dimension."""
    std = np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))
    # a critic without noise has no correlation
    correlation = covariance[..., 0, 1] / np.maximum(std.prod(-1), 1e-9)
    return mean[..., 0], mean[..., 1], std[..., 0], std[..., 1], correlation


def exact_at(system: LinearSystem, states: Float[Array, "batch state"]) -> Moments:
    """Returns the exact moments at states and the policy's actions, in float64."""
    with jax.enable_x64(True):
        system, states = jax.tree.map(lambda x: jnp.asarray(np.asarray(x), jnp.float64), (system, states))
        exact = jax.jit(jax.vmap(lambda s: exact_moments(system, s, system.policy(s))))(states)
        return jax.tree.map(np.asarray, exact)


def sentence(errors: Sequence[Errors]) -> str:
    """Describes the mean errors over seeds in words."""
    mean = Errors(*np.mean([tuple(error) for error in errors], 0).tolist())
    return (
        f"mean of return {mean.mean_return:.3f} and gradient {mean.mean_gradient:.3f} standard deviations off, "
        f"their deviations {100 * mean.std_return:.1f}% and {100 * mean.std_gradient:.1f}%, "
        f"their correlation {mean.correlation:.3f}"
    )
