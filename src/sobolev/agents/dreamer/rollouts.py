"""The recurrence along a window, arranged for accelerators: XLA compiles each step to few kernels.

Products of inputs that do not depend on the recurrent state are computed for all steps at once. The recurrent state and
the latents are concatenated in one array, so that one product reads both. The batch is the first axis of every array,
so that no array is transposed between products and norms. The results equal those of `RSSM.observe` on a CPU, except
for rounding: sums are taken in another order.
"""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from sobolev.nn import (
    MLP,
    BlockLinear,
    BoundedNormal,
    Hidden,
    Linear,
    Norm,
    activated_product,
    batched_recurrence,
    mixed_softmax,
    sample_one_hot,
    scan_in_pieces,
)

UNROLL = 8
"""Steps of a window that one turn of the loop makes."""

IMAGINED = 25
"""Steps of a rollout that one turn of the loop makes: all of the paper's horizon, and so no loop."""

State = tuple[Float[Array, "... deter"], Float[Array, "... state"]]
"""h, and h beside z in one array, which one product reads."""


@runtime_checkable
class Recurrent(Protocol):
    """What is read of an `rssm.Cell`."""

    @property
    def deter_in(self) -> Hidden:
        """From h [deter] to its part of the shared inputs [hidden]."""
        ...

    @property
    def stoch_in(self) -> Hidden:
        """From z [stoch] to its part of the shared inputs [hidden]."""
        ...

    @property
    def own(self) -> Float[Array, "G block block"]:
        """Kernels of the first layer for each block's own part of h."""
        ...

    @property
    def shared(self) -> Float[Array, "shared deter"]:
        """Kernel of the first layer for the inputs that all blocks share: h, z and a, embedded."""
        ...

    @property
    def bias(self) -> Float[Array, " deter"]:
        """Bias of the first layer."""
        ...

    @property
    def norm(self) -> Norm:
        """The norm after the first layer, of `deter` numbers."""
        ...

    @property
    def gates(self) -> BlockLinear:
        """The second layer: reset, candidate and update, 3 · deter numbers in G blocks."""
        ...


@runtime_checkable
class Table(Protocol):
    """What is read of an `rssm.LatentTable`."""

    @property
    def layers(self) -> tuple[Hidden, ...]:
        """The hidden layers."""
        ...

    @property
    def logits(self) -> Linear:
        """The layer after them, of rows · classes outputs."""
        ...

    @property
    def classes(self) -> int:
        """Number of classes of a row."""
        ...

    @property
    def unimix(self) -> float:
        """Share of the uniform distribution in every row, in [0, 1]."""
        ...

    def __call__(self, *parts: Float[Array, " _"]) -> Float[Array, "rows classes"]:
        """Probabilities, float32, given the concatenation of `parts`."""
        ...

    def probabilities(self, logits: Float[Array, "rows classes"]) -> Float[Array, "rows classes"]:
        """Row-wise softmax with uniform mixture, float32."""
        ...


@runtime_checkable
class Prior(Protocol):
    """What is read of an `rssm.RSSM`."""

    @property
    def prior(self) -> Table:
        """The prior's table, a function of h [deter]."""
        ...

    def bounded(self, action: Float[Array, " action"]) -> Float[Array, " action"]:
        """The action, with entries beyond [−1, 1] scaled back onto it."""
        ...


@runtime_checkable
class Policy(Protocol):
    """What is read of a `behavior.Actor`."""

    @property
    def mlp(self) -> MLP:
        """From [deter, stoch] to the features that both outputs read."""
        ...

    @property
    def mean(self) -> Linear:
        """From the features to the mean of `action` numbers, before it is bounded."""
        ...

    @property
    def std(self) -> Linear:
        """From the features to the standard deviations of `action` numbers, before they are bounded."""
        ...

    def bounded(self, mean: Float[Array, "*batch action"], std: Float[Array, "*batch action"]) -> BoundedNormal:
        """The distribution, from the outputs of `mean` and `std`."""
        ...


