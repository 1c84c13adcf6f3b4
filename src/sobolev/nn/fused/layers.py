"""Layers of imagined steps as kernels, each of which also computes the norm and SiLU before its product.

They have no derivatives, since nothing is differentiated through imagined steps.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sobolev.nn.fused.kernels import (
    LEAST,
    Read,
    Tiles,
    activated,
    call,
    dot,
    pieces,
    power,
    rounded,
    squares,
    total,
    wide,
)
from sobolev.nn.fused.step import gated, shared

MOST = 64
"""Largest number of rows, and of columns, of a tile."""


def activated_layer(
    y: Float[Array, "batch inputs"],
    scale: Float[Array, " inputs"],
    kernel: Float[Array, "inputs outputs"],
    bias: Float[Array, " outputs"],
) -> Float[Array, "batch outputs"]:
    """silu(norm(y)) @ kernel + bias."""
    batch, outputs = len(y), kernel.shape[1]
    y, more = _padded(y, 0), -outputs % LEAST
    kernel, bias = jnp.pad(kernel, ((0, 0), (0, more))), jnp.pad(bias, (0, more))
    tiles = Tiles(power(len(y), MOST), power(outputs + more, MOST))

    def one(read: Read, write: Read) -> None:
        parts = pieces(read["y"].shape[1])
        ys = [wide(read["y"][:, at]) for at in parts]
        xs = activated(ys, [read["scale"][at] for at in parts], squares(ys), read["y"].shape[1])
        product = total([dot(x, read["kernel"][at, :]) for x, at in zip(xs, parts, strict=True)])
        dtype = read["kernel"].dtype
        write["y"][...] = (rounded(product, dtype) + wide(read["bias"][...])[None]).astype(dtype)

    made = call(
        one,
        (len(y) // tiles.rows, (outputs + more) // tiles.columns),
        {
            "y": (y, tiles.spec((tiles.rows, y.shape[1]), "b0")),
            "scale": (scale, tiles.spec(scale.shape, "0")),
            "kernel": (kernel, tiles.spec((len(kernel), tiles.columns), "0n")),
            "bias": (bias, tiles.spec((tiles.columns,), "n")),
        },
        {
            "y": (
                jax.ShapeDtypeStruct((len(y), outputs + more), kernel.dtype),
                tiles.spec((tiles.rows, tiles.columns), "bn"),
            )
        },
        name="fused_layer",
    )
    return made["y"][:batch, :outputs]


class Recurrence(NamedTuple):
    """Parameters of h' = f(h, z, a), given the embeddings of h, z and a before their norms."""

    embed_scale: Float[Array, " embedded"]
    """of all embeddings side by side"""
    shared: Float[Array, "embedded deter"]
    bias: Float[Array, " deter"]
    own: Float[Array, "G block block"]
    scale: Float[Array, " deter"]
    gates: Float[Array, "G block gates"]
    gates_bias: Float[Array, " all_gates"]


def next_deter(
    deter: Float[Array, "batch deter"], embedded: tuple[Float[Array, "batch hidden"], ...], weights: Recurrence
) -> Float[Array, "batch deter"]:
    """The next h, given h and the embeddings of h, z and a; one kernel computes the hidden layer, one the gates."""
    batch, units, (blocks, block, _) = len(deter), deter.shape[1], weights.own.shape
    deter, *others = (_padded(x, 0) for x in (deter, *embedded))
    t = Tiles(power(len(deter), MOST), power(block, MOST), block)
    grid = len(deter) // t.rows, units // t.columns
    made = _hidden(deter, others, weights, t, grid)
    gates = weights.gates.reshape(blocks, block, 3, block)

    def gate(read: Read, write: Read) -> None:
        write["deter"][...] = gated(read, wide(read["held"][...]), units).astype(gates.dtype)

    tile = t.spec((t.rows, t.columns), "bn")
    return call(
        gate,
        grid,
        {
            "y": (made["y"], t.spec((t.rows, block), "bg")),
            "squares": (made["squares"], t.spec((t.rows, grid[1]), "b0")),
            "scale": (weights.scale, t.spec((block,), "g")),
            "gates": (gates, t.spec((None, block, 3, t.columns), "g00i")),
            "bias": (weights.gates_bias.reshape(blocks, 3, block), t.spec((None, 3, t.columns), "g0i")),
            "held": (deter, tile),
        },
        {"deter": (jax.ShapeDtypeStruct(deter.shape, gates.dtype), tile)},
        name="fused_gate",
    )["deter"][:batch]


def _hidden(
    deter: Array, embedded: list[Array], weights: Recurrence, t: Tiles, grid: tuple[int, int]
) -> dict[str, Array]:
    """The hidden layer before its norm, y, and sums of squares of its tiles."""
    dtype, sizes = weights.shared.dtype, [x.shape[1] for x in embedded]

    def hidden(read: Read, write: Read) -> None:
        sums = [wide(read["bias"][...])[None]]
        for i, size in enumerate(sizes):
            sums.append(shared(read, [wide(read[f"embedded{i}"][:, at]) for at in pieces(size)], sum(sizes[:i])))
        sums += [dot(read["deter"][:, at], read["own"][at, :]) for at in pieces(t.block)]
        y = total(sums).astype(dtype)
        write["y"][...] = y
        write["squares"][...] = squares([wide(y)])

    return call(
        hidden,
        grid,
        {
            **{f"embedded{i}": (x, t.spec((t.rows, sizes[i]), "b0")) for i, x in enumerate(embedded)},
            "embed_scale": (weights.embed_scale, t.spec(weights.embed_scale.shape, "0")),
            "shared": (weights.shared, t.spec((len(weights.shared), t.columns), "0n")),
            "bias": (weights.bias, t.spec((t.columns,), "n")),
            "deter": (deter, t.spec((t.rows, t.block), "bg")),
            "own": (weights.own, t.spec((None, t.block, t.columns), "g0i")),
        },
        {
            "y": (jax.ShapeDtypeStruct(deter.shape, dtype), t.spec((t.rows, t.columns), "bn")),
            "squares": (jax.ShapeDtypeStruct((len(deter), grid[1]), jnp.float32), t.spec((t.rows, 1), "bn")),
        },
        name="fused_hidden",
    )


def _padded(x: Array, axis: int) -> Array:
    """The array with zeros appended to an axis, up to a multiple of `LEAST`."""
    return jnp.pad(x, [(0, -x.shape[i] % LEAST if i == axis else 0) for i in range(x.ndim)])
