"""The DSDPG agent: pure functions over one pytree of state, and each loss on one page."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key

from sobolev.agents.dsdpg.config import DSDPGConfig
from sobolev.agents.dsdpg.critic import actor_loss, critic_loss
from sobolev.agents.dsdpg.dynamics import Dynamics
from sobolev.agents.dsdpg.learner import Learner, Metrics, Model, Optimizers, State, Targets
from sobolev.agents.dsdpg.networks import Actor, TwinCritic, drawn, vector_size
from sobolev.agents.dsdpg.optimizer import Rules, adam, chosen, descend, turn
from sobolev.agents.dsdpg.units import Pairs, Statistics, imagination
from sobolev.nn import Perceptron, follow
from sobolev.smoothness import Smoothing, smoothing


@dataclass(frozen=True)
class DSDPG(Learner[DSDPGConfig, Dynamics]):
    """Distributional Sobolev deterministic policy gradient (paper 2).

    One map can be regularised, the world model's (s, a) → s'. A penalty is estimated at the batch's states and actions.
    A constraint replaces the kernels of prior and decoder wherever the model is used. Noise is added to s and a where
    they are inputs of prior, encoder and decoder in the model's loss.
    """

    seeds_in_turn = True

    config: DSDPGConfig

    def init(self, key: Key[Array, ""]) -> State[Dynamics]:
        """A fresh agent, whose target networks are copies of actor and critics."""
        config, keys = self.config, jax.random.split(key, 3)
        state, action = vector_size(self.spaces), self.spaces.action
        actor = Actor.init(keys[0], state, action, config.actor.network)
        critics = TwinCritic.init(keys[1], state, action, config.critic.noise, config.critic.network)
        dynamics = Dynamics.init(keys[2], state, action, config.dynamics)
        state = self.begin(Model(actor, critics, dynamics), self.rules)
        return replace(state, smoothing=self.smoothing.init(transition(dynamics), keys[2]))

    @property
    def smoothing(self) -> Smoothing:
        """The regularizer of the world model."""
        return smoothing(self.config.regularizer, self.config.penalty)

    @property
    def shown(self) -> dict[str, str]:
        """The metrics that the progress bar shows, by their names there."""
        return self.smoothing.shown

    def constrained(self, dynamics: Dynamics, state: State[Dynamics], number: Int[Array, ""]) -> Dynamics:
        """A world model under the regularizer's constraint, if there is one; `number` is that of the update."""
        if not self.smoothing.constrained_maps:
            return dynamics
        prior, decoder = self.smoothing.constrained(transition(dynamics), state.smoothing, number)["transition"]
        return replace(dynamics, prior=prior, decoder=decoder)

    @property
    def rules(self) -> Rules:
        """The optimizers of actor, critics and world model."""
        rates = self.config.optimizer
        return (
            adam(rates, rates.actor),
            adam(rates, rates.critic),
            adam(rates, rates.dynamics, rates.dynamics_clip),
        )

    def critic_noise(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "*shape noise"]:
        """See `Learner.critic_noise`."""
        return drawn(key, shape, self.config.critic)

    def update(
        self, state: State[Dynamics], pairs: Pairs, key: Key[Array, ""], number: Int[Array, ""]
    ) -> tuple[State[Dynamics], Bool[Array, ""], Metrics]:
        """The state after update `number` (from 0) on a batch, whether everything was finite, and metrics.

        The model learns from the first update on, critics and actor after the model's warm-up, and the actor only every
        `delay` updates. Target networks move after every update.
        """
        config, rules, keys = self.config, self.rules, jax.random.split(key)
        old, model, remembered = state.statistics, state.model, state.optimizers
        change = old.change.update(pairs.following - pairs.state, pairs.valid, config.dynamics.memory)
        state = replace(state, statistics=replace(old, change=change))
        ready = number >= config.dynamics.warmup

        gradient = jax.grad(self.loss, (0, 1), has_aux=True)
        (slopes, critic_slopes), metrics = gradient(model.dynamics, model.critics, state, pairs, keys[0], number)
        dynamics, dynamics_memory = descend(rules[2], model.dynamics, slopes, remembered.dynamics)
        stepped = descend(rules[1], model.critics, critic_slopes, remembered.critics)
        critics, critics_memory = chosen(ready, stepped, (model.critics, remembered.critics))

        def improve() -> tuple[Actor, optax.OptState, Float[Array, ""]]:
            states = jax.vmap(state.statistics.normalised)(pairs.state)

            def loss(actor: Actor) -> Float[Array, ""]:
                return actor_loss(self.cast(actor), self.cast(critics), states, pairs.weight, keys[1], config)

            slope = jax.grad(loss)(model.actor)
            return *descend(rules[0], model.actor, slope, remembered.actor), optax.tree.norm(slope)

        def wait() -> tuple[Actor, optax.OptState, Float[Array, ""]]:
            return model.actor, remembered.actor, jnp.zeros(())

        due = ready & turn(number - config.dynamics.warmup, config.actor.delay)
        actor, actor_memory, actor_norm = jax.lax.cond(due, improve, wait)

        norms = {"dynamics": optax.tree.norm(slopes), "critic": optax.tree.norm(critic_slopes), "actor": actor_norm}
        metrics |= {f"gradient_norm/{name}": norm for name, norm in norms.items()}
        finite = jnp.isfinite(jnp.stack(list(metrics.values()))).all()
        updated = replace(
            state,
            model=Model(actor, critics, dynamics),
            targets=follow(state.targets, Targets(actor, critics), config.critic.rate),
            optimizers=Optimizers(actor_memory, critics_memory, dynamics_memory),
            smoothing=self.smoothing.refreshed(transition(dynamics), state.smoothing),
        )
        return updated, finite, metrics

    def loss(
        self,
        dynamics: Dynamics,
        critics: TwinCritic,
        state: State[Dynamics],
        pairs: Pairs,
        key: Key[Array, ""],
        number: Int[Array, ""],
    ) -> tuple[Float[Array, ""], Metrics]:
        """The sum of the losses of world model and critics (paper 2), neither of which has a gradient in the other."""
        config, units, keys = self.config, state.statistics, jax.random.split(key, 4)
        metrics = self.smoothing.constraint_metrics(transition(dynamics), state.smoothing, number)
        dynamics, critics = self.cast(self.constrained(dynamics, state, number)), self.cast(critics)
        actor, targets = self.cast((state.model.actor, state.targets))
        states, following = jax.vmap(units.normalised)(pairs.state), jax.vmap(units.normalised)(pairs.following)

        # World model: evidence bound of (Δs, r) given (s, a), cross-entropy of the end of the episode, squared error of
        # the reward's own network if there is one (ours).
        outcome = jax.vmap(units.outcome)(pairs.state, pairs.following, pairs.reward)
        latent = jax.random.normal(keys[0], (states.shape[0], config.dynamics.latent))
        perturbed, logged = self.perturbed(states, pairs.action, key, number)
        terms = jax.vmap(dynamics.losses)(states, pairs.action, outcome, following, pairs.terminal, latent, perturbed)
        likelihood, divergence, ending, missed = [jnp.sum(pairs.weight * term) for term in terms]
        model_loss = likelihood + config.dynamics.beta * divergence + ending + missed

        # Ours: a penalty on the map (s, a) → s', since κ of the contraction condition γκ < 1 grows with its Jacobian.
        penalty, penalty_metrics = self.penalty(dynamics, units, states, pairs.action, keys[1], number)

        # Critics: samples [Z; ∂Z/∂a] against [y; ∂y/∂a] through model, target policy and target critics.
        actions = self.judged(actor, states, pairs.action, keys[3])
        model, where = imagination(dynamics, units), (states, actions, pairs.weight)
        far, compared = critic_loss(
            critics, targets.critics, targets.actor, model, dynamics.noise, *where, keys[2], config
        )

        metrics |= {
            "loss/model_likelihood": likelihood,
            "loss/model_divergence": divergence,
            "loss/model_ending": ending,
            **({"loss/model_reward": missed} if dynamics.reward is not None else {}),
            "loss/critic": far,
            **penalty_metrics,
            **logged,
            "direction/return": jnp.square(compared.direction[..., 0]).mean(),
            **summary("predicted", compared.found.reshape(-1, *compared.found.shape[2:])),
            **summary("target", compared.wanted),
        }
        return model_loss + penalty + far, jax.lax.stop_gradient(metrics)

    def judged(
        self,
        actor: Actor,
        states: Float[Array, "batch state"],
        replayed: Float[Array, "batch action"],
        key: Key[Array, ""],
    ) -> Float[Array, "batch action"]:
        """The actions at which critics are trained, constants: the policy's with noise, or those in replay.

        The noise is ours. Without it, a critic would know about all other actions only through its gradient, which
        comes from an inaccurate model, and would know nothing where returns are flat.
        """
        critic = self.config.critic
        if critic.actions == "replay":
            return replayed
        around = critic.spread * jax.random.normal(key, replayed.shape)
        return jax.lax.stop_gradient(jnp.clip(jax.vmap(actor)(states) + around, -1.0, 1.0))

    def perturbed(
        self,
        states: Float[Array, "batch state"],
        actions: Float[Array, "batch action"],
        key: Key[Array, ""],
        number: Int[Array, ""],
    ) -> tuple[tuple[Float[Array, "batch state"], Float[Array, "batch action"]] | None, Metrics]:
        """States and actions with the regularizer's noise, None if it adds none; `key` is that of the loss."""
        if not self.smoothing.perturbed:
            return None, {}
        inputs = jnp.concatenate([states, actions], -1)
        noise, metrics = self.smoothing.noise("transition", inputs.shape, jax.random.fold_in(key, 4), number)
        return (states + noise[:, : states.shape[1]], actions + noise[:, states.shape[1] :]), metrics

    def penalty(
        self,
        dynamics: Dynamics,
        units: Statistics,
        states: Float[Array, "batch state"],
        actions: Float[Array, "batch action"],
        key: Key[Array, ""],
        number: Int[Array, ""],
    ) -> tuple[Float[Array, ""], Metrics]:
        """λ times the penalty of the model's map (s, a) → s' in normalised units, with the same noise ε for the batch.

        0 without a penalty. The root of the Jacobian penalty is an upper bound on the spectral norm in κ
        (docs/dsdpg.md).
        """
        if not self.smoothing.penalised:
            return jnp.zeros(()), {}
        keys, size = jax.random.split(key, 3), states.shape[1]
        noise, model = jax.random.normal(keys[1], (dynamics.noise,)), imagination(dynamics, units)
        inputs = jnp.concatenate([states, actions], -1)
        table = lambda x: model(x[:size], x[size:], noise)[0][None]  # noqa: E731
        return self.smoothing.penalties({"transition": (table, inputs, (keys[0], keys[2]))}, number)


def transition(dynamics: Dynamics) -> dict[str, tuple[Perceptron, Perceptron]]:
    """The networks of the transition map, by the name of its coefficient in the settings."""
    return {"transition": (dynamics.prior, dynamics.decoder)}


def summary(name: str, samples: Float[Array, "batch samples vector"]) -> Metrics:
    """Mean and standard deviation of sampled returns, and the root mean square norm of their action gradients."""
    return {
        f"return/{name}": samples[..., 0].mean(),
        f"return/{name}_std": samples[..., 0].std(1).mean(),
        f"gradient/{name}": jnp.sqrt(jnp.square(samples[..., 1:]).sum(-1).mean()),
    }
