"""The recurrent state-space model: a block-GRU recurrence with categorical latents (DreamerV3).

The recurrent state is stored as blocks [G, deter/G], because its products are block-diagonal. With the batch axis
behind the block axis, every product is one batched matmul without a change of layout, which halves the time of the
recurrence on a CPU.
"""

from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from sobolev.agents.dreamer import rollouts
from sobolev.agents.dreamer.config import ModelConfig
from sobolev.nn import (
    NORM_EPSILON,
    BlockLinear,
    Hidden,
    Linear,
    Norm,
    at_least_float32,
    drawn,
    over,
    probabilities,
    product,
    recurrence,
    sample_one_hot,
)
from sobolev.smoothness.layers import norm_silu
from sobolev.system.target import for_accelerator, fused_step


class LatentTable(eqx.Module):
    """Probability table [K, C] of the latents: hidden layers, then logits, then softmax with uniform mixture.

    The prior's input is deter, the posterior's is [deter, tokens]. Satisfies `sobolev.smoothness.LinearFirst`.
    """

    layers: tuple[Hidden, ...]
    logits: Linear
    classes: int = eqx.field(static=True)
    unimix: float = eqx.field(static=True)

    @staticmethod
    def init(key: Key[Array, ""], inputs: int, layers: int, config: ModelConfig) -> "LatentTable":
        """A table of config.rows × config.classes probabilities, as a function of `inputs` numbers."""
        *keys, last = jax.random.split(key, layers + 1)
        hidden = tuple(Hidden.init(k, config.hidden if i else inputs, config.hidden) for i, k in enumerate(keys))
        output = Linear.init(last, config.hidden, config.rows * config.classes)
        return LatentTable(hidden, output, config.classes, config.unimix)

    def __call__(self, *parts: Float[Array, " _"]) -> Float[Array, "rows classes"]:
        """Probabilities (uniform mixture included), float32, given the concatenation of `parts`."""
        return self.finish(self.layers[0].linear(*parts))

    def finish(self, y: Float[Array, " hidden"]) -> Float[Array, "rows classes"]:
        """Probabilities from the output y of the first linear part."""
        return self.probabilities(self.logits(self.hidden(y)).reshape(-1, self.classes))

    @property
    def first_kernel(self) -> Float[Array, "inputs hidden"]:
        """Kernel of the first linear part."""
        return self.layers[0].linear.kernel

    @property
    def first_bias(self) -> Float[Array, " hidden"]:
        """Bias of the first linear part."""
        return self.layers[0].linear.bias

    @property
    def last_kernel(self) -> Float[Array, "features logits"]:
        """Kernel of the logits; row i owns columns i·C to (i+1)·C."""
        return self.logits.kernel

    @property
    def rows(self) -> int:
        """Number K of categorical latents."""
        return self.last_kernel.shape[1] // self.classes

    @property
    def last_bias(self) -> Float[Array, " logits"]:
        """Bias of the logits."""
        return self.logits.bias

    def hidden(self, y: Float[Array, " hidden"]) -> Float[Array, " features"]:
        """From the output of the first linear part to the input of the last one.

        Equals `Hidden.activate`, but has a derivative that is fast where the penalty differentiates it again.
        """
        x = smooth_activation(self.layers[0].norm, y)
        for layer in self.layers[1:]:
            x = smooth_activation(layer.norm, layer.linear(x))
        return x

    def probabilities(self, logits: Float[Array, "rows classes"]) -> Float[Array, "rows classes"]:
        """Row-wise softmax with uniform mixture, float32."""
        return probabilities(logits, self.unimix)

    def draw(self, inputs: Float[Array, " inputs"], uniform: Float[Array, " rows"]) -> Float[Array, " stoch"]:
        """Latents drawn from the table at these inputs, in their dtype: one-hot rows, flattened."""
        sample, _ = sample_one_hot(self(inputs), uniform)
        return sample.reshape(-1).astype(inputs.dtype)


