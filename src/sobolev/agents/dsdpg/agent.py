"""The DSDPG agent: pure functions over one pytree of state, and each loss on one page."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from sobolev.agents.dsdpg.config import DSDPGConfig
from sobolev.agents.dsdpg.critic import actor_loss, critic_loss
from sobolev.agents.dsdpg.dynamics import Dynamics
from sobolev.agents.dsdpg.learner import Learner, Metrics, Model, Optimizers, State, Targets
from sobolev.agents.dsdpg.networks import Actor, TwinCritic, vector_size
from sobolev.agents.dsdpg.optimizer import Rules, adam, chosen, descend
from sobolev.agents.dsdpg.units import Pairs, Statistics, imagination
from sobolev.nn import Perceptron, follow
from sobolev.smoothness import Smoothing, find


@dataclass(frozen=True)
class DSDPG(Learner[DSDPGConfig, Dynamics]):
    """Distributional Sobolev deterministic policy gradient (paper 2).

    What can be regularised is the world model's map (s, a) → s'. A penalty is estimated at the batch's states and
    actions; a constraint replaces the kernels of prior and decoder wherever the model is used; noise is added to s and
    a where prior, encoder and decoder learn.
    """

    config: DSDPGConfig

    def init(self, key: Key[Array, ""]) -> State[Dynamics]:
        """A fresh agent; target networks start as copies."""
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
        return Smoothing(find(self.config.regularizer), self.config.penalty)

    @property
    def shown(self) -> dict[str, str]:
        """Metrics that progress shows, by the name it shows them under."""
        return self.smoothing.shown

    def constrained(self, dynamics: Dynamics, state: State[Dynamics], number: Int[Array, ""]) -> Dynamics:
        """A world model under the regularizer's constraint, if there is one, at update `number`."""
        if not self.smoothing.constrained_maps:
            return dynamics
        prior, decoder = self.smoothing.constrained(transition(dynamics), state.smoothing, number)["transition"]
        return replace(dynamics, prior=prior, decoder=decoder)

    def constraint(self, state: State[Dynamics]) -> dict[str, PyTree]:
        """The state of the regularizer's constraint; {} where there is none."""
        return {"smoothing": state.smoothing} if jax.tree.leaves(state.smoothing) else {}

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
        """Loss of world model and critics (paper 2); no term of the one has a gradient in the other."""
        config, units, keys = self.config, state.statistics, jax.random.split(key, 4)
        metrics = self.smoothing.constraint_metrics(transition(dynamics), state.smoothing, number)
        dynamics, critics = self.cast(self.constrained(dynamics, state, number)), self.cast(critics)
        actor, targets = self.cast((state.model.actor, state.targets))
        states, following = jax.vmap(units.normalised)(pairs.state), jax.vmap(units.normalised)(pairs.following)

        # World model: evidence bound of (Δs, r) given (s, a), and the end of the episode.
        outcome = jax.vmap(units.outcome)(pairs.state, pairs.following, pairs.reward)
        latent = jax.random.normal(keys[0], (states.shape[0], config.dynamics.latent))
        perturbed, logged = self.perturbed(states, pairs.action, key, number)
        terms = jax.vmap(dynamics.losses)(states, pairs.action, outcome, following, pairs.terminal, latent, perturbed)
        likelihood, divergence, ending = [jnp.sum(pairs.weight * term) for term in terms]
        model_loss = likelihood + config.dynamics.beta * divergence + ending

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
        """The actions at which critics are trained, constants: the policy's with noise, or those replayed.

        The noise is ours: at the policy's actions alone a critic knows all others by its gradient, which comes from a
        model that errs, and where returns are flat it knows nothing.
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
        """States and actions with the regularizer's noise, None where it adds none; `key` is the loss's."""
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
        """λ times the penalty of the model's map (s, a) → s', one draw ε for all, normalised units; 0 for none.

        The root of the Jacobian penalty bounds the spectral norm in κ from above (docs/dsdpg.md).
        """
        if not self.smoothing.penalised:
            return jnp.zeros(()), {}
        keys, size = jax.random.split(key, 3), states.shape[1]
        noise, model = jax.random.normal(keys[1], (dynamics.noise,)), imagination(dynamics, units)
        inputs = jnp.concatenate([states, actions], -1)
        table = lambda x: model(x[:size], x[size:], noise)[0][None]  # noqa: E731
        return self.smoothing.penalties({"transition": (table, inputs, (keys[0], keys[2]))}, number)


def transition(dynamics: Dynamics) -> dict[str, tuple[Perceptron, Perceptron]]:
    """The networks that the transition map is made of, by the name of its coefficient."""
    return {"transition": (dynamics.prior, dynamics.decoder)}


def summary(name: str, samples: Float[Array, "batch samples vector"]) -> Metrics:
    """Mean and spread of the returns among samples, and the root mean square length of their action gradients."""
    return {
        f"return/{name}": samples[..., 0].mean(),
        f"return/{name}_std": samples[..., 0].std(1).mean(),
        f"gradient/{name}": jnp.sqrt(jnp.square(samples[..., 1:]).sum(-1).mean()),
    }
