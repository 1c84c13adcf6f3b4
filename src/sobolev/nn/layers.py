"""Linear, block-linear and normalisation layers as plain pytrees.

Every layer maps one unbatched input; batch axes come from `jax.vmap`. Products run in the dtype of the parameters,
normalisation in float32. Initial kernels are truncated normal, as in DreamerV3.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from sobolev.nn.draws import drawn
from sobolev.system.target import for_accelerator

Tree = TypeVar("Tree")

NORM_EPSILON = 1e-4
"""Added to the mean square before the RMS norm takes its root."""

UNIT_VARIANCE = 1.1368
"""Factor by which a normal, truncated at two standard deviations, has close to unit variance."""


def initial_kernel(key: Key[Array, ""], shape: tuple[int, ...], fan_in: int, scale: float) -> Array:
    """Truncated normal kernel of the given shape with standard deviation near scale/sqrt(fan_in)."""
    normal = drawn(partial(jax.random.truncated_normal, lower=-2.0, upper=2.0, dtype=jnp.float32), key, shape)
    return normal * jnp.float32(UNIT_VARIANCE * scale / fan_in**0.5)


def cast_floating(tree: Tree, dtype: DTypeLike) -> Tree:
    """The same pytree with its floating-point arrays in `dtype`.

    The scales of norms, which are computed in at least float32, stay in at least float32, as in DreamerV3.
    """

    def cast(leaf: Any) -> Any:
        if isinstance(leaf, Norm):
            return Norm(leaf.scale.astype(at_least_float32(jnp.dtype(dtype))))
        return leaf.astype(dtype) if eqx.is_inexact_array(leaf) else leaf

    return jax.tree.map(cast, tree, is_leaf=lambda node: isinstance(node, Norm))


@jax.custom_jvp
def known(computed: Float[Array, "*shape"], value: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`value`, with the derivative of `computed`, which is equal to it and whose value then need not be computed."""
    del computed
    return value


@known.defjvp
def _known_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    return primals[1], tangents[0]


@jax.custom_vjp
def oriented(kernel: Float[Array, "inputs outputs"]) -> Float[Array, "outputs inputs"]:
    """The transposed kernel, with a barrier that keeps XLA from transposing its gradient.

    A kernel's gradient is a product over all samples. With more inputs than outputs, a CPU computes it as [outputs,
    inputs] in a third of the time; without the barrier, XLA's simplifier would turn it into [inputs, outputs].
    """
    return kernel.T


oriented.defvjp(lambda kernel: (kernel.T, None), lambda _, gradient: (jax.lax.optimization_barrier(gradient).T,))


def product(x: Float[Array, " inputs"], kernel: Float[Array, "inputs outputs"]) -> Float[Array, " outputs"]:
    """x @ kernel, with the kernel's gradient computed in the orientation that is faster on a CPU."""
    if for_accelerator() or kernel.shape[0] <= kernel.shape[1]:
        return x @ kernel
    return jax.lax.dot_general(x, oriented(kernel), (((0,), (1,)), ((), ())))


def at_least_float32(dtype: jnp.dtype) -> jnp.dtype:
    """float32 for half precision and float32, otherwise the dtype itself."""
    return dtype if dtype.itemsize > 4 else jnp.dtype("float32")


class Linear(eqx.Module):
    """y = x @ kernel + bias."""

    kernel: Float[Array, "inputs outputs"]
    bias: Float[Array, " outputs"]

    @staticmethod
    def init(key: Key[Array, ""], inputs: int, outputs: int, scale: float = 1.0) -> "Linear":
        """A layer with zero bias. `scale` multiplies the initial kernel; with 0 the layer's initial output is 0."""
        return Linear(initial_kernel(key, (inputs, outputs), inputs, scale), jnp.zeros(outputs))

    def __call__(self, *parts: Float[Array, " _"]) -> Float[Array, " outputs"]:
        """Maps the concatenation of `parts`, computed as the sum of one product per part.

        Raises ValueError if their sizes do not add up to the number of inputs.
        """
        y, row = self.bias, 0
        for part in parts:
            y = y + product(part.astype(self.kernel.dtype), self.kernel[row : row + part.size])
            row += part.size
        if row != self.kernel.shape[0]:
            raise ValueError(f"a linear layer of {self.kernel.shape[0]} inputs got {row}")
        return y