def smooth_activation(norm: Norm, y: Float[Array, " hidden"]) -> Float[Array, " hidden"]:
    """RMS norm and SiLU in at least float32."""
    wide = at_least_float32(y.dtype)
    return norm_silu(y.astype(wide), norm.scale.astype(wide), NORM_EPSILON).astype(y.dtype)


class Latents(eqx.Module):
    """The latents of a trajectory, with any batch axes in front."""

    deter: Float[Array, "*batch deter"]
    stoch: Float[Array, "*batch stoch"]
    probs: Float[Array, "*batch rows classes"]
    index: Int[Array, "*batch rows"]

    @property
    def parts(self) -> tuple[Float[Array, "*batch _"], ...]:
        """[deter, stoch] in the form in which heads take it: in two parts or, on an accelerator, as one array."""
        both = self.deter, self.stoch
        return (jnp.concatenate(both, -1),) if for_accelerator() else both


class Cell(eqx.Module):
    """The recurrence h' = f(h, z, a), with its kernels in the form that its products need.

    The first block-linear layer feeds every block with its own part of h, and with inputs that all blocks share (h, z
    and a, embedded). With the kernel split once, outside the loop over time, the shared part is one dense product.
    """

    deter_in: Hidden
    stoch_in: Hidden
    own: Float[Array, "G block block"]
    shared: Float[Array, "shared deter"]
    bias: Float[Array, " deter"]
    norm: Norm
    gates: BlockLinear

    def __call__(
        self, blocks: Float[Array, "G block"], stoch: Float[Array, " stoch"], action: Float[Array, " hidden"]
    ) -> Float[Array, "G block"]:
        """The next recurrent state, as blocks, given the embedded action."""
        shared = jnp.concatenate([self.deter_in(blocks.reshape(-1)), self.stoch_in(stoch), action])
        y = jnp.einsum("gi,gio->go", blocks, self.own) + (shared @ self.shared + self.bias).reshape(blocks.shape)
        y = jax.nn.silu(self.norm(y))
        reset, candidate, update = jnp.split(self.gates(y), 3, -1)
        update = jax.nn.sigmoid(update - 1)
        candidate = jnp.tanh(jax.nn.sigmoid(reset) * candidate)
        return update * candidate + (1 - update) * blocks


class Posterior(eqx.Module):
    """The posterior table, with the tokens' part of its first layer computed in advance."""

    deter_kernel: Float[Array, "deter hidden"]
    table: LatentTable

    def __call__(self, deter: Float[Array, " deter"], token: Float[Array, " hidden"]) -> Float[Array, "rows classes"]:
        """Probabilities from deter and the product of the tokens with their part of the first kernel."""
        return self.table.finish(self.table.first_bias + product(deter, self.deter_kernel) + token)


Carried: TypeAlias = tuple[Float[Array, "G block"], Float[Array, " stoch"]]
"""The state of one stream between two steps: the recurrent state, as blocks, and stoch."""

Observed: TypeAlias = tuple[Float[Array, " embedded"], Float[Array, " hidden"], Float[Array, ""], Float[Array, " rows"]]
"""The inputs of one step of a stream: the embedded action, the tokens' part of the posterior's first layer, 0 where the
episode begins (else 1), and uniform numbers."""

Inferred: TypeAlias = tuple[Float[Array, " deter"], Float[Array, " stoch"], Float[Array, "rows classes"]]
"""Deter, stoch and the posterior's probabilities of one step."""


def observe_step(model: tuple[Cell, Posterior], carry: Carried, inputs: Observed) -> tuple[Carried, Inferred]:
    """One step of `RSSM.observe` for one stream: the recurrence, then a draw from the posterior."""
    (cell, posterior), (blocks, stoch), (action, token, keep, uniform) = model, carry, inputs
    blocks = cell(blocks * keep, stoch * keep, action)
    deter = blocks.reshape(-1)
    probs = posterior(deter, token)
    sample, _ = sample_one_hot(probs, uniform)
    stoch = sample.reshape(-1).astype(deter.dtype)
    return (blocks, stoch), (deter, stoch, probs)


