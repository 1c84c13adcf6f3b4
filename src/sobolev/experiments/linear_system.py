"""A linear system with noise, a linear policy and a quadratic reward. The distribution of return and action gradient is
known.

s' = A s + B a + L ε with ε ~ N(0, I), a = K s, r = −sᵀQs − aᵀRa. The return is a quadratic form in the noise of all
future steps, and its action gradient is linear in that noise. (With a linear reward the gradient would be constant.)
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class LinearSystem(eqx.Module):
    """The matrices above, and the discount γ."""

    a: Float[Array, "state state"]
    b: Float[Array, "state action"]
    noise: Float[Array, "state noise"]
    """L"""
    policy_gain: Float[Array, "action state"]
    """K"""
    state_cost: Float[Array, "state state"]
    """Q, symmetric"""
    action_cost: Float[Array, "action action"]
    """R, symmetric"""
    discount: float = eqx.field(static=True)

    def policy(self, state: Float[Array, " state"]) -> Float[Array, " action"]:
        """K s."""
        return self.policy_gain @ state

    def reward(self, state: Float[Array, " state"], action: Float[Array, " action"]) -> Float[Array, ""]:
        """−sᵀQs − aᵀRa."""
        return -(state @ self.state_cost @ state) - action @ self.action_cost @ action

    def model(
        self, state: Float[Array, " state"], action: Float[Array, " action"], noise: Float[Array, " noise"]
    ) -> tuple[Float[Array, " state"], Float[Array, ""], Float[Array, ""]]:
        """Returns (s', r, 0) for (s, a, ε), like a learned model."""
        following = self.a @ state + self.b @ action + self.noise @ noise
        return following, self.reward(state, action), jnp.zeros((), following.dtype)

    @property
    def kappa(self) -> float:
        """max(1, ‖[A B]‖ √(1 + ‖K‖²)), the bound on how much the operator stretches a sample, without the discount."""
        reach = np.linalg.norm(np.concatenate([self.a, self.b], 1), 2)
        return max(1.0, float(reach * np.sqrt(1 + np.linalg.norm(np.asarray(self.policy_gain), 2) ** 2)))


class Moments(NamedTuple):
    """Mean and covariance of [return; ∂return/∂a]."""

    mean: Float[Array, " vector"]
    covariance: Float[Array, "vector vector"]


def example(discount: float = 0.8) -> LinearSystem:
    """Returns a system with two states and one action that is stable under its policy."""
    return LinearSystem(
        a=jnp.array([[0.8, 0.3], [-0.2, 0.7]]),
        b=jnp.array([[0.2], [0.6]]),
        noise=jnp.array([[0.3, 0.0], [0.1, 0.3]]),
        policy_gain=jnp.array([[-0.2, -0.4]]),
        state_cost=jnp.array([[1.0, 0.2], [0.2, 0.5]]),
        action_cost=jnp.array([[0.5]]),
        discount=discount,
    )


def rollout_return(
    system: LinearSystem,
    state: Float[Array, " state"],
    action: Float[Array, " action"],
    noise: Float[Array, "steps noise"],
) -> Float[Array, ""]:
    """Returns Σ γᵗ rₜ from a state and a first action for given noise, over as many steps as it has."""

    def step(now: tuple[Array, Array], drawn: tuple[Array, Array]) -> tuple[tuple[Array, Array], Array]:
        (state, action), (epsilon, weight) = now, drawn
        following, reward, _ = system.model(state, action, epsilon)
        return (following, system.policy(following)), weight * reward

    weights = jnp.asarray(system.discount ** np.arange(len(noise)), noise.dtype)
    return jax.lax.scan(step, (state, action), (noise, weights))[1].sum()


def exact_moments(
    system: LinearSystem, state: Float[Array, " state"], action: Float[Array, " action"], steps: int = 80
) -> Moments:
    """Returns mean and covariance of [return; ∂return/∂a], exact except for the rewards after `steps` (0.8⁸⁰ is 2e-8).

    In the stacked noise w, the return is c + pᵀw + ½ wᵀMw and its gradient g + Nw. The means are c + ½ tr M and g, the
    variances pᵀp + ½ tr M² and NNᵀ, and the covariance is Np, since odd moments of w vanish.
    """
    size = action.size

    def value(v: Float[Array, " variables"]) -> Float[Array, ""]:
        return rollout_return(system, state, v[:size], v[size:].reshape(steps, -1))

    at = jnp.concatenate([action, jnp.zeros(steps * system.noise.shape[1], action.dtype)])
    gradient, hessian = jax.grad(value)(at), jax.hessian(value)(at)
    linear, own, mixed = gradient[size:], hessian[size:, size:], hessian[:size, size:]
    mean = jnp.concatenate([(value(at) + jnp.trace(own) / 2)[None], gradient[:size]])
    variance, shared = linear @ linear + jnp.sum(jnp.square(own)) / 2, mixed @ linear
    top = jnp.concatenate([variance[None], shared])
    return Moments(mean, jnp.concatenate([top[None], jnp.concatenate([shared[:, None], mixed @ mixed.T], 1)]))
