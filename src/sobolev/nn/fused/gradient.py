"""The backward pass of `step`: three kernels turn the gradient of a step's state into that of the previous one.

Everything that a step's derivative needs is known for all steps before the pass begins (`Slopes`), so that the rest is
linear in the gradient. A norm's mean over all units is computed from sums over tiles, which each kernel leaves to the
next.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jaxtyping import Array

from sobolev.nn.fused.kernels import Read, Tiles, call, dot, pieces, power, rounded, total, wide
from sobolev.nn.fused.step import Sizes, Weights


class Slopes(NamedTuple):
    """What the derivatives of all steps need, [time, batch, …] in float32. For norms with SiLU it is as in
    `short_derivatives.slopes`: y times its root (unit), and the slope of SiLU times scale and root (factor)."""

    softmax: Array
    """[…, stoch], of the posterior"""
    table_unit: Array
    """[…, hidden]"""
    table_factor: Array
    reset: Array
    """[…, deter]: derivatives of h by the inputs of the three gates, and by the previous h"""
    candidate: Array
    update: Array
    before: Array
    unit: Array
    """[…, deter]"""
    factor: Array
    images: Array
    """[…, G, 3, block]: unit · factor through the gates' product, over the units"""
    embed_unit: Array
    """[…, 2 · hidden]"""
    embed_factor: Array
    deter_images: Array
    """[…, deter]: unit · factor of the embedded h through the shared product, over the units"""
    stoch_images: Array


class Given(NamedTuple):
    """Gradients of the window's results, [time, batch, …]."""

    deters: Array
    stochs: Array
    probs: Array


class Retreat(NamedTuple):
    """What the loop of the backward pass carries."""

    step: Array
    """[1], the number of the step"""
    deters: Array
    """[time, batch, deter]: of h, from what comes after it too"""
    stochs: Array
    """[time, batch, stoch]: of the sample, likewise"""
    y: Array
    """[batch, deter]: of the next step's hidden layer"""
    embedded: Array
    """[batch, 2 · hidden]: of the products that it begins with"""
    held: Array
    """[batch, deter]: of the h that it begins with, past the gates"""


def retreat(weights: Weights, slopes: Slopes, given: Given, keep: Array, s: Sizes, following: Retreat) -> Retreat:
    """One step backward; `keep` as in `Window`."""
    t = s.units
    per, whole = s.grid(t, s.deter), s.steps
    units, tile = t.spec((whole, t.rows, t.columns), "tbn"), t.spec((t.rows, t.columns), "bn")
    table, hidden = t.spec((whole, t.rows, s.stoch), "tb0"), t.spec((whole, t.rows, s.hidden), "tb0")
    sums, sum_of = s.shape(s.batch, per[1], dtype=jnp.float32), t.spec((t.rows, 1), "bn")
    state = s.shape(s.batch, s.deter)
    made = call(
        lambda read, write: _pull_state(read, write, s),
        per,
        {
            "step": (following.step, t.spec((1,), "0")),
            "y": (following.y, t.spec((t.rows, s.block), "bg")),
            "embedded": (following.embedded, t.spec((t.rows, 2 * s.hidden), "b0")),
            "held": (following.held, tile),
            "keep": (keep, t.spec((whole + 1, t.rows, 1), "tb0")),
            "given_deters": (given.deters, units),
            "given_stochs": (given.stochs, table),
            "given_probs": (given.probs, table),
            "softmax": (slopes.softmax, table),
            "unit": (slopes.table_unit, hidden),
            "factor": (slopes.table_factor, hidden),
            **{name: (getattr(slopes, name), units) for name in ("reset", "candidate", "update", "before")},
            "images": (slopes.images, t.spec((whole, t.rows, None, 3, t.columns), "tbg0i")),
            "products": (weights.products, t.spec((t.columns, 2 * s.hidden), "n0")),
            "embed_stoch": (weights.embed_stoch, t.spec((s.stoch, s.hidden), "00")),
            "logits": (weights.logits, t.spec((s.hidden, s.stoch), "00")),
            "own": (weights.own, t.spec((None, t.columns, s.block), "gi0")),
            "deters": (following.deters, units),
            "stochs": (following.stochs, table),
        },
        {
            "deters": (following.deters, units),
            "stochs": (following.stochs, table),
            **{name: (state, tile) for name in ("to_reset", "to_candidate", "to_update", "held")},
            "mean": (sums, sum_of),
        },
        in_place=("deters", "stochs"),
        name="fused_pull_state",
    )
    following = following._replace(deters=made["deters"], stochs=made["stochs"], held=made["held"])
    return _retreated(weights, slopes, s, following, made)


