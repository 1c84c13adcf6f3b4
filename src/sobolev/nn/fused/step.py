"""A step of the observed window in six kernels: three forward, three backward.

A kernel must end wherever a value depends on all units of the recurrent state, because the programs of a kernel cannot
wait for each other. In a step this happens three times: at the product of [h, z], which is normalised; at the norm of
the hidden layer before the gates; and at the products of the new h. Norms, activations, the posterior's draw, and the
small products of its logits and of its one-hot samples are instead repeated in every program of a kernel. The forward
kernels are `gate`, `multiply` and `enter`, the backward ones `pull_state`, `pull_gates` and `pull_embedded`.

Arrays along time are never sliced: a kernel reads and writes one step of the whole array, at the index in a counter.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jaxtyping import Array

from sobolev.nn.fused.kernels import (
    LEAST,
    Read,
    Tiles,
    activated,
    call,
    dot,
    mixed,
    one_hot,
    pieces,
    power,
    rounded,
    squares,
    total,
    wide,
)


class Weights(NamedTuple):
    """Parameters as the kernels read them."""

    products: Array
    """[deter, 2 · hidden]: the posterior's first kernel, and deter_in's"""
    embed_stoch: Array
    """[stoch, hidden]"""
    embed_bias: Array
    """[2 · hidden], deter's part first"""
    embed_scale: Array
    """[2 · hidden]"""
    shared: Array
    """[2 · hidden, deter]"""
    own: Array
    """[G, block, block]"""
    scale: Array
    """[deter]"""
    gates: Array
    """[G, block, 3, block]"""
    gates_bias: Array
    """[G, 3, block]"""
    table_scale: Array
    """[hidden]"""
    logits: Array
    """[hidden, stoch]"""
    logits_bias: Array
    """[stoch]"""


