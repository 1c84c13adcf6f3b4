"""TD3 (arXiv 1802.09477) with Huber loss: the baseline without a world model."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key

from sobolev.agents.baselines.config import TD3Config
from sobolev.agents.dsdpg.learner import Learner, Metrics, Model, Optimizers, State, Targets
from sobolev.agents.dsdpg.networks import Actor, TwinCritic, vector_size
from sobolev.agents.dsdpg.optimizer import adam, descend, turn
from sobolev.agents.dsdpg.target import clipped_normal
from sobolev.agents.dsdpg.units import Pairs
from sobolev.nn import follow


@dataclass(frozen=True)
class TD3(Learner[TD3Config, tuple[()]]):
    """Twin delayed deterministic policy gradient."""

    config: TD3Config

    def init(self, key: Key[Array, ""]) -> State[tuple[()]]:
        """A fresh agent."""
        config, keys = self.config, jax.random.split(key)
        state, action = vector_size(self.spaces), self.spaces.action
        actor = Actor.init(keys[0], state, action, config.actor.network)
        critics = TwinCritic.init(keys[1], state, action, 0, config.critic.network)
        return self.begin(Model(actor, critics, ()), self.rules)

    @property
    def rules(self) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
        """The optimizers of actor and critics."""
        rates = self.config.optimizer
        return adam(rates, rates.actor), adam(rates, rates.critic)

    def update(
        self, state: State[tuple[()]], pairs: Pairs, key: Key[Array, ""], number: Int[Array, ""]
    ) -> tuple[State[tuple[()]], Bool[Array, ""], Metrics]:
        """The state after update `number`, whether everything was finite, and metrics.

        Actor and targets are updated every `delay` updates.
        """
        config, model, memories, weight = self.config, state.model, state.optimizers, pairs.weight
        states, following = map(jax.vmap(state.statistics.normalised), (pairs.state, pairs.following))

        # Critics: y = r + γ (1 − d) min_j Q̄_j(s', π̄(s') + noise), at the actions that were taken.
        targets, critic = self.cast(state.targets), config.critic
        noise = clipped_normal(key, pairs.action.shape, critic.smoothing, critic.smoothing_clip)
        value = jax.vmap(lambda s, n: cautious(targets.critics, s, targets.actor(s) + n))(following, noise)
        wanted = jax.lax.stop_gradient(pairs.reward + critic.discount * (1 - pairs.terminal) * value)

        def critic_loss(critics: TwinCritic) -> tuple[Float[Array, ""], Float[Array, "batch 2"]]:
            found = jax.vmap(lambda s, a: self.cast(critics)(s, a, jnp.zeros((2, 0))))(states, pairs.action)
            errors = optax.losses.huber_loss(found, jnp.stack([wanted] * 2, 1))
            return jnp.sum(weight * errors.mean(1)), found

        (loss, found), slopes = jax.value_and_grad(critic_loss, has_aux=True)(model.critics)
        critics, critics_memory = descend(self.rules[1], model.critics, slopes, memories.critics)

        def improve() -> tuple[tuple[Actor, optax.OptState, Targets], Float[Array, ""]]:
            def actor_loss(actor: Actor) -> Float[Array, ""]:
                policy, first = self.cast(actor), self.cast(critics)
                values = jax.vmap(lambda s: first(s, policy(s), jnp.zeros((2, 0)))[0])(states)
                return -jnp.sum(weight * values)

            slope = jax.grad(actor_loss)(model.actor)
            actor, actor_memory = descend(self.rules[0], model.actor, slope, memories.actor)
            targets = follow(state.targets, Targets(actor, critics), config.critic.rate)
            return (actor, actor_memory, targets), optax.tree.norm(slope)

        def wait() -> tuple[tuple[Actor, optax.OptState, Targets], Float[Array, ""]]:
            return (model.actor, memories.actor, state.targets), jnp.zeros(())

        due = turn(number, config.actor.delay)
        (actor, actor_memory, targets), actor_norm = jax.lax.cond(due, improve, wait)
        metrics = {
            "loss/critic": loss,
            "return/predicted": jnp.sum(weight * found.mean(1)),
            "return/target": jnp.sum(weight * wanted),
            "gradient_norm/critic": optax.tree.norm(slopes),
            "gradient_norm/actor": actor_norm,
        }
        memories = Optimizers(actor_memory, critics_memory, ())
        after = replace(state, model=Model(actor, critics, ()), targets=targets, optimizers=memories)
        return after, jnp.isfinite(jnp.stack(list(metrics.values()))).all(), metrics


def cautious(critics: TwinCritic, state: Float[Array, " state"], action: Float[Array, " action"]) -> Float[Array, ""]:
    """The smaller of both critics' values, at the action clipped to [−1, 1]."""
    return critics(state, jnp.clip(action, -1.0, 1.0), jnp.zeros((2, 0))).min()