def _retreated(weights: Weights, slopes: Slopes, s: Sizes, following: Retreat, made: dict[str, Array]) -> Retreat:
    t, e = s.units, s.embedded
    per, whole = s.grid(t, s.deter), s.steps
    units, state = t.spec((whole, t.rows, t.columns), "tbn"), s.shape(s.batch, s.deter)
    sums, sum_of = s.shape(s.batch, per[1], dtype=jnp.float32), t.spec((t.rows, 1), "bn")
    gates = ("to_reset", "to_candidate", "to_update")
    pulled = call(
        lambda read, write: _pull_gates(read, write, s),
        per,
        {
            "step": (following.step, t.spec((1,), "0")),
            **{name: (made[name], t.spec((t.rows, s.block), "bg")) for name in gates},
            "mean": (made["mean"], t.spec((t.rows, per[1]), "b0")),
            "gates": (weights.gates, t.spec((None, t.columns, 3, s.block), "gi00")),
            "unit": (slopes.unit, units),
            "factor": (slopes.factor, units),
            "deter_images": (slopes.deter_images, units),
            "stoch_images": (slopes.stoch_images, units),
        },
        {
            "y": (state, t.spec((t.rows, t.columns), "bn")),
            "deter_mean": (sums, sum_of),
            "stoch_mean": (sums, sum_of),
        },
        name="fused_pull_gates",
    )
    hidden = e.spec((whole, e.rows, e.columns), "tbn")
    ended = call(
        lambda read, write: _pull_embedded(read, write, s, e),
        s.grid(e, 2 * s.hidden),
        {
            "step": (following.step, e.spec((1,), "0")),
            "y": (pulled["y"], e.spec((e.rows, s.deter), "b0")),
            "deter_mean": (pulled["deter_mean"], e.spec((e.rows, per[1]), "b0")),
            "stoch_mean": (pulled["stoch_mean"], e.spec((e.rows, per[1]), "b0")),
            "shared": (weights.shared, e.spec((e.columns, s.deter), "n0")),
            "unit": (slopes.embed_unit, hidden),
            "factor": (slopes.embed_factor, hidden),
        },
        {
            "step": (following.step, e.spec((1,), "0")),
            "embedded": (s.shape(s.batch, 2 * s.hidden), e.spec((e.rows, e.columns), "bn")),
        },
        name="fused_pull_embedded",
    )
    return following._replace(y=pulled["y"], **ended)


def _pull_state(read: Read, write: Read, s: Sizes) -> None:
    """From the next step to this step's h and sample, through the posterior, to a tile of the gates."""
    step, parts, dtype = read["step"][0], pieces(s.hidden), s.dtype
    keep = wide(read["keep"][step + 1])
    embedded = pieces(s.hidden, start=s.hidden)
    after = [read["embedded"][:, at] for at in parts]
    of_stoch = [read["embedded"][:, at] for at in embedded]
    to_hidden = _through_posterior(read, write, s, of_stoch, keep)
    to_deter = [dot(g, read["products"][:, at], True) for g, at in zip(after, embedded, strict=True)]
    to_deter += [dot(read["y"][:, at], read["own"][:, at], True) for at in pieces(s.block)]
    gradient = wide(read["given_deters"][step]) + keep * (total(to_deter) + wide(read["held"][...]))
    gradient = rounded(gradient, dtype)
    write["deters"][step] = gradient.astype(dtype)
    gradient = gradient + total([dot(g, read["products"][:, at], True) for g, at in zip(to_hidden, parts, strict=True)])
    mean = []
    for i, name in enumerate(("reset", "candidate", "update")):
        to_gate = (gradient * read[name][step]).astype(dtype)
        write[f"to_{name}"][...] = to_gate
        mean.append(jnp.sum(wide(to_gate) * read["images"][step, :, i, :], -1, keepdims=True))
    write["held"][...] = (gradient * read["before"][step]).astype(dtype)
    write["mean"][...] = total(mean)


