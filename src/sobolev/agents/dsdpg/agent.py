"""The DSDPG agent: pure functions over one pytree of state, and each loss on one page."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key

from sobolev.agents.dsdpg.config import DSDPGConfig
from sobolev.agents.dsdpg.critic import actor_loss, critic_loss
from sobolev.agents.dsdpg.dynamics import Dynamics
from sobolev.agents.dsdpg.learner import Learner, Metrics, Model, Optimizers, State, Targets
from sobolev.agents.dsdpg.networks import Actor, TwinCritic, vector_size
from sobolev.agents.dsdpg.optimizer import Rules, adam, chosen, descend, follow
from sobolev.agents.dsdpg.units import Pairs, Statistics, imagination
from sobolev.smoothness import jacobian_penalty, sample_states


@dataclass(frozen=True)
class DSDPG(Learner[DSDPGConfig, Dynamics]):
    """Distributional Sobolev deterministic policy gradient (paper 2)."""

    config: DSDPGConfig

    def init(self, key: Key[Array, ""]) -> State[Dynamics]:
        """A fresh agent; target networks start as copies."""
        config, keys = self.config, jax.random.split(key, 3)
        state, action = vector_size(self.spaces), self.spaces.action
        actor = Actor.init(keys[0], state, action, config.actor.network)
        critics = TwinCritic.init(keys[1], state, action, config.critic.noise, config.critic.network)
        dynamics = Dynamics.init(keys[2], state, action, config.dynamics)
        return self.begin(Model(actor, critics, dynamics), self.rules)

    @property
    def rules(self) -> Rules:
        """Optimizers of actor, critics and model."""
        rates = self.config.optimizer
        return (
            adam(rates, rates.actor),
            adam(rates, rates.critic),
            adam(rates, rates.dynamics, rates.dynamics_clip),
        )

    def update(
        self, state: State[Dynamics], pairs: Pairs, key: Key[Array, ""], number: Int[Array, ""]
    ) -> tuple[State[Dynamics], Bool[Array, ""], Metrics]:
        """The state after update `number` (from 0) on a batch, whether all of it was finite, and metrics.

        The model learns from the first update on; critics and actor once it has had its warm-up, the actor every
        `delay` updates. Target networks follow after every update.
        """
        config, rules, keys = self.config, self.rules, jax.random.split(key)
        old, model, remembered = state.statistics, state.model, state.optimizers
        change = old.change.update(pairs.following - pairs.state, pairs.valid, config.dynamics.memory)
        state = replace(state, statistics=replace(old, change=change))
        ready = number >= config.dynamics.warmup

        gradient = jax.grad(self.loss, (0, 1), has_aux=True)
        (slopes, critic_slopes), metrics = gradient(model.dynamics, model.critics, state, pairs, keys[0])
        dynamics, dynamics_memory = descend(rules[2], model.dynamics, slopes, remembered.dynamics)
        stepped = descend(rules[1], model.critics, critic_slopes, remembered.critics)
        critics, critics_memory = chosen(ready, stepped, (model.critics, remembered.critics))

        def improve() -> tuple[Actor, Any, Float[Array, ""]]:
            states = jax.vmap(state.statistics.normalised)(pairs.state)

            def loss(actor: Actor) -> Float[Array, ""]:
                return actor_loss(self.cast(actor), self.cast(critics), states, pairs.weight, keys[1], config)

            slope = jax.grad(loss)(model.actor)
            return *descend(rules[0], model.actor, slope, remembered.actor), optax.tree.norm(slope)

        def wait() -> tuple[Actor, Any, Float[Array, ""]]:
            return model.actor, remembered.actor, jnp.zeros(())

        due = ready & (number % config.actor.delay == 0)
        actor, actor_memory, actor_norm = jax.lax.cond(due, improve, wait)

        norms = {"dynamics": optax.tree.norm(slopes), "critic": optax.tree.norm(critic_slopes), "actor": actor_norm}
        metrics |= {f"gradient_norm/{name}": norm for name, norm in norms.items()}
        finite = jnp.isfinite(jnp.stack(list(metrics.values()))).all()
        updated = replace(
            state,
            model=Model(actor, critics, dynamics),
            targets=follow(state.targets, Targets(actor, critics), config.critic.rate),
            optimizers=Optimizers(actor_memory, critics_memory, dynamics_memory),
        )
        return updated, finite, metrics

    def loss(
        self, dynamics: Dynamics, critics: TwinCritic, state: State[Dynamics], pairs: Pairs, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], Metrics]:
        """Loss of world model and critics (paper 2); no term of the one has a gradient in the other."""
        config, units, keys = self.config, state.statistics, jax.random.split(key, 4)
        dynamics, critics = self.cast(dynamics), self.cast(critics)
        actor, targets = self.cast((state.model.actor, state.targets))
        states, following = jax.vmap(units.normalised)(pairs.state), jax.vmap(units.normalised)(pairs.following)

        # World model: evidence bound of (Δs, r) given (s, a), and the end of the episode.
        outcome = jax.vmap(units.outcome)(pairs.state, pairs.following, pairs.reward)
        latent = jax.random.normal(keys[0], (states.shape[0], config.dynamics.latent))
        terms = jax.vmap(dynamics.losses)(states, pairs.action, outcome, following, pairs.terminal, latent)
        likelihood, divergence, ending = [jnp.sum(pairs.weight * term) for term in terms]
        model_loss = likelihood + config.dynamics.beta * divergence + ending

        # Ours: Jacobian penalty on the map (s, a) → s', since κ of the contraction condition γκ < 1 grows with it.
        penalty = jnp.zeros(())
        if config.dynamics.penalty > 0:
            penalty = self.penalty(dynamics, units, states, pairs.action, keys[1])

        # Critics: samples [Z; ∂Z/∂a] against [y; ∂y/∂a] through model, target policy and target critics.
        actions = self.judged(actor, states, pairs.action, keys[3])
        model, where = imagination(dynamics, units), (states, actions, pairs.weight)
        far, compared = critic_loss(
            critics, targets.critics, targets.actor, model, dynamics.noise, *where, keys[2], config
        )

        metrics = {
            "loss/model_likelihood": likelihood,
            "loss/model_divergence": divergence,
            "loss/model_ending": ending,
            "loss/critic": far,
            "penalty/transition": penalty,
            "direction/return": jnp.square(compared.direction[..., 0]).mean(),
            **summary("predicted", compared.found.reshape(-1, *compared.found.shape[2:])),
            **summary("target", compared.wanted),
        }
        return model_loss + config.dynamics.penalty * penalty + far, jax.lax.stop_gradient(metrics)

    def judged(
        self,
        actor: Actor,
        states: Float[Array, "batch state"],
        replayed: Float[Array, "batch action"],
        key: Key[Array, ""],
    ) -> Float[Array, "batch action"]:
        """The actions at which critics are trained, constants: the policy's with noise, or those replayed.

        The noise is ours: at the policy's actions alone a critic knows all others by its gradient, which comes from a
        model that errs, and where returns are flat it knows nothing.
        """
        critic = self.config.critic
        if critic.actions == "replay":
            return replayed
        around = critic.spread * jax.random.normal(key, replayed.shape)
        return jax.lax.stop_gradient(jnp.clip(jax.vmap(actor)(states) + around, -1.0, 1.0))

    def penalty(
        self,
        dynamics: Dynamics,
        units: Statistics,
        states: Float[Array, "batch state"],
        actions: Float[Array, "batch action"],
        key: Key[Array, ""],
    ) -> Float[Array, ""]:
        """Mean ‖∂ŝ'/∂(s, a)‖_F² of the model's map at a fraction of the batch, one draw ε for all, normalised units.

        Its root bounds the spectral norm in κ from above (docs/dsdpg.md).
        """
        keys, size = jax.random.split(key, 3), states.shape[1]
        sampled = sample_states(keys[0], len(states), self.config.dynamics.penalty_rho)
        noise, model = jax.random.normal(keys[1], (dynamics.noise,)), imagination(dynamics, units)
        inputs = jnp.concatenate([states, actions], -1)[sampled]
        return jacobian_penalty(lambda x: model(x[:size], x[size:], noise)[0][None], inputs, keys[2]).value


def summary(name: str, samples: Float[Array, "batch samples vector"]) -> Metrics:
    """Mean and spread of the returns among samples, and the root mean square length of their action gradients."""
    return {
        f"return/{name}": samples[..., 0].mean(),
        f"return/{name}_std": samples[..., 0].std(1).mean(),
        f"gradient/{name}": jnp.sqrt(jnp.square(samples[..., 1:]).sum(-1).mean()),
    }