class RSSM(eqx.Module):
    """Recurrence h' = f(h, z, a), prior p(z | h) and posterior q(z | h, e)."""

    deter_in: Hidden
    stoch_in: Hidden
    action_in: Hidden
    hidden: BlockLinear
    hidden_norm: Norm
    gates: BlockLinear
    prior: LatentTable
    posterior: LatentTable

    @staticmethod
    def init(key: Key[Array, ""], actions: int, tokens: int, config: ModelConfig) -> "RSSM":
        """A model for actions of size `actions` and encoder outputs of size `tokens`."""
        keys = jax.random.split(key, 7)
        width = config.hidden
        return RSSM(
            deter_in=Hidden.init(keys[0], config.deter, width),
            stoch_in=Hidden.init(keys[1], config.rows * config.classes, width),
            action_in=Hidden.init(keys[2], actions, width),
            hidden=BlockLinear.init(keys[3], config.blocks, config.deter + 3 * width * config.blocks, config.deter),
            hidden_norm=Norm.init(config.deter),
            gates=BlockLinear.init(keys[4], config.blocks, config.deter, 3 * config.deter),
            prior=LatentTable.init(keys[5], config.deter, config.prior_layers, config),
            posterior=LatentTable.init(keys[6], config.deter + tokens, config.posterior_layers, config),
        )

    def initial(self, batch: int, dtype: DTypeLike) -> tuple[Float[Array, "batch deter"], Float[Array, "batch stoch"]]:
        """Deter and stoch of a batch of streams before their first step: zeros."""
        deter, stoch = self.prior.first_kernel.shape[0], self.prior.last_kernel.shape[1]
        return jnp.zeros((batch, deter), dtype), jnp.zeros((batch, stoch), dtype)

    def embed_action(self, action: Float[Array, " action"]) -> Float[Array, " hidden"]:
        """The action's part of the recurrence's input; actions beyond [−1, 1] are scaled back onto it."""
        return self.action_in(self.bounded(action))

    def bounded(self, action: Float[Array, " action"]) -> Float[Array, " action"]:
        """The action, with entries beyond [−1, 1] scaled back onto it."""
        return action / jax.lax.stop_gradient(jnp.maximum(1.0, jnp.abs(action)))

    def cell(self) -> Cell:
        """The recurrence, for use in a loop over time."""
        kernel = self.hidden.kernel
        block = kernel.shape[-1]
        shared = kernel[:, block:].transpose(1, 0, 2).reshape(kernel.shape[1] - block, -1)
        return Cell(
            deter_in=self.deter_in,
            stoch_in=self.stoch_in,
            own=kernel[:, :block],
            shared=shared,
            bias=self.hidden.bias,
            norm=self.hidden_norm,
            gates=self.gates,
        )

    def observe(
        self,
        deter: Float[Array, "batch deter"],
        stoch: Float[Array, "batch stoch"],
        actions: Float[Array, "time batch action"],
        tokens: Float[Array, "time batch tokens"],
        first: Bool[Array, "time batch"],
        key: Key[Array, ""],
        noise: Float[Array, "time batch inputs"] | None = None,
    ) -> Latents:
        """Posterior latents [time, batch, …] along a stream, from the latents of the step before it.

        `actions[t]` is the action taken before observation t. At a first step, state and action are reset to zero.
        The products that do not depend on the recurrence, those of actions and tokens, are computed outside the scan.
        `noise` is added to the posterior's inputs [deter, tokens], and to nothing else: its first layer is linear, so
        the noise's product is simply added to that of the tokens.
        """
        kernel, size = self.posterior.first_kernel, deter.shape[-1]
        deter_kernel, token_kernel = kernel[:size], kernel[size:]
        actions = jnp.where(first[..., None], 0.0, actions)
        token_part = over(lambda token: product(token, token_kernel), 2)(tokens.astype(token_kernel.dtype))
        if noise is not None:
            token_part = token_part + over(lambda added: product(added, kernel), 2)(noise.astype(kernel.dtype))
        keep = 1.0 - first.astype(deter.dtype)
        uniform = drawn(jax.random.uniform, key, (*first.shape, self.posterior.rows))
        if for_accelerator():
            return self._observe_batches(deter, stoch, (actions, token_part, keep, uniform), deter_kernel)
        embedded = over(self.embed_action, 2)(actions)
        model, carry = (self.cell(), Posterior(deter_kernel, self.posterior)), (self.to_blocks(deter), stoch)
        inputs = (embedded, token_part, keep, uniform)
        outputs: Any = recurrence(observe_step, model, carry, inputs, (1, 0))
        deters, stochs, probs = outputs
        return Latents(deters, stochs, probs, jnp.argmax(stochs.reshape(probs.shape), -1))

    def _observe_batches(self, deter: Array, stoch: Array, inputs: tuple[Array, ...], deter_kernel: Array) -> Latents:
        """`observe` in the form for accelerators, from the inputs that it has prepared."""
        actions, token_part, keep, uniform = inputs
        step, action_part = rollouts.networks(self.cell(), self.action_in)
        actions = over(lambda action: action_part(self.bounded(action)[None])[0], 2)(actions)
        token_part = token_part + self.posterior.first_bias[None, None]
        state = rollouts.begun(deter, stoch, keep[0, :, None])
        after = jnp.concatenate([keep[1:], jnp.ones_like(keep[:1])])[..., None]
        networks = rollouts.Observed(step, deter_kernel, self.posterior)
        along = rollouts.observe
        if fused_step():
            from sobolev.agents.dreamer import fused  # here, since it imports Pallas, which takes its time

            along = fused.observe
        deters, stochs, probs = along(networks, state, (actions, token_part, after, uniform))
        return Latents(deters, stochs, probs, jnp.argmax(stochs.reshape(probs.shape), -1))

    def predict(
        self,
        deter: Float[Array, "batch deter"],
        stoch: Float[Array, "batch stoch"],
        actions: Float[Array, "time batch action"],
        first: Bool[Array, "time batch"],
        key: Key[Array, ""],
    ) -> tuple[Float[Array, "time batch deter"], Float[Array, "time batch stoch"]]:
        """Latents drawn from the prior along recorded actions, from the latents of the step before them.

        `actions[t]` is the action taken before step t. At a first step, state and action are reset to zero.
        """
        cell = jax.vmap(self.cell(), (1, 0, 0), 1)
        embedded = over(self.embed_action, 2)(jnp.where(first[..., None], 0.0, actions))
        keep = 1.0 - first.astype(deter.dtype)
        uniform = drawn(jax.random.uniform, key, (*first.shape, self.prior.rows))

        def advance(carry: tuple[Array, Array], inputs: tuple[Array, Array, Array]) -> tuple[PyTree, PyTree]:
            (blocks, stoch), (action, keep, uniform) = carry, inputs
            blocks = cell(blocks * keep[None, :, None], stoch * keep[:, None], action)
            deter = flatten_blocks(blocks)
            stoch = jax.vmap(self.prior.draw)(deter, uniform)
            return (blocks, stoch), (deter, stoch)

        return jax.lax.scan(advance, (self.to_blocks(deter), stoch), (embedded, keep, uniform))[1]

    def to_blocks(self, deter: Float[Array, "batch deter"]) -> Float[Array, "G batch block"]:
        """Recurrent states, block axis first."""
        return deter.reshape(deter.shape[0], self.gates.kernel.shape[0], -1).transpose(1, 0, 2)


def flatten_blocks(blocks: Float[Array, "G batch block"]) -> Float[Array, "batch deter"]:
    """Recurrent states, batch axis first; the inverse of `RSSM.to_blocks`."""
    return blocks.transpose(1, 0, 2).reshape(blocks.shape[1], -1)