class Step(eqx.Module):
    """h' = f(h, z, a) as its products read it: of [h, z] in one array, and the action's part of the first product."""

    embed: Float[Array, "state embedded"]
    """kernels of deter_in and stoch_in, with zeros where the one would read the other's input"""
    embed_bias: Float[Array, " embedded"]
    embed_scales: Float[Array, "2 hidden"]
    own: Float[Array, "G block block"]
    shared: Float[Array, "embedded deter"]
    norm: Norm
    gates: BlockLinear

    def __call__(
        self,
        deter: Float[Array, "batch deter"],
        state: Float[Array, "batch state"],
        action: Float[Array, "batch deter"],
    ) -> Float[Array, "batch deter"]:
        """The next h, given h, [h, z], and the action's part, from `Actions`."""
        return self.advance(deter, state @ self.embed + self.embed_bias[None], action)

    def advance(
        self,
        deter: Float[Array, "batch deter"],
        embedded: Float[Array, "batch embedded"],
        action: Float[Array, "batch deter"],
    ) -> Float[Array, "batch deter"]:
        """The next h, where the product of [h, z] with `embed` is known."""
        y = self.hidden(deter, embedded, action)
        gates: Any = activated_product(in_blocks, y[:, None], self.norm.scale[None], self.gates.kernel)
        gates = gates + self.gates.bias.reshape(1, len(self.own), -1)
        reset, candidate, update = (part.reshape(deter.shape) for part in jnp.split(gates, 3, -1))
        update = jax.nn.sigmoid(update - 1)
        candidate = jnp.tanh(jax.nn.sigmoid(reset) * candidate)
        return update * candidate + (1 - update) * deter

    def hidden(
        self,
        deter: Float[Array, "batch deter"],
        embedded: Float[Array, "batch embedded"],
        action: Float[Array, "batch deter"],
    ) -> Float[Array, "batch deter"]:
        """The hidden layer before its norm; arguments as of `advance`."""
        embedded = embedded.reshape(len(deter), 2, -1)
        shared: Any = activated_product(jnp.matmul, embedded, self.embed_scales, self.shared)
        return in_blocks(deter, self.own).reshape(deter.shape) + shared + action


class Actions(eqx.Module):
    """The part of the recurrence's first product that depends on the action alone, with that product's bias."""

    hidden: Hidden
    kernel: Float[Array, "hidden deter"]
    bias: Float[Array, " deter"]

    def __call__(self, action: Float[Array, "batch action"]) -> Float[Array, "batch deter"]:
        """Of actions in the networks' dtype, none beyond [−1, 1]."""
        return jax.vmap(self.hidden)(action) @ self.kernel + self.bias[None]


def networks(cell: Recurrent, action_in: Hidden) -> tuple[Step, Actions]:
    """Both, of a recurrence and the layer that embeds actions."""
    deter, stoch = cell.deter_in.linear, cell.stoch_in.linear
    rows = [(0, stoch.kernel.shape[0]), (deter.kernel.shape[0], 0)]
    columns = [(0, stoch.kernel.shape[1]), (deter.kernel.shape[1], 0)]
    padded = [jnp.pad(each.kernel, sides) for each, *sides in zip((deter, stoch), rows, columns, strict=True)]
    embedded = sum(each.kernel.shape[1] for each in (deter, stoch))
    step = Step(
        embed=padded[0] + padded[1],
        embed_bias=jnp.concatenate([deter.bias, stoch.bias]),
        embed_scales=jnp.stack([cell.deter_in.norm.scale, cell.stoch_in.norm.scale]),
        own=cell.own,
        shared=cell.shared[:embedded],
        norm=cell.norm,
        gates=cell.gates,
    )
    return step, Actions(action_in, cell.shared[embedded:], cell.bias)


def in_blocks(x: Float[Array, "batch inputs"], kernel: Float[Array, "G inside outside"]) -> Array:
    """Every block of x times its kernel: [batch, G, outside]."""
    blocks = x.reshape(len(x), kernel.shape[0], -1)
    return jnp.swapaxes(jax.lax.dot_general(blocks, kernel, (((2,), (1,)), ((1,), (0,)))), 0, 1)


class Observed(eqx.Module):
    """The networks of a step along a window: the recurrence, and the posterior's table from the state's part on."""

    step: Step
    kernel: Float[Array, "deter hidden"]
    posterior: Table

    def table(self, y: Float[Array, "batch hidden"]) -> Float[Array, "batch rows classes"]:
        """Probabilities from the output of the posterior's first linear part."""
        first, *layers = self.posterior.layers
        scale = first.norm.scale
        for layer in layers:
            product: Any = activated_product(jnp.matmul, y[:, None], scale[None], layer.linear.kernel)
            y = product + layer.linear.bias[None]
            scale = layer.norm.scale
        logits: Any = activated_product(jnp.matmul, y[:, None], scale[None], self.posterior.logits.kernel)
        logits = logits + self.posterior.logits.bias[None]
        return mixed_softmax(logits.reshape(len(y), -1, self.posterior.classes), self.posterior.unimix)