class Sizes(NamedTuple):
    """The sizes of a window's arrays, and of the tables of latents in it."""

    steps: int
    batch: int
    """a multiple of `LEAST`"""
    deter: int
    blocks: int
    hidden: int
    rows: int
    held: int
    """columns of a row of the tables: a power of two, so that the last ones may stand for no class"""
    classes: int
    unimix: float
    dtype: Any
    """of the networks' products"""

    @property
    def block(self) -> int:
        """Units of a block."""
        return self.deter // self.blocks

    @property
    def stoch(self) -> int:
        """Numbers of a table."""
        return self.rows * self.held

    @property
    def some_rows(self) -> int:
        """Rows of a table that are drawn at a time."""
        return power(self.rows, max(64 // self.held, 1))

    @property
    def units(self) -> Tiles:
        """A grid over the recurrent state."""
        return Tiles(LEAST, power(self.block, 64), self.block)

    @property
    def embedded(self) -> Tiles:
        """A grid over [2 · hidden]."""
        return Tiles(LEAST, power(self.hidden, 32))

    def grid(self, tiles: Tiles, columns: int) -> tuple[int, int]:
        """Programs along the batch and along so many columns."""
        return self.batch // tiles.rows, columns // tiles.columns

    def shape(self, *sides: int, dtype: Any = None) -> jax.ShapeDtypeStruct:
        """The shape of an array in the networks' dtype, or in another."""
        return jax.ShapeDtypeStruct(sides, self.dtype if dtype is None else dtype)


class Window(NamedTuple):
    """The inputs of the forward pass for every step."""

    token: Array
    """[time, batch, hidden]"""
    action: Array
    """[time, batch, deter]"""
    keep: Array
    """[time + 1, batch, 1]: what the state before each step is multiplied by, and that after the last one"""
    uniform: Array
    """[time, batch, rows]"""


class Progress(NamedTuple):
    """What the loop of the forward pass carries."""

    step: Array
    """[1], the number of the step"""
    deters: Array
    """[time + 1, batch, deter]: before each step, and after the last one"""
    stochs: Array
    """[time, batch, stoch]"""
    probs: Array
    """[time, batch, stoch]"""
    y: Array
    """[batch, deter]: the hidden layer of the step before its norm"""
    squares: Array
    """[batch, tiles]: its sums of squares"""


def advance(weights: Weights, window: Window, sizes: Sizes, progress: Progress) -> Progress:
    """One step: of the hidden layer to h, its products, the posterior's draw, and the next step's hidden layer."""
    s, t = sizes, sizes.units
    per, steps = sizes.grid(t, sizes.deter), sizes.steps
    deters = call(
        lambda read, write: _gate(read, write, s),
        per,
        {
            "step": (progress.step, t.spec((1,), "0")),
            "y": (progress.y, t.spec((t.rows, s.block), "bg")),
            "squares": (progress.squares, t.spec((t.rows, per[1]), "b0")),
            "scale": (weights.scale, t.spec((s.block,), "g")),
            "gates": (weights.gates, t.spec((None, s.block, 3, t.columns), "g00i")),
            "bias": (weights.gates_bias, t.spec((None, 3, t.columns), "g0i")),
            "keep": (window.keep, t.spec((steps + 1, t.rows, 1), "tb0")),
            "deters": (progress.deters, t.spec((steps + 1, t.rows, t.columns), "tbn")),
        },
        {"deters": (progress.deters, t.spec((steps + 1, t.rows, t.columns), "tbn"))},
        in_place=("deters",),
        name="fused_gate",
    )["deters"]
    e = sizes.embedded
    product = call(
        lambda read, write: _multiply(read, write, s),
        sizes.grid(e, 2 * s.hidden),
        {
            "step": (progress.step, e.spec((1,), "0")),
            "deters": (deters, e.spec((steps + 1, e.rows, s.deter), "tb0")),
            "kernel": (weights.products, e.spec((s.deter, e.columns), "0n")),
        },
        {"product": (s.shape(s.batch, 2 * s.hidden), e.spec((e.rows, e.columns), "bn"))},
        name="fused_multiply",
    )["product"]
    return _entered(weights, window, sizes, progress._replace(deters=deters), product)


def _entered(weights: Weights, window: Window, sizes: Sizes, progress: Progress, product: Array) -> Progress:
    s, t, (steps, batch) = sizes, sizes.units, (sizes.steps, sizes.batch)
    per = sizes.grid(t, sizes.deter)
    tables = t.spec((steps, t.rows, s.stoch), "tb0")
    made = call(
        lambda read, write: _enter(read, write, s),
        per,
        {
            "step": (progress.step, t.spec((1,), "0")),
            "product": (product, t.spec((t.rows, product.shape[1]), "b0")),
            "token": (window.token, t.spec((steps, t.rows, s.hidden), "tb0")),
            "uniform": (window.uniform, t.spec((steps, t.rows, s.rows), "tb0")),
            "keep": (window.keep, t.spec((steps + 1, t.rows, 1), "tb0")),
            "action": (window.action, t.spec((steps, t.rows, t.columns), "tbn")),
            "deters": (progress.deters, t.spec((steps + 1, t.rows, s.block), "tbg")),
            "table_scale": (weights.table_scale, t.spec((s.hidden,), "0")),
            "logits": (weights.logits, t.spec((s.hidden, s.stoch), "00")),
            "logits_bias": (weights.logits_bias, t.spec((s.stoch,), "0")),
            "embed_stoch": (weights.embed_stoch, t.spec((s.stoch, s.hidden), "00")),
            "embed_bias": (weights.embed_bias, t.spec((2 * s.hidden,), "0")),
            "embed_scale": (weights.embed_scale, t.spec((2 * s.hidden,), "0")),
            "shared": (weights.shared, t.spec((2 * s.hidden, t.columns), "0n")),
            "own": (weights.own, t.spec((None, s.block, t.columns), "g0i")),
            "stochs": (progress.stochs, tables),
            "probs": (progress.probs, tables),
        },
        {
            "step": (progress.step, t.spec((1,), "0")),
            "stochs": (progress.stochs, tables),
            "probs": (progress.probs, tables),
            "y": (s.shape(batch, s.deter), t.spec((t.rows, t.columns), "bn")),
            "squares": (s.shape(batch, per[1], dtype=jnp.float32), t.spec((t.rows, 1), "bn")),
        },
        in_place=("stochs", "probs"),
        name="fused_enter",
    )
    return progress._replace(**made)


def gated(read: Read, held: Array, units: int) -> Array:
    """A tile of h in float32, given the tile of the previous h; reads y, squares, scale, gates and bias."""
    dtype, parts = read["gates"].dtype, pieces(read["y"].shape[1])
    sums = total([jnp.sum(read["squares"][:, at], -1, keepdims=True) for at in pieces(read["squares"].shape[1])])
    ys, scales = [wide(read["y"][:, at]) for at in parts], [read["scale"][at] for at in parts]
    xs = activated(ys, scales, sums, units)
    gates = []
    for i in range(3):
        y = total([dot(x, read["gates"][at, i, :]) for x, at in zip(xs, parts, strict=True)])
        gates.append(rounded(rounded(y, dtype) + wide(read["bias"][i, :])[None], dtype))
    reset, candidate, update = gates
    update = jax.nn.sigmoid(update - 1)
    candidate = jnp.tanh(jax.nn.sigmoid(reset) * candidate)
    return update * candidate + (1 - update) * held


def shared(read: Read, embedded: list[Array], row: int) -> Array:
    """What one embedding, in pieces, adds to a tile of the hidden layer; its scales and kernel begin at that row."""
    units = sum(y.shape[1] for y in embedded)
    at = pieces(units, start=row)
    xs = activated(embedded, [read["embed_scale"][part] for part in at], squares(embedded), units)
    return total([dot(x, read["shared"][part, :]) for x, part in zip(xs, at, strict=True)])


def _gate(read: Read, write: Read, s: Sizes) -> None:
    """A tile of h, from the hidden layer."""
    step = read["step"][0]
    held = wide(read["deters"][step]) * wide(read["keep"][step])
    write["deters"][step + 1] = gated(read, held, s.deter).astype(s.dtype)


def _multiply(read: Read, write: Read, s: Sizes) -> None:
    """A tile of the products of h with the posterior's first kernel and with the one that embeds it."""
    step, length = read["step"][0], power(s.deter, 128)

    def add(i: Any, y: Array) -> Array:
        at = pl.ds(pl.multiple_of(i * length, length), length)
        return y + dot(read["deters"][step + 1, :, at], read["kernel"][at, :])

    y = jax.lax.fori_loop(0, s.deter // length, add, jnp.zeros(write["product"].shape, jnp.float32))
    write["product"][...] = y.astype(s.dtype)


def _enter(read: Read, write: Read, s: Sizes) -> None:
    """The posterior's draw, and a tile of the next step's hidden layer."""
    step, first = read["step"][0], pl.program_id(1) == 0
    parts, dtype = pieces(s.hidden), s.dtype
    ys = [rounded(wide(read["product"][:, at]) + wide(read["token"][step, :, at]), dtype) for at in parts]
    xs = activated(ys, [read["table_scale"][at] for at in parts], squares(ys), s.hidden)

    def draw(i: Any, embedded: tuple[Array, ...]) -> tuple[Array, ...]:
        number = s.some_rows
        at = pl.ds(pl.multiple_of(i * number * s.held, number * s.held), number * s.held)
        logits = total([dot(x, read["logits"][part, at]) for x, part in zip(xs, parts, strict=True)])
        logits = rounded(rounded(logits, dtype) + wide(read["logits_bias"][at])[None], dtype)
        probs = mixed(logits.reshape(-1, number, s.held), s.classes, s.unimix)
        sample = one_hot(probs, read["uniform"][step, :, pl.ds(i * number, number)], s.classes)
        sample = sample.reshape(logits.shape).astype(dtype)

        @pl.when(first)
        def _() -> None:
            write["probs"][step, :, at] = probs.reshape(logits.shape)
            write["stochs"][step, :, at] = sample

        return tuple(y + dot(sample, read["embed_stoch"][at, part]) for y, part in zip(embedded, parts, strict=True))

    nothing = tuple(jnp.zeros(y.shape, jnp.float32) for y in ys)
    of_stoch = jax.lax.fori_loop(0, s.rows // s.some_rows, draw, nothing)
    of_deter = [read["product"][:, at] for at in pieces(s.hidden, start=s.hidden)]
    keep = wide(read["keep"][step + 1])
    sums = []
    for part, products in enumerate((of_deter, of_stoch)):
        ats = pieces(s.hidden, start=part * s.hidden)
        biases = [wide(read["embed_bias"][at])[None] for at in ats]
        ys = [rounded(rounded(y, dtype) * keep + bias, dtype) for y, bias in zip(products, biases, strict=True)]
        sums.append(shared(read, ys, part * s.hidden))
    held = [(read["deters"][step + 1, :, at], at) for at in pieces(s.block)]
    sums += [dot(wide(h) * keep, read["own"][at, :]) for h, at in held]
    action = read["action"][jnp.minimum(step + 1, s.steps - 1)]
    y = (total(sums) + wide(action)).astype(dtype)
    write["y"][...] = y
    write["squares"][...] = squares([wide(y)])
    write["step"][0] = step + 1
