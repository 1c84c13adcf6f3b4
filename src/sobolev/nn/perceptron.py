"""A multilayer perceptron that is smooth in its inputs to every order, for networks whose derivatives are trained."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sobolev.nn.layers import Linear, at_least_float32


class Perceptron(eqx.Module):
    """Linear layers with SiLU between them, without normalisation, which would distort the network's derivatives."""

    hidden: tuple[Linear, ...]
    output: Linear

    @staticmethod
    def init(
        key: Key[Array, ""], inputs: int, units: int, layers: int, outputs: int, scale: float = 1.0
    ) -> "Perceptron":
        """`layers` hidden layers of `units` units; `scale` multiplies the initial output kernel."""
        *keys, last = jax.random.split(key, layers + 1)
        hidden = [Linear.init(k, units if i else inputs, units) for i, k in enumerate(keys)]
        return Perceptron(tuple(hidden), Linear.init(last, units if layers else inputs, outputs, scale))

    def __call__(self, *parts: Float[Array, " _"]) -> Float[Array, " outputs"]:
        """Maps the concatenation of `parts`; outputs are at least float32."""
        for layer in self.hidden:
            parts = (jax.nn.silu(layer(*parts)),)
        found = self.output(*parts)
        return found.astype(at_least_float32(jnp.dtype(found.dtype)))