def observe_step(networks: Observed, state: State, inputs: tuple[Array, ...]) -> tuple[State, tuple[Array, ...]]:
    """From the state that the step begins with, and (action, token, keep, uniform), to the next one, and (h, z, probs).

    `token` is the posterior's first layer without the state's part; `keep` [batch, 1] is 0 where the step after this
    one begins an episode, else 1, and has been applied to the state already.
    """
    action, token, keep, uniform = inputs
    deter = networks.step(*state, action)
    probs = networks.table(deter @ networks.kernel + token)
    sample, _ = jax.vmap(sample_one_hot)(probs, uniform)
    stoch = sample.reshape(len(deter), -1).astype(deter.dtype)
    return begun(deter, stoch, keep), (deter, stoch, probs)


def begun(deter: Array, stoch: Array, keep: Array) -> State:
    """The state that a step begins with: h and [h, z], or zeros."""
    return deter * keep, jnp.concatenate([deter, stoch], -1) * keep


def states_before(first: State, outputs: tuple[Array, ...], inputs: tuple[Array, ...]) -> State:
    """What `observe_step` begins every step with."""
    deter, stoch, _ = outputs
    after = begun(deter, stoch, inputs[2])
    return jax.tree.map(lambda one, more: jnp.concatenate([one[None], more[:-1]]), first, after)


def observe(networks: Observed, state: State, inputs: tuple[Array, ...]) -> tuple[Array, Array, Array]:
    """deter, stoch and probabilities [time, batch, …] along a window; arguments as of `observe_step`."""
    return batched_recurrence(observe_step, states_before, networks, state, inputs, UNROLL)


class Imagination(NamedTuple):
    """What an imagined step is made of, beside products and draws."""

    after: Callable[[Hidden, Array, Linear], Array]
    """the next linear part, from a hidden layer and the output of its own [batch, …]"""
    advance: Callable[[Step, Actions, Array, Array, Array], Array]
    """the next h, given h, the product of [h, z] with `embed`, and the action"""
    prior: Callable[[Table, Array], Array]
    """probabilities [batch, rows, classes] of a table, from h"""


def _after(layer: Hidden, y: Array, linear: Linear) -> Array:
    return jax.vmap(layer.activate)(y) @ linear.kernel + linear.bias[None]


def _advance(step: Step, actions: Actions, deter: Array, embedded: Array, action: Array) -> Array:
    return step.advance(deter, embedded, actions(action))


def _prior(table: Table, deter: Array) -> Array:
    return jax.vmap(table)(deter)


PLAIN = Imagination(_after, _advance, _prior)


def imagine(
    step: Step,
    actions: Actions,
    rssm: Prior,
    actor: Policy,
    state: State,
    inputs: tuple[Array, ...],
    parts: Imagination = PLAIN,
) -> tuple[State, tuple[Array, Array, tuple[Array, ...]]]:
    """Rolls the prior forward under the actor, from a state [starts, …] and (noise, uniform) [horizon, starts, …].

    Returns the final state, and of every state before it [h, z], action and outputs of the actor's linear parts. One
    product reads [h, z], for the recurrence and for the actor.
    """
    layers = actor.mlp.layers
    first, width = layers[0].linear, step.embed.shape[1]
    kernel = jnp.concatenate([step.embed, first.kernel], 1)
    bias = jnp.concatenate([step.embed_bias, first.bias])[None]
    heads = [
        jnp.concatenate(both, -1) for both in ((actor.mean.kernel, actor.std.kernel), (actor.mean.bias, actor.std.bias))
    ]

    def advance(state: State, inputs: tuple[Array, ...]) -> tuple[State, PyTree]:
        (deter, joined), (noise, uniform) = state, inputs
        product = joined @ kernel + bias
        hiddens = [product[:, width:]]
        for layer, following in itertools.pairwise(layers):
            hiddens.append(parts.after(layer, hiddens[-1], following.linear))
        mean, std = jnp.split(parts.after(layers[-1], hiddens[-1], Linear(*heads)).astype(jnp.float32), 2, -1)
        policy = actor.bounded(mean, std)
        action = policy.mean + policy.std * noise
        taken = jax.vmap(rssm.bounded)(action.astype(deter.dtype))
        following = parts.advance(step, actions, deter, product[:, :width], taken)
        sample, _ = jax.vmap(sample_one_hot)(parts.prior(rssm.prior, following), uniform)
        stoch = sample.reshape(len(deter), -1).astype(deter.dtype)
        return (following, jnp.concatenate([following, stoch], -1)), (joined, action, tuple(hiddens))

    return scan_in_pieces(advance, state, inputs, IMAGINED)
