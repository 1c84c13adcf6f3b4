"""What kernels written in Pallas for NVIDIA's GPUs (its Triton backend) share: calls, tiles, products, norms, draws.

The sides of Triton's arrays are powers of two, and those of its products are at least 16; other sides are processed in
pieces that divide them.
"""

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jaxtyping import Array

from sobolev.nn.layers import NORM_EPSILON

LEAST = 16
"""The smallest number of rows, of columns and of summed entries in a product of Triton's."""

Read = Mapping[str, Any]
"""Arguments of a kernel by name: references to arrays, or to the tile that a program of the grid is given."""


class Part(NamedTuple):
    """The part of an array that one program of a kernel's grid gets."""

    block: pl.BlockSpec
    index: str
    """as `Tiles.spec` takes it"""


class Tiles(NamedTuple):
    """How a kernel's grid divides its output [batch, columns]: one program for each tile."""

    rows: int
    columns: int
    block: int = 0
    """columns of a block, where the columns are in blocks: tiles divide them"""

    def spec(self, shape: tuple[int | None, ...], index: str) -> Part:
        """The part of an array that a program gets: its sides, and what the position of each depends on: "b" the
        batch's tile, "n" the columns' tile, "g" the columns' block, "i" the tile within the block; "0" for a whole
        side, and "t" for a whole side of which the program reads or writes one step."""
        per = max(self.block // self.columns, 1)

        def place(b: Any, n: Any) -> tuple[Any, ...]:
            tile = jnp.int32(per)
            at = {"0": 0, "t": 0, "b": b, "n": n, "g": jax.lax.div(n, tile), "i": jax.lax.rem(n, tile)}
            return tuple(at[each] for each in index)

        return Part(pl.BlockSpec(shape, place), index)


def power(number: int, most: int) -> int:
    """The largest power of two that divides a number, and is at most `most`, which is a power of two."""
    return min(number & -number, most)


def pieces(size: int, most: int = 128, start: int = 0) -> list[Any]:
    """Slices that cover a side from `start` on, all of the same length, which is a power of two."""
    length = power(size, most)
    return [pl.ds(start + i * length, length) for i in range(size // length)]


def call(
    kernel: Callable[[Read, Read], None],
    grid: tuple[int, int],
    given: Mapping[str, tuple[Array, Part]],
    made: Mapping[str, tuple[Any, Part]],
    in_place: tuple[str, ...] = (),
    *,
    name: str,
) -> dict[str, Array]:
    """Runs `kernel(read, write)` for a grid [batch tiles, column tiles], and gives what it writes by name.

    given: arrays, and the part of each that a program reads; made: the same for the results, as `jax.ShapeDtypeStruct`.
    Results named in `in_place` begin with the content of the argument of that name, and take over its memory. On a
    platform other than CUDA the kernel is interpreted, which is slow, and is meant for tests.
    """
    names, results = list(given), list(made)

    def flat(*references: Any) -> None:
        kernel(dict(zip(names, references, strict=False)), dict(zip(results, references[len(names) :], strict=True)))

    flat.__name__ = name  # what a profile of a GPU calls it

    def launched(interpret: bool, *arrays: Array) -> tuple[Array, ...]:
        made_of = pl.pallas_call(
            flat,
            grid=grid,
            in_specs=[part.block for _, part in given.values()],
            out_specs=[part.block for _, part in made.values()],
            out_shape=[shape for shape, _ in made.values()],
            input_output_aliases={names.index(each): results.index(each) for each in in_place},
            compiler_params=None if interpret else _parameters(),
            interpret=interpret,
            name=name,
        )
        return tuple(made_of(*arrays))

    arrays = [array for array, _ in given.values()]
    with jax.named_scope(_work(given, made)):
        found = jax.lax.platform_dependent(*arrays, cuda=partial(launched, False), default=partial(launched, True))
    return dict(zip(results, found, strict=True))


def _work(given: Mapping[str, tuple[Array, Part]], made: Mapping[str, tuple[Any, Part]]) -> str:
    """A name that says what XLA cannot know about a kernel, for benchmarks/_kernels.py to read in the compiled program:
    the share of its arrays that it reads or writes, and the operations of its products per byte of that."""
    whole = moved = operations = 0
    rows = next(array.shape[part.index.index("b")] for array, part in made.values() if "b" in part.index)
    for array, part in (*given.values(), *made.values()):
        size = array.size * array.dtype.itemsize
        steps = array.shape[part.index.index("t")] if "t" in part.index else 1
        whole, moved = whole + size, moved + size / steps
        operations += 2 * rows * array.size if "b" not in part.index and array.ndim > 1 else 0
    return f"share_{moved / whole:.4g}_intensity_{operations / moved:.4g}"


def _parameters() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from jax.experimental.pallas import triton

        return triton.CompilerParams(num_warps=4, num_stages=2)


def dot(x: Array, kernel: Array, turned: bool = False) -> Array:
    """x @ kernel, or x @ kernel.T, in float32; x is rounded to the kernel's dtype."""
    contracted = (((1,), (1 if turned else 0,)), ((), ()))
    return jax.lax.dot_general(x.astype(kernel.dtype), kernel, contracted, preferred_element_type=jnp.float32)


def total(values: list[Array]) -> Array:
    """Their sum."""
    result = values[0]
    for value in values[1:]:
        result = result + value
    return result


def wide(x: Array) -> Array:
    """In float32."""
    return x.astype(jnp.float32)


def rounded(x: Array, dtype: Any) -> Array:
    """In float32, but rounded to the dtype, as the output of a product is."""
    return x.astype(dtype).astype(jnp.float32)


def squares(ys: list[Array]) -> Array:
    """[batch, 1]: the sum of squares of a row that is given in pieces."""
    return total([jnp.sum(y * y, -1, keepdims=True) for y in ys])


def activated(ys: list[Array], scales: list[Array], sum_of_squares: Array, units: int) -> list[Array]:
    """RMS norm and SiLU of rows in pieces, or of some pieces of rows, in float32."""
    root = jax.lax.rsqrt(sum_of_squares / units + NORM_EPSILON)
    z = [y * root * wide(scale)[None] for y, scale in zip(ys, scales, strict=True)]
    return [each * jax.nn.sigmoid(each) for each in z]


def mixed(logits: Array, classes: int, unimix: float) -> Array:
    """`probabilities` of tables [batch, rows, columns], whose first `classes` columns are classes; 0 in the others."""
    weights = jnp.exp(logits - jnp.max(logits, -1, keepdims=True))
    softmax = weights / jnp.sum(weights, -1, keepdims=True)
    at = jax.lax.broadcasted_iota(jnp.int32, logits.shape, 2)
    return jnp.where(at < classes, (1 - unimix) * softmax + unimix / classes, 0.0)


def one_hot(probs: Array, uniform: Array, classes: int) -> Array:
    """For each row of [batch, rows, classes], the class in whose part of [0, 1) the number in [batch, rows] lies."""
    at = jax.lax.broadcasted_iota(jnp.int32, probs.shape, 2)
    before = (jnp.cumsum(probs, -1) <= uniform[:, :, None]) & (at < classes - 1)
    index = jnp.sum(jnp.where(before, 1, 0), -1, keepdims=True)
    return jnp.where(at == index, 1.0, 0.0)
