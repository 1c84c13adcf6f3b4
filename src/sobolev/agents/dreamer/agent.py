"""The Dreamer agent: pure functions over one pytree of state, and the whole loss on one page."""

from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from sobolev import replay as memory
from sobolev.agents.api import Metrics, Report, Step
from sobolev.agents.dreamer.behavior import Actor, ImaginationLosses, ReturnScale, replay_value_loss
from sobolev.agents.dreamer.config import DreamerConfig
from sobolev.agents.dreamer.dream import open_loop
from sobolev.agents.dreamer.encoder import token_count
from sobolev.agents.dreamer.imagination import Players, imagined
from sobolev.agents.dreamer.optimizer import build_optimizer, descend, tree_norm
from sobolev.agents.dreamer.rssm import RSSM, Latents, LatentTable
from sobolev.agents.dreamer.tables import latent_tables
from sobolev.agents.dreamer.world_model import RECONSTRUCTION, WorldModel, world_model_losses
from sobolev.envs.specs import Spaces
from sobolev.nn import Head, averaged, cast_floating, entropy, in_parts, over, own
from sobolev.replay import AnyReplay, Windows
from sobolev.smoothness import Smoothing, smoothing
from sobolev.smoothness.sensitivity import PerturbedTable

Extras = dict[str, Array]


class Model(eqx.Module):
    """Everything that the optimizer trains."""

    world: WorldModel
    actor: Actor
    critic: Head


class State(eqx.Module):
    """Everything about an agent that changes, except its replay."""

    model: Model
    slow: Head
    optimizer: optax.OptState
    scale: ReturnScale
    updates: Int[Array, ""]
    smoothing: dict[str, PyTree] = eqx.field(default_factory=dict[str, PyTree])
    """the regularizer's state for posterior and prior; {} if it has none"""


class Carry(eqx.Module):
    """The policy's memory between two steps, for each environment."""

    deter: Float[Array | np.ndarray, "batch deter"]
    stoch: Float[Array | np.ndarray, "batch stoch"]
    action: Float[Array | np.ndarray, "batch action"]