class BlockLinear(eqx.Module):
    """Block-diagonal linear layer: y_g = x_g @ kernel_g + bias_g."""

    kernel: Float[Array, "blocks block_inputs block_outputs"]
    bias: Float[Array, " outputs"]

    @staticmethod
    def init(key: Key[Array, ""], blocks: int, inputs: int, outputs: int) -> "BlockLinear":
        """`inputs` and `outputs` count over all blocks; the initial scale's fan-in is `inputs`, as in DreamerV3."""
        shape = (blocks, inputs // blocks, outputs // blocks)
        return BlockLinear(initial_kernel(key, shape, inputs, 1.0), jnp.zeros(outputs))

    def __call__(self, x: Float[Array, "blocks block_inputs"]) -> Float[Array, "blocks block_outputs"]:
        """Maps every block by itself."""
        return jnp.einsum("gi,gio->go", x, self.kernel) + self.bias.reshape(x.shape[0], -1)


class Norm(eqx.Module):
    """RMS norm over the whole input, x · rsqrt(mean(x²) + 1e-4) · scale, computed in at least float32."""

    scale: Float[Array, " size"]

    @staticmethod
    def init(size: int) -> "Norm":
        """A norm with unit scales."""
        return Norm(jnp.ones(size))

    def __call__(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Normalises over all axes of x, whose sizes multiply to that of `scale`."""
        dtype = at_least_float32(x.dtype)
        wide, scale = x.astype(dtype), self.scale.astype(dtype).reshape(x.shape)
        return (wide * jax.lax.rsqrt(jnp.mean(jnp.square(wide)) + NORM_EPSILON) * scale).astype(x.dtype)


class Hidden(eqx.Module):
    """Linear layer, RMS norm, SiLU."""

    linear: Linear
    norm: Norm

    @staticmethod
    def init(key: Key[Array, ""], inputs: int, outputs: int) -> "Hidden":
        """A layer of `outputs` units."""
        return Hidden(Linear.init(key, inputs, outputs), Norm.init(outputs))

    def __call__(self, *parts: Float[Array, " _"]) -> Float[Array, " outputs"]:
        """Maps the concatenation of `parts`."""
        return self.activate(self.linear(*parts))

    def activate(self, y: Float[Array, " outputs"]) -> Float[Array, " outputs"]:
        """The norm and SiLU that follow the linear part."""
        return jax.nn.silu(self.norm(y))


class MLP(eqx.Module):
    """Hidden layers of equal width, one after the other."""

    layers: tuple[Hidden, ...]

    @staticmethod
    def init(key: Key[Array, ""], inputs: int, units: int, layers: int) -> "MLP":
        """`layers` hidden layers of `units` units."""
        keys = jax.random.split(key, layers)
        return MLP(tuple(Hidden.init(k, units if i else inputs, units) for i, k in enumerate(keys)))

    def __call__(self, *parts: Float[Array, " _"]) -> Float[Array, " units"]:
        """Maps the concatenation of `parts`."""
        return self.traced(*parts)[0]

    def traced(
        self, *parts: Float[Array, " _"], before: tuple[Float[Array, " units"], ...] | None = None
    ) -> tuple[Float[Array, " units"], tuple[Float[Array, " units"], ...]]:
        """Maps the concatenation of `parts`, and also returns the output of every layer's linear part.

        `before` are these outputs, or those of the first layers, from a call with equal arguments: their products are
        then not computed again, except for gradients.
        """
        outputs = []
        for i, layer in enumerate(self.layers):
            y = layer.linear(*parts)
            outputs.append(y if before is None or i >= len(before) else known(y, before[i]))
            parts = (layer.activate(outputs[-1]),)
        return parts[0], tuple(outputs)


class Head(eqx.Module):
    """Hidden layers and a linear output, in float32."""

    mlp: MLP
    output: Linear

    @staticmethod
    def init(key: Key[Array, ""], inputs: int, units: int, layers: int, outputs: int, scale: float = 1.0) -> "Head":
        """`scale` multiplies the initial output kernel."""
        hidden, output = jax.random.split(key)
        return Head(MLP.init(hidden, inputs, units, layers), Linear.init(output, units, outputs, scale))

    def __call__(
        self, *parts: Float[Array, " _"], before: tuple[Float[Array, " units"], ...] | None = None
    ) -> Float[Array, " outputs"]:
        """Maps the concatenation of `parts`; `before` as in `MLP.traced`."""
        return self.output(self.mlp.traced(*parts, before=before)[0]).astype(jnp.float32)


def first_products(mlps: Sequence[MLP], inputs: Float[Array, " inputs"]) -> list[tuple[Float[Array, " _"]]]:
    """The argument `before` of `MLP.traced` for each of several networks with the same inputs, from one product.

    No gradient passes through it: it comes from the call that takes `before`.
    """
    layers, inputs = jax.lax.stop_gradient(([mlp.layers[0].linear for mlp in mlps], inputs))
    kernel = jnp.concatenate([layer.kernel for layer in layers], 1)
    product = inputs.astype(kernel.dtype) @ kernel + jnp.concatenate([layer.bias for layer in layers])
    ends = np.cumsum([layer.bias.size for layer in layers])
    return [(part,) for part in jnp.split(product, ends[:-1])]
