"""MAGE (arXiv 2004.14309): deterministic critics, trained on the TD error and its action gradient through a model."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key

from sobolev import replay as memory
from sobolev.agents.api import Report
from sobolev.agents.baselines.config import MAGEConfig
from sobolev.agents.baselines.ensemble import Ensemble
from sobolev.agents.baselines.td3 import cautious
from sobolev.agents.dsdpg.learner import Learner, Metrics, Model, Optimizers, State, Targets
from sobolev.agents.dsdpg.networks import Actor, TwinCritic, sobolev_sample, vector_size
from sobolev.agents.dsdpg.optimizer import Rules, chosen, descend, rectified_adam, turn
from sobolev.agents.dsdpg.target import backup, clipped_normal
from sobolev.agents.dsdpg.units import Pairs, imagination, pairs_of
from sobolev.nn import Perceptron, follow
from sobolev.replay import AnyReplay

Moved = tuple[Actor, optax.OptState, Actor]
"""An actor, its optimizer's state, and its target network."""


@dataclass(frozen=True)
class MAGE(Learner[MAGEConfig, Ensemble]):
    """Model-based action-gradient-estimator policy optimisation."""

    config: MAGEConfig

    def init(self, key: Key[Array, ""]) -> State[Ensemble]:
        """A fresh agent."""
        config, keys = self.config, jax.random.split(key, 3)
        state, action = vector_size(self.spaces), self.spaces.action
        actor = Actor.init(keys[0], state, action, config.actor.network)
        critics = TwinCritic.init(keys[1], state, action, 0, config.critic.network)
        ensemble = Ensemble.init(keys[2], state, action, config.ensemble)
        return self.begin(Model(actor, critics, ensemble), self.rules)

    @property
    def rules(self) -> Rules:
        """The optimizers of actor, critics and world model."""
        rates, clip, model = self.config.optimizer, self.config.gradient.clip, self.config.ensemble
        return (
            rectified_adam(rates, rates.actor, clip),
            rectified_adam(rates, rates.critic, clip),
            rectified_adam(rates, model.learning_rate, model.clip, model.weight_decay),
        )

    @property
    def period(self) -> int:
        """Number of updates between two trainings of the model."""
        return self.config.ensemble.every * self.config.updates_per_step

    @property
    def warmup(self) -> int:
        """Number of first updates that only train the model: as many trainings as MAGE's own code has during the random
        steps, during which no update is made here."""
        return self.config.exploration.random_steps // self.config.ensemble.every

    def is_long(self, number: Int[Array, ""] | int) -> Bool[Array, ""] | bool:
        """Whether update `number` first trains the model, which takes as long as a hundred or more other updates."""
        return (number < self.warmup) | (number % self.period == 0)

    def learn(
        self, state: State[Ensemble], replay: AnyReplay, key: Key[Array, ""], number: Int[Array, ""]
    ) -> tuple[State[Ensemble], AnyReplay, Report]:
        """One update on imagined transitions; if a training of the model is due, it comes first.

        The first `warmup` updates train the model alone. An update with a non-finite loss or gradient changes nothing.
        """
        keys = jax.random.split(key, 3)
        ready = number >= self.warmup
        trained = jax.lax.cond(self.is_long(number), lambda: self.train_model(state, replay, keys[0]), lambda: state)
        windows, replay = memory.sample(replay, keys[1], self.config.batch_size, 1, online=False)
        updated, finite, metrics = self.update(trained, pairs_of(windows, self.spaces), keys[2], number)
        return chosen(finite, chosen(ready, updated, trained), state), replay, Report(metrics, finite, windows)

    def train_model(self, state: State[Ensemble], replay: AnyReplay, key: Key[Array, ""]) -> State[Ensemble]:
        """The state after one training of the model: `batches` updates, in which every member has its own batch."""
        config, rule = self.config.ensemble, self.rules[2]

        def once(index: Int[Array, ""], state: State[Ensemble]) -> State[Ensemble]:
            number = config.members * config.batch_size
            windows, _ = memory.sample(replay, jax.random.fold_in(key, index), number, 1, online=False)
            pairs = pairs_of(windows, self.spaces)
            old = state.statistics
            change = old.change.update(pairs.following - pairs.state, pairs.valid, config.memory)
            state = replace(state, statistics=replace(old, change=change))
            slopes = jax.grad(lambda ensemble: self.model_loss(ensemble, state, pairs))(state.model.dynamics)
            dynamics, remembered = descend(rule, state.model.dynamics, slopes, state.optimizers.dynamics)
            model, optimizers = replace(state.model, dynamics=dynamics), state.optimizers
            return replace(state, model=model, optimizers=replace(optimizers, dynamics=remembered))

        return jax.lax.fori_loop(0, config.batches, once, state)

    def model_loss(self, ensemble: Ensemble, state: State[Ensemble], pairs: Pairs) -> Float[Array, ""]:
        """`Ensemble.loss` of a batch that is divided among the members."""
        units, members = state.statistics, self.config.ensemble.members
        states, following = map(jax.vmap(units.normalised), (pairs.state, pairs.following))
        outcomes = jax.vmap(units.outcome)(pairs.state, pairs.following, pairs.reward)
        weight = members * pairs.weight
        parts = (states, pairs.action, outcomes, following, pairs.terminal, weight)
        return self.cast(ensemble).loss(*[dealt(part, members) for part in parts])

    def update(
        self, state: State[Ensemble], pairs: Pairs, key: Key[Array, ""], number: Int[Array, ""]
    ) -> tuple[State[Ensemble], Bool[Array, ""], Metrics]:
        """The state after update `number` of critics and actor, whether everything was finite, and metrics.

        The actor and its target are updated every `delay` updates. If learning has diverged (see `GradientConfig`),
        actor and critics are initialized again; the model is kept.
        """
        config, model, memories, weight = self.config, state.model, state.optimizers, pairs.weight
        target_key, reset_key = jax.random.split(key)
        states = jax.vmap(state.statistics.normalised)(pairs.state)
        actions = jax.lax.stop_gradient(jax.vmap(self.cast(model.actor))(states))
        wanted = self.targets(state, states, actions, target_key)

        # Critics: Huber(δ) + 5 Huber(|∇_a δ|) at the policy's action, δ = y − Q, y and its gradient held constant.
        def critic_loss(critics: TwinCritic) -> tuple[Float[Array, ""], tuple[Array, Array, Array]]:
            cast = self.cast(critics)
            found = cast.over(
                lambda one: jax.vmap(lambda s, a: sobolev_sample(one, s, a, jnp.zeros(0)))(states, actions)
            )
            error, slope = sobolev_errors(found, wanted, weight)
            return error + config.gradient.weight * slope, (error, slope, found)

        gradient = jax.value_and_grad(critic_loss, has_aux=True)
        (loss, (error, slope_error, found)), slopes = gradient(model.critics)
        critics, critics_memory = descend(self.rules[1], model.critics, slopes, memories.critics)

        def improve() -> tuple[Moved, Float[Array, ""], Float[Array, ""]]:
            return self.improved(state, self.cast(critics), states, weight)

        def wait() -> tuple[Moved, Float[Array, ""], Float[Array, ""]]:
            return (model.actor, memories.actor, state.targets.actor), jnp.zeros(()), jnp.zeros(())

        moved, value, actor_norm = jax.lax.cond(turn(number - self.warmup, config.actor.delay), improve, wait)
        actor, actor_memory, target_actor = moved
        metrics = {
            "loss/critic": loss,
            "loss/critic_error": error,
            "loss/critic_gradient": slope_error,
            "loss/model": self.model_loss(model.dynamics, state, pairs),
            "return/predicted": jnp.sum(weight * found[..., 0].mean(0)),
            "return/target": jnp.sum(weight * wanted[:, 0]),
            "gradient/predicted": jnp.sqrt(jnp.square(found[..., 1:]).sum(-1).mean()),
            "gradient/target": jnp.sqrt(jnp.square(wanted[:, 1:]).sum(-1).mean()),
            "gradient_norm/critic": optax.tree.norm(slopes),
            "gradient_norm/actor": actor_norm,
        }
        target_critics = follow(state.targets.critics, critics, config.critic.rate)
        after = replace(
            state,
            model=Model(actor, critics, model.dynamics),
            targets=Targets(target_actor, target_critics),
            optimizers=Optimizers(actor_memory, critics_memory, memories.dynamics),
        )
        finite = jnp.isfinite(jnp.stack(list(metrics.values()))).all()
        diverged = (error > config.gradient.reset_critic) | (jnp.abs(value) > config.gradient.reset_actor)
        after = jax.lax.cond(diverged, lambda: self.renewed(after, reset_key), lambda: after)
        return after, finite, metrics | {"reset": diverged.astype(jnp.float32)}

    def improved(
        self,
        state: State[Ensemble],
        critics: TwinCritic,
        states: Float[Array, "batch state"],
        weight: Float[Array, " batch"],
    ) -> tuple[Moved, Float[Array, ""], Float[Array, ""]]:
        """(actor, its optimizer's state, its target) after a step up the smaller value; the loss; the gradient norm."""

        def loss(actor: Actor) -> Float[Array, ""]:
            policy = self.cast(actor)
            return -jnp.sum(weight * jax.vmap(lambda s: cautious(critics, s, policy(s)))(states))

        value, slope = jax.value_and_grad(loss)(state.model.actor)
        actor, remembered = descend(self.rules[0], state.model.actor, slope, state.optimizers.actor)
        target = follow(state.targets.actor, actor, self.config.critic.rate)
        return (actor, remembered, target), value, optax.tree.norm(slope)

    def targets(
        self,
        state: State[Ensemble],
        states: Float[Array, "batch state"],
        actions: Float[Array, "batch action"],
        key: Key[Array, ""],
    ) -> Float[Array, "batch vector"]:
        """[y; ∂y/∂a] with y = r̂ + γ (1 − d̂) min_j Q̄_j(ŝ', π̄(ŝ') + noise), where one member predicts each state's ŝ'.

        The states of a batch are in random order, so that dividing them among the members assigns members at random.
        """
        config, (draw_key, noise_key), members = self.config, jax.random.split(key), self.config.ensemble.members
        ensemble, policy, critics = self.cast((state.model.dynamics, state.targets.actor, state.targets.critics))
        size = states.shape[1] + 1
        epsilon = jax.random.normal(draw_key, (states.shape[0], size))
        noise = clipped_normal(noise_key, actions.shape, config.critic.smoothing, config.critic.smoothing_clip)

        def of_member(transition: Perceptron, *parts: Array) -> Float[Array, "share vector"]:
            model = imagination(ensemble.member(transition), state.statistics)

            def one(s: Array, a: Array, epsilon: Array, noise: Array) -> Array:
                def value(s: Array, a: Array, xi: Array) -> Array:
                    return cautious(critics, s, a)

                return backup(model, policy, value, s, a, (epsilon, jnp.zeros(0), noise), config.critic.discount)

            return jax.vmap(one)(*parts)

        parts = [dealt(part, members) for part in (states, actions, epsilon, noise)]
        found = jax.vmap(of_member)(ensemble.transitions, *parts)
        return jax.lax.stop_gradient(found.reshape(states.shape[0], -1))

    def renewed(self, state: State[Ensemble], key: Key[Array, ""]) -> State[Ensemble]:
        """The state with newly initialized actor, critics, targets and their optimizers."""
        fresh = self.init(key)
        model = replace(fresh.model, dynamics=state.model.dynamics)
        optimizers = replace(fresh.optimizers, dynamics=state.optimizers.dynamics)
        return replace(state, model=model, targets=fresh.targets, optimizers=optimizers)


def sobolev_errors(
    found: Float[Array, "2 batch vector"], wanted: Float[Array, "batch vector"], weight: Float[Array, " batch"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Huber(δ) and Huber(‖∇ₐδ‖) of [Q; ∂Q/∂a] and [y; ∂y/∂a], averaged over both critics and, by weight, states."""
    delta = wanted[None] - found
    errors = optax.losses.huber_loss(delta[..., 0])
    slopes = optax.losses.huber_loss(optax.safe_norm(delta[..., 1:], 1e-12, axis=-1))
    return jnp.sum(weight * errors.mean(0)), jnp.sum(weight * slopes.mean(0))


def dealt(rows: Float[Array, "batch *rest"], members: int) -> Float[Array, "members share *rest"]:
    """A batch, divided into one equal part for each member."""
    return rows.reshape(members, -1, *rows.shape[1:])