@dataclass(frozen=True)
class Dreamer:
    """DreamerV3, or GPLD-DreamerV3 if the penalty's coefficients are not zero.

    Two maps are regularised, the latent tables: the posterior, with inputs [deter, tokens], and the prior, with input
    deter. A penalty is estimated at the batch's states. A constraint replaces the tables' parameters wherever they are
    used. Noise is added to inputs in updates only: to the posterior's along the window, to the prior's in the KL terms.
    """

    config: DreamerConfig
    spaces: Spaces

    def init(self, key: Key[Array, ""]) -> State:
        """A fresh agent; the slow critic starts as a copy of the critic."""
        config, keys = self.config, jax.random.split(key, 3)
        size = config.model
        critic = Head.init(keys[2], self.features, size.units, size.critic_layers, size.bins, 0.0)
        model = Model(
            world=WorldModel.init(keys[0], self.spaces, size),
            actor=Actor.init(keys[1], self.spaces.action, size, config.behavior),
            critic=critic,
        )
        slow = jax.tree.map(jnp.copy, critic)
        optimizer = build_optimizer(config.optimizer).init(cast(Any, model))
        smoothing = self.smoothing.init(tables(model.world.rssm), keys[0])
        return State(model, slow, optimizer, ReturnScale.init(), jnp.zeros((), jnp.int32), smoothing)

    @property
    def smoothing(self) -> Smoothing:
        """The regularizer of the latent tables."""
        return smoothing(self.config.regularizer, self.config.penalty)

    @property
    def shown(self) -> dict[str, str]:
        """The metrics that the progress bar shows, by their names there."""
        return self.smoothing.shown

    @property
    def features(self) -> int:
        """Size of [deter, stoch]."""
        return self.config.model.deter + self.config.model.rows * self.config.model.classes

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the networks' products."""
        return jnp.dtype(self.config.precision)

    def initial_carry(self, batch: int) -> Carry:
        """The memory of a policy that has seen nothing: zeros. The first step of an episode also resets it."""
        size = self.config.model
        widths = (size.deter, size.rows * size.classes, self.spaces.action)
        return Carry(*[np.zeros((batch, width), np.float32) for width in widths])

    def extras(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes of what `act` stores with each step: deter as float16 bits, stoch as class indices."""
        size = self.config.model
        return {
            "deter": jax.ShapeDtypeStruct((size.deter,), jnp.uint16),
            "stoch": jax.ShapeDtypeStruct((size.rows,), jnp.uint8),
        }

    def act(
        self, state: State, carry: Carry, transition: Step, key: Key[Array, ""], mode: Literal["train", "evaluate"]
    ) -> tuple[Float[Array, "batch action"], Carry, Extras]:
        """Samples actions for a batch of environments. Both modes sample, as in DreamerV3.

        `transition` has observation, first and last of the current step. At the last step of an episode actions are 0.
        """
        latent_key, action_key = jax.random.split(key)
        deter, stoch, past = (jnp.asarray(part) for part in (carry.deter, carry.stoch, carry.action))
        model = cast_floating(self.networks(state), self.dtype)
        tokens = jax.vmap(model.world.encoder)(transition["observation"])
        carried = cast_floating((deter, stoch), self.dtype)
        first = transition["first"][None]
        latents = model.world.rssm.observe(*carried, past[None], tokens[None], first, latent_key)
        latents = jax.tree.map(lambda x: x[0], latents)
        action = jax.vmap(model.actor)(latents.deter, latents.stoch).sample(action_key)
        action = jnp.where(transition["last"][:, None], 0.0, action)
        deter, stoch = cast_floating((latents.deter, latents.stoch), jnp.float32)
        return action, Carry(deter, stoch, action), compact(latents)

    def networks(self, state: State) -> Model:
        """The networks that act and are measured: the trained ones, under the regularizer's constraint."""
        return replace(state.model, world=self.constrained(state.model.world, state))

    def constrained(self, world: WorldModel, state: State) -> WorldModel:
        """A world model with its latent tables under the regularizer's constraint, if there is one."""
        if not self.smoothing.constrained_maps:
            return world
        found = self.smoothing.constrained(tables(world.rssm), state.smoothing, state.updates)
        return replace(world, rssm=replace(world.rssm, **found))

    def snapshot(self, state: State) -> dict[str, PyTree]:
        """The fields of the state on which `networks` depends: with a constraint, also its state and schedule."""
        beside = {"smoothing": state.smoothing, "updates": state.updates}
        return {"model": state.model} | (beside if self.smoothing.constrained_maps else {})

    def observe(self, state: State, transitions: Step) -> State:
        """Dreamer keeps no statistics of observations."""
        del transitions
        return state

    def learn(
        self, state: State, replay: AnyReplay, key: Key[Array, ""], number: Int[Array, ""]
    ) -> tuple[State, AnyReplay, Report]:
        """One update on a sampled batch, whose refreshed latents are written back to replay.

        An update with a non-finite loss or gradient changes neither state nor latents. The schedules do not use
        `number` but `State.updates`, which does not count such updates.
        """
        del number
        sample_key, loss_key = jax.random.split(key)
        windows, replay = memory.sample(replay, sample_key, self.config.batch_size, self.config.batch_length)
        gradient = in_parts(self.gradient, (None, None, 0, None), (None, (0, None, None)))
        gradients, (latents, scale, metrics) = gradient(state.model, state, windows, loss_key)
        norm = tree_norm(gradients)
        # A reduction is computed once; a plain "and" XLA would compute again wherever the result is used.
        finite = jnp.all(jnp.isfinite(jnp.stack([norm, metrics["loss"]])))
        model, optimizer, change = descend(self.config.optimizer, state.model, gradients, state.optimizer)
        rate = self.config.behavior.slow_rate
        slow = cast(Head, optax.incremental_update(cast(Any, model.critic), cast(Any, state.slow), rate))
        smoothing = self.smoothing.refreshed(tables(model.world.rssm), state.smoothing)
        updated = State(model, slow, optimizer, scale, state.updates + 1, smoothing)
        state = jax.tree.map(lambda new, old: jnp.where(finite, new, old), updated, state)
        replay = memory.write_back(replay, windows, compact(latents), finite)
        metrics = metrics | {"gradient_norm": norm, "update_norm": change}
        return state, replay, Report(metrics, finite, windows)

    def gradient(
        self, model: Model, state: State, windows: Windows, key: Key[Array, ""]
    ) -> tuple[Model, tuple[Latents, ReturnScale, Metrics]]:
        """Gradients and auxiliary results of the loss for a batch, or for this device's part of it.

        In the second case all are means over the parts, except the latents, which are those of this part.
        """
        gradients, (latents, scale, metrics) = jax.grad(self.loss, has_aux=True)(model, state, windows, own(key))
        return averaged(gradients), (latents, scale, averaged(metrics))

    @property
    def windows(self) -> tuple[int, int]:
        """The number of windows in an update, and their length."""
        return self.config.batch_size, self.config.batch_length

    def choose(self, ring: memory.Ring, key: Key[Array, ""]) -> memory.Choice:
        """The windows that `learn` with this key samples from a replay with these counters and this shape."""
        sample_key, _ = jax.random.split(key)
        return memory.choose(ring, sample_key, self.config.batch_size, self.config.batch_length)

    def dream(self, state: State, steps: Step, context: int, key: Key[Array, ""]) -> dict[str, Array]:
        """Predictions of a recorded stream, whose first `context` steps are observed: see `open_loop`."""
        return open_loop(self.networks(state).world, self.dtype, steps, context, key)

    def latent_tables(self, state: State, steps: Step, key: Key[Array, ""]) -> dict[str, PerturbedTable]:
        """Posterior and prior along a recorded stream: see `latent_tables`."""
        return latent_tables(self.networks(state).world, self.dtype, steps, key)

    def loss(
        self, model: Model, state: State, windows: Windows, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], tuple[Latents, ReturnScale, Metrics]]:
        """The loss of a batch of windows: DreamerV3's, and the penalty of paper 1, Section 4.

        Also returns the refreshed latents [batch, time, …], the new return scale, and metrics.
        """
        config, behavior = self.config, self.config.behavior
        keys = jax.random.split(key, 4)
        trained, model = model, replace(model, world=self.constrained(model.world, state))
        exact, model = model, cast_floating(model, self.dtype)
        world, stop = model.world, jax.lax.stop_gradient

        # World model: posterior latents along the window, and the losses of what is predicted from them.
        noise, noise_metrics = self.noise(windows, state.updates, key)
        steps, tokens, latents = self.infer(world, windows, keys[0], noise.get("posterior"))
        discount = 1 - 1 / behavior.discount_horizon
        losses = world_model_losses(world, latents, steps, config.loss, discount, noise.get("prior"))

        # Penalty: row-wise Jacobians of the latent tables at a fraction of the states (equation 5, Algorithms 1 and 2).
        penalty, penalty_metrics = self.penalty(exact.world, latents.deter, tokens, state.updates, keys[1])

        # Behaviour: imagined rollouts from every posterior state; they do not train the world model.
        slow = cast_floating(state.slow, self.dtype)
        starts = stop(jax.tree.map(lambda x: x.reshape(-1, x.shape[-1]), (latents.deter, latents.stoch)))
        imagination = self.imagination(model, slow, state.scale, starts, keys[2])

        # Critic on replayed rewards, bootstrapped by the imagined returns; this loss trains the world model as well.
        replayed, returns = replay_value_loss(
            steps["reward"],
            steps["last"],
            steps["terminal"],
            imagination.returns[0].reshape(steps["last"].shape),
            over(model.critic, 2)(*latents.parts),
            over(slow, 2)(*stop(latents.parts)),
            behavior,
        )

        losses |= {"policy": imagination.policy, "value": imagination.value, "replay_value": replayed}
        means = {name: loss.mean() for name, loss in losses.items()}
        total = penalty + sum(self.loss_scale(name) * mean for name, mean in means.items())
        metrics = {
            **{f"loss/{name}": mean for name, mean in means.items()},
            **penalty_metrics,
            **noise_metrics,
            **self.smoothing.constraint_metrics(tables(trained.world.rssm), state.smoothing, state.updates),
            "loss": total,
            "return/imagined": imagination.returns.mean(),
            "return/replayed": returns.mean(),
            "return/scale": imagination.scale.scale(behavior),
            "entropy/posterior": over(entropy, 2)(latents.probs).mean(),
            "entropy/actor": over(model.actor, 2)(*latents.parts).entropy().mean(),
        }
        latents = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), latents)
        return total, stop((latents, imagination.scale, metrics))

    def infer(
        self,
        world: WorldModel,
        windows: Windows,
        key: Key[Array, ""],
        noise: Float[Array, "time batch inputs"] | None = None,
    ) -> tuple[Step, Float[Array, "time batch tokens"], Latents]:
        """Steps, encoder outputs and posterior latents [time, batch, …] of windows.

        The recurrence starts from the stored latents of the context step. `noise` is added to the posterior's inputs,
        [deter, tokens], and to nothing else.
        """
        context, steps = time_major(windows.steps)
        deter, stoch = self.expand(windows.latents)
        tokens = over(world.encoder, 2)(steps["observation"])
        actions = jnp.concatenate([context["action"][None], steps["action"][:-1]])
        return steps, tokens, world.rssm.observe(deter, stoch, actions, tokens, steps["first"], key, noise)

    def noise(
        self, windows: Windows, updates: Int[Array, ""], key: Key[Array, ""]
    ) -> tuple[dict[str, Float[Array, "time batch _"]], Metrics]:
        """The noise on the inputs of the perturbed tables, by name, and its metrics; `key` is that of the loss."""
        found, metrics = {}, {}
        batch, length = windows.steps["first"].shape
        widths = {"posterior": self.config.model.deter + token_count(self.spaces, self.config.model)}
        for name in self.smoothing.perturbed:
            shape = (length - 1, batch, widths.get(name, self.config.model.deter))
            number = 3 + ("posterior", "prior").index(name)  # apart from the keys that the loss splits off
            found[name], measured = self.smoothing.noise(name, shape, jax.random.fold_in(key, number), updates)
            metrics |= measured
        return found, metrics

    def inspect(self, state: State, report: Report, key: Key[Array, ""]) -> Metrics:
        """The penalty's part of the gradient, at the batch of the newest update: {} without a penalty.

        gradient_norm is the norm of the gradient of lambda times the penalty (of posterior and prior together) with
        respect to all parameters of the world model, through encoder and recurrence, at the current parameters and with
        its own random draws. gradient_share is its ratio to the norm of the whole loss's gradient in that update (on
        accelerators its mean over the updates of that call). The norms of the terms of a gradient do not add up to the
        norm of their sum.
        """
        if not self.smoothing.penalised:
            return {}
        gradient = in_parts(self.penalty_gradient, (None, 0, None), None)
        norm = optax.tree.norm(gradient(state, report.batch, key))
        whole = report.metrics["gradient_norm"]
        share = norm / jnp.maximum(whole, 1e-20)
        return {f"{self.smoothing.metric}/gradient_{what}": x for what, x in (("norm", norm), ("share", share))}

    def penalty_gradient(self, state: State, windows: Windows, key: Key[Array, ""]) -> WorldModel:
        """Gradient of lambda times the penalty for a batch; where devices divide it, the mean over their parts."""
        keys = jax.random.split(own(key), 4)  # as in the loss, so that one key gives the same draws

        def penalty(world: WorldModel) -> Float[Array, ""]:
            world = self.constrained(world, state)
            _, tokens, latents = self.infer(cast_floating(world, self.dtype), windows, keys[0])
            return self.penalty(world, latents.deter, tokens, state.updates, keys[1])[0]

        return averaged(jax.grad(penalty)(state.model.world))

    def imagination(
        self, model: Model, slow: Head, scale: ReturnScale, starts: tuple[Array, Array], key: Key[Array, ""]
    ) -> ImaginationLosses:
        """Actor and critic losses of rollouts from the states [deter, stoch] in `starts`, [states, …] each."""
        players = Players(model.actor, model.critic, slow)
        return imagined(model.world, players, scale, starts, self.config.behavior, key)

    def penalty(
        self,
        world: WorldModel,
        deter: Float[Array, "time batch deter"],
        tokens: Float[Array, "time batch tokens"],
        updates: Int[Array, ""],
        key: Key[Array, ""],
    ) -> tuple[Float[Array, ""], Metrics]:
        """λ · R of the tables that are penalised (equation 5), with λ from the schedule; zero if none is."""
        deter, tokens = (x.reshape(-1, x.shape[-1]) for x in (deter, tokens))
        inputs = ((deter, tokens), (deter,))
        maps = zip(tables(world.rssm).items(), inputs, jax.random.split(key), strict=True)
        return self.smoothing.penalties({name: (table, x, k) for (name, table), x, k in maps}, updates)

    def loss_scale(self, name: str) -> float:
        """Scale of a loss term; the reconstructions of all observations have the same one."""
        return getattr(self.config.loss, "reconstruction" if name.startswith(RECONSTRUCTION) else name)

    def expand(self, latents: Extras) -> tuple[Float[Array, "batch deter"], Float[Array, "batch stoch"]]:
        """Stored latents in the form that the recurrence takes: deter and one-hot stoch, in the networks' dtype."""
        deter = jax.lax.bitcast_convert_type(latents["deter"], jnp.float16)
        stoch = jax.nn.one_hot(latents["stoch"], self.config.model.classes, dtype=self.dtype)
        return deter.astype(self.dtype), stoch.reshape(stoch.shape[0], -1)


def tables(rssm: RSSM) -> dict[str, LatentTable]:
    """The maps that can be regularised, by the names of their coefficients in the settings."""
    return {"posterior": rssm.posterior, "prior": rssm.prior}


def compact(latents: Latents) -> Extras:
    """Latents in the form in which replay stores them: deter as the bits of float16, stoch as class indices.

    Deter lies in [−1, 1], where float16 is finer than bfloat16.
    """
    deter = jax.lax.bitcast_convert_type(latents.deter.astype(jnp.float16), jnp.uint16)
    return {"deter": deter, "stoch": latents.index.astype(jnp.uint8)}


def time_major(steps: Step) -> tuple[Step, Step]:
    """The context step [batch, …] and the steps after it [time, batch, …] of sampled windows."""
    steps = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), steps)
    return jax.tree.map(lambda x: x[0], steps), jax.tree.map(lambda x: x[1:], steps)
