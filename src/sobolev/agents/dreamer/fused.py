"""The observed window by the fused step: `rollouts.observe` in six kernels for a step and its gradient."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array

from sobolev.agents.dreamer import rollouts
from sobolev.agents.dreamer.config import ModelConfig
from sobolev.agents.dreamer.rollouts import Actions, Imagination, Observed, State, Step, Table, in_blocks
from sobolev.errors import UserError
from sobolev.nn import Hidden, Linear
from sobolev.nn.fused.gradient import Given, Retreat, Slopes, retreat
from sobolev.nn.fused.kernels import LEAST, power
from sobolev.nn.fused.layers import Recurrence, activated_layer, next_deter
from sobolev.nn.fused.step import Progress, Sizes, Weights, Window, advance
from sobolev.nn.short_derivatives import activated, slopes
from sobolev.system.target import FUSED_STEP

UNROLL = 8
"""Steps of a window that one turn of the loop makes."""

NO_CLASS = -1e30
"""Logit of a column that is no class."""


@jax.custom_vjp
def observe(networks: Observed, state: State, inputs: tuple[Array, ...]) -> Any:
    """As `rollouts.observe`, but for rounding; `keep` and `uniform` of the inputs get no gradient.

    The posterior must have one hidden layer.
    """
    return _forward(networks, state, inputs)[0]


def _forward(networks: Observed, state: State, inputs: tuple[Array, ...]) -> tuple[tuple[Array, ...], Any]:
    sizes, batch = _sizes(networks, inputs), inputs[0].shape[1]
    weights = _weights(networks, sizes)
    window = _window(inputs, sizes)
    deter, joined = (_padded(part, sizes, 0) for part in state)
    step = networks.step
    y = step.hidden(deter, joined @ step.embed + step.embed_bias[None], window.action[0])
    tiles = sizes.deter // sizes.units.columns
    squares = jnp.sum(jnp.square(y.astype(jnp.float32)).reshape(sizes.batch, tiles, -1), -1)
    steps, tables = sizes.steps, (sizes.steps, sizes.batch, sizes.stoch)
    deters = jnp.zeros((steps + 1, sizes.batch, sizes.deter), sizes.dtype).at[0].set(deter)
    begun = Progress(
        jnp.zeros(1, jnp.int32), deters, jnp.zeros(tables, sizes.dtype), jnp.zeros(tables, jnp.float32), y, squares
    )

    def some(progress: Progress, _: None) -> tuple[Progress, None]:
        return advance(weights, window, sizes, progress), None

    ended, _ = jax.lax.scan(some, begun, None, length=steps, unroll=min(UNROLL, steps))
    probs = _classes(ended.probs, sizes)[:, :batch]
    stochs = _classes(ended.stochs, sizes).reshape(steps, sizes.batch, -1)[:, :batch]
    outputs = ended.deters[1:, :batch], stochs, probs
    return outputs, (networks, state, inputs, outputs)


def _backward(kept: Any, gradients: tuple[Array, ...]) -> tuple[Any, ...]:
    networks, state, inputs, outputs = kept
    sizes, batch = _sizes(networks, inputs), inputs[0].shape[1]
    before = rollouts.states_before(state, outputs, inputs)
    weights, keep = _weights(networks, sizes), _window(inputs, sizes).keep
    needed = _slopes(networks, before, inputs, outputs[0], sizes)
    deters, stochs, probs = gradients
    rows = [_held(x.reshape(*x.shape[:2], sizes.rows, -1), sizes) for x in (stochs, probs)]
    given = Given(*[_padded(x, sizes, 1) for x in (deters, *rows)])
    nothing = jnp.zeros((sizes.batch, sizes.deter), sizes.dtype)
    end = Retreat(
        step=jnp.full(1, sizes.steps - 1, jnp.int32),
        deters=jnp.zeros(given.deters.shape, sizes.dtype),
        stochs=jnp.zeros(given.stochs.shape, sizes.dtype),
        y=nothing,
        embedded=jnp.zeros((sizes.batch, 2 * sizes.hidden), sizes.dtype),
        held=nothing,
    )

    def some(following: Retreat, _: None) -> tuple[Retreat, None]:
        return retreat(weights, needed, given, keep, sizes, following), None

    first, _ = jax.lax.scan(some, end, None, length=sizes.steps, unroll=min(UNROLL, sizes.steps))
    stochs = _classes(first.stochs, sizes).reshape(sizes.steps, sizes.batch, -1)
    whole = first.deters[:, :batch], stochs[:, :batch], probs

    def forward(networks: Observed, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        return jax.vmap(rollouts.observe_step, (None, 0, 0))(networks, before, inputs)[1]

    for_networks, for_inputs = jax.vjp(forward, networks, inputs)[1](whole)
    own = jnp.swapaxes(networks.step.own, 1, 2)
    for_deter = in_blocks(first.y, own).reshape(nothing.shape) + first.held
    for_state = for_deter[:batch], (first.embedded @ networks.step.embed.T)[:batch]
    return for_networks, for_state, for_inputs


observe.defvjp(_forward, _backward)


def _after(layer: Hidden, y: Array, linear: Linear) -> Array:
    return activated_layer(y, layer.norm.scale, linear.kernel, linear.bias)


def _advance(step: Step, actions: Actions, deter: Array, embedded: Array, action: Array) -> Array:
    of_action, width = actions.hidden.linear, step.embed_scales.shape[1]
    weights = Recurrence(
        embed_scale=jnp.concatenate([step.embed_scales.reshape(-1), actions.hidden.norm.scale]),
        shared=jnp.concatenate([step.shared, actions.kernel]),
        bias=actions.bias,
        own=step.own,
        scale=step.norm.scale,
        gates=step.gates.kernel,
        gates_bias=step.gates.bias,
    )
    of_actions = action @ of_action.kernel + of_action.bias[None]
    return next_deter(deter, (embedded[:, :width], embedded[:, width:], of_actions), weights)


def _prior(table: Table, deter: Array) -> Array:
    first, *others = [layer.linear for layer in table.layers]
    y = deter @ first.kernel + first.bias[None]
    for layer, following in zip(table.layers, [*others, table.logits], strict=True):
        y = _after(layer, y, following)
    return jax.vmap(table.probabilities)(y.reshape(len(y), -1, table.classes))


IMAGINATION = Imagination(_after, _advance, _prior)
"""The parts of an imagined step as kernels, for `rollouts.imagine`."""


def check(model: ModelConfig) -> None:
    """Raise UserError where the kernels cannot have a model's sizes."""
    held, width = _power(model.classes), model.deter // model.blocks
    sides = {"--model.deter over --model.blocks": width, "--model.hidden": model.hidden, "--model.units": model.units}
    for name, side in sides.items():
        if side % LEAST:
            raise UserError(
                f"{FUSED_STEP}=1 needs {name} to be divisible by {LEAST}, not {side}: change it, or unset that"
            )
    if held * power(model.rows, max(64 // held, 1)) < LEAST:
        raise UserError(
            f"{FUSED_STEP}=1 needs more of {model.rows} rows of {model.classes} classes than that: take "
            f"--model.classes from {LEAST // 2 + 1} on, or unset it"
        )
    if model.posterior_layers != 1:
        raise UserError(
            f"{FUSED_STEP}=1 needs --model.posterior-layers 1, not {model.posterior_layers}: set that, or unset it"
        )


def _power(classes: int) -> int:
    """The smallest power of two that is no less."""
    return 1 << (classes - 1).bit_length()


def _sizes(networks: Observed, inputs: tuple[Array, ...]) -> Sizes:
    steps, batch, rows = inputs[3].shape
    posterior, step = networks.posterior, networks.step
    if len(posterior.layers) != 1:
        raise ValueError(f"the fused step has a posterior of one hidden layer, not of {len(posterior.layers)}")
    return Sizes(
        steps=steps,
        batch=-(-batch // LEAST) * LEAST,
        deter=step.shared.shape[1],
        blocks=len(step.own),
        hidden=step.embed_scales.shape[1],
        rows=rows,
        held=_power(posterior.classes),
        classes=posterior.classes,
        unimix=posterior.unimix,
        dtype=step.shared.dtype,
    )


def _weights(networks: Observed, sizes: Sizes) -> Weights:
    step, posterior = networks.step, networks.posterior
    embed_deter, embed_stoch = step.embed[: sizes.deter, : sizes.hidden], step.embed[sizes.deter :, sizes.hidden :]
    table = (sizes.rows, sizes.classes)
    gates = step.gates.kernel.reshape(sizes.blocks, sizes.block, 3, sizes.block)
    return Weights(
        products=jnp.concatenate([networks.kernel, embed_deter], 1),
        embed_stoch=_held(embed_stoch.T.reshape(-1, *table), sizes).T,
        embed_bias=step.embed_bias,
        embed_scale=step.embed_scales.reshape(-1),
        shared=step.shared,
        own=step.own,
        scale=step.norm.scale,
        gates=gates,
        gates_bias=step.gates.bias.reshape(sizes.blocks, 3, sizes.block),
        table_scale=posterior.layers[0].norm.scale,
        logits=_held(posterior.logits.kernel.reshape(-1, *table), sizes),
        logits_bias=_held(posterior.logits.bias.reshape(table), sizes, NO_CLASS),
    )


def _window(inputs: tuple[Array, ...], sizes: Sizes) -> Window:
    action, token, keep, uniform = (_padded(x, sizes, 1) for x in inputs)
    # The state before the first step is multiplied already.
    return Window(token, action, jnp.concatenate([jnp.ones_like(keep[:1]), keep]), uniform)


def _padded(x: Array, sizes: Sizes, axis: int) -> Array:
    """With as many streams as the kernels take, the last of them zeros."""
    more = [(0, sizes.batch - x.shape[axis] if i == axis else 0) for i in range(x.ndim)]
    return jnp.pad(x, more)


def _held(x: Array, sizes: Sizes, value: float = 0.0) -> Array:
    """[…, rows, classes] as […, stoch], with columns that are no class where the kernels need them."""
    more = [(0, 0)] * (x.ndim - 1) + [(0, sizes.held - sizes.classes)]
    return jnp.pad(x, more, constant_values=value).reshape(*x.shape[:-2], -1)


def _classes(x: Array, sizes: Sizes) -> Array:
    """[…, stoch] as […, rows, classes]."""
    return x.reshape(*x.shape[:-1], sizes.rows, sizes.held)[..., : sizes.classes]


def _slopes(networks: Observed, before: State, inputs: tuple[Array, ...], after: Array, sizes: Sizes) -> Slopes:
    """Of all steps, which are multiplied together."""
    step, posterior, (action, token, *_) = networks.step, networks.posterior, inputs
    lead, hidden = action.shape[:2], sizes.hidden
    deter, joined, action, token, after = (x.reshape(-1, x.shape[-1]) for x in (*before, action, token, after))
    embedded = (joined @ step.embed + step.embed_bias[None]).reshape(-1, 2, hidden)
    embed_unit, _, embed_factor = slopes(embedded, step.embed_scales)
    y = in_blocks(deter, step.own).reshape(deter.shape) + activated(embedded, step.embed_scales) @ step.shared + action
    scale = step.norm.scale[None]
    unit, _, factor = (x[:, 0] for x in slopes(y[:, None], scale))
    gates = in_blocks(activated(y[:, None], scale), step.gates.kernel)
    gates = (gates + step.gates.bias.reshape(1, sizes.blocks, -1)).astype(jnp.float32)
    reset, candidate, update = (part.reshape(deter.shape) for part in jnp.split(gates, 3, -1))
    reset, update = jax.nn.sigmoid(reset), jax.nn.sigmoid(update - 1)
    value = jnp.tanh(reset * candidate)
    slope = update * (1 - value * value)
    images = _images(unit * factor, lambda x: in_blocks(x, step.gates.kernel), sizes.dtype, sizes.deter)
    parts = [embed_unit[:, i] * embed_factor[:, i] for i in range(2)]
    shared = step.shared.reshape(2, hidden, -1)
    embed_images = [_images(x, lambda x, i=i: x @ shared[i], sizes.dtype, hidden) for i, x in enumerate(parts)]
    first = after @ networks.kernel + token
    scale = posterior.layers[0].norm.scale[None]
    table_unit, _, table_factor = (x[:, 0] for x in slopes(first[:, None], scale))
    logits = activated(first[:, None], scale) @ posterior.logits.kernel + posterior.logits.bias[None]
    logits = logits.astype(jnp.float32).reshape(-1, sizes.rows, sizes.classes)
    found = Slopes(
        softmax=_held(jax.nn.softmax(logits, -1), sizes),
        table_unit=table_unit,
        table_factor=table_factor,
        reset=slope * candidate * reset * (1 - reset),
        candidate=slope * reset,
        update=(value - deter.astype(jnp.float32)) * update * (1 - update),
        before=1 - update,
        unit=unit,
        factor=factor,
        images=images.reshape(-1, sizes.blocks, 3, sizes.block),
        embed_unit=embed_unit.reshape(-1, 2 * hidden),
        embed_factor=embed_factor.reshape(-1, 2 * hidden),
        deter_images=embed_images[0],
        stoch_images=embed_images[1],
    )
    return jax.tree.map(lambda x: _padded(x.reshape(*lead, *x.shape[1:]), sizes, 1), found)


def _images(x: Array, multiply: Callable[[Array], Array], dtype: DTypeLike, units: int) -> Array:
    return multiply(x.astype(dtype)).astype(jnp.float32) / units
