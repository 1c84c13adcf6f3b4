"""Running mean and variance as a pytree (Welford's method, by batches)."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


class Moments(eqx.Module):
    """Mean and variance of all rows so far, or of about the last `memory` of them (see `update`)."""

    count: Float[Array, ""]
    mean: Float[Array, " size"]
    square: Float[Array, " size"]
    """mean squared deviation from the mean"""

    @staticmethod
    def init(size: int) -> "Moments":
        """Empty statistics: mean 0, and standard deviation 1."""
        return Moments(jnp.zeros(()), jnp.zeros(size), jnp.ones(size))

    def update(
        self, rows: Float[Array, "batch size"], weight: Bool[Array, " batch"], memory: float = float("inf")
    ) -> "Moments":
        """Adds the rows whose weight is true; beyond `memory` rows, the weight of older ones decays.

        Without rows nothing changes.
        """
        share = weight.astype(jnp.float32)
        number = jnp.sum(share)
        some = jnp.maximum(number, 1.0)
        mean = jnp.sum(share[:, None] * rows, 0) / some
        square = jnp.sum(share[:, None] * jnp.square(rows - mean[None]), 0) / some
        # The old rows count at most as `memory` minus the number of new ones.
        before = jnp.minimum(self.count, jnp.maximum(memory - number, 0.0))
        total = jnp.maximum(before + number, 1.0)
        gap, new = mean - self.mean, number / total
        updated = (1 - new) * self.square + new * square + new * (1 - new) * jnp.square(gap)
        # An update without rows must not change anything, whatever the memory.
        seen = number > 0
        return Moments(
            jnp.where(seen, total, self.count),
            jnp.where(seen, self.mean + new * gap, self.mean),
            jnp.where(seen, updated, self.square),
        )

    def std(self, floor: Float[Array, " size"] | float) -> Float[Array, " size"]:
        """Standard deviation, at least `floor`; 1 if there were no rows."""
        return jnp.where(self.count > 0, jnp.maximum(jnp.sqrt(self.square), floor), 1.0)

    def apply(self, row: Float[Array, " size"], floor: float) -> Float[Array, " size"]:
        """(row − mean) / std."""
        return (row - self.mean) / self.std(floor)

    def undo(self, row: Float[Array, " size"], floor: float) -> Float[Array, " size"]:
        """The inverse of `apply`."""
        return row * self.std(floor) + self.mean