def _through_posterior(read: Read, write: Read, s: Sizes, of_stoch: list[Array], keep: Array) -> list[Array]:
    """The gradient of the posterior's first linear part, in pieces, given that of the sample's embedding."""
    step, parts, number, first = read["step"][0], pieces(s.hidden), s.some_rows, pl.program_id(1) == 0

    def some(i: Any, through: tuple[Array, ...]) -> tuple[Array, ...]:
        at = pl.ds(pl.multiple_of(i * number * s.held, number * s.held), number * s.held)
        pulled = [dot(g, read["embed_stoch"][at, part], True) for g, part in zip(of_stoch, parts, strict=True)]
        sample = rounded(wide(read["given_stochs"][step, :, at]) + keep * total(pulled), s.dtype)

        @pl.when(first)
        def _() -> None:
            write["stochs"][step, :, at] = sample.astype(s.dtype)

        softmax = read["softmax"][step, :, at]
        weighed = (1 - s.unimix) * softmax * (sample + read["given_probs"][step, :, at])
        sums = jnp.sum(weighed.reshape(-1, number, s.held), -1, keepdims=True)
        sums = jnp.broadcast_to(sums, (weighed.shape[0], number, s.held)).reshape(weighed.shape)
        logits = weighed - softmax * sums
        return tuple(y + dot(logits, read["logits"][part, at], True) for y, part in zip(through, parts, strict=True))

    nothing = tuple(jnp.zeros(g.shape, jnp.float32) for g in of_stoch)
    through = jax.lax.fori_loop(0, s.rows // number, some, nothing)
    units = [read["unit"][step, :, at] for at in parts]
    slopes = [read["factor"][step, :, at] * g for at, g in zip(parts, through, strict=True)]
    mean = total([jnp.sum(u * g, -1, keepdims=True) for u, g in zip(units, slopes, strict=True)]) / s.hidden
    return [g - unit * mean for g, unit in zip(slopes, units, strict=True)]


def _mean(read: Read, name: str) -> Array:
    return total([jnp.sum(read[name][:, at], -1, keepdims=True) for at in pieces(read[name].shape[1])])


def _pull_gates(read: Read, write: Read, s: Sizes) -> None:
    """A tile of the hidden layer, from the gates."""
    step, pulled = read["step"][0], []
    for i, name in enumerate(("to_reset", "to_candidate", "to_update")):
        pulled += [dot(read[name][:, at], read["gates"][:, i, at], True) for at in pieces(s.block)]
    y = read["factor"][step] * total(pulled) - read["unit"][step] * _mean(read, "mean")
    y = y.astype(s.dtype)
    write["y"][...] = y
    for name in ("deter", "stoch"):
        write[f"{name}_mean"][...] = jnp.sum(wide(y) * read[f"{name}_images"][step], -1, keepdims=True)


def _pull_embedded(read: Read, write: Read, s: Sizes, tiles: Tiles) -> None:
    """A tile of the embeddings of h and the sample, from the hidden layer."""
    step, length = read["step"][0], power(s.deter, 128)

    def add(i: Any, y: Array) -> Array:
        at = pl.ds(pl.multiple_of(i * length, length), length)
        return y + dot(read["y"][:, at], read["shared"][:, at], True)

    nothing = jnp.zeros(write["embedded"].shape, jnp.float32)
    pulled = jax.lax.fori_loop(0, s.deter // length, add, nothing)
    of_deter = pl.program_id(1) * tiles.columns < s.hidden
    mean = jnp.where(of_deter, _mean(read, "deter_mean"), _mean(read, "stoch_mean"))
    gradient = read["factor"][step] * pulled - read["unit"][step] * mean
    write["embedded"][...] = gradient.astype(s.dtype)
    write["step"][0] = step - 1
