"""Output distributions in float32: categorical with uniform mixture, two-hot, Bernoulli, bounded normal."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from sobolev.nn.draws import drawn
from sobolev.system.target import for_accelerator


def symlog(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """sign(x) · log(1 + |x|)."""
    return jnp.sign(x) * jnp.log1p(jnp.abs(x))


def symexp(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """sign(x) · (exp(|x|) − 1), the inverse of symlog."""
    return jnp.sign(x) * jnp.expm1(jnp.abs(x))


def probabilities(logits: Float[Array, "rows classes"], unimix: float) -> Float[Array, "rows classes"]:
    """Row-wise softmax mixed with a uniform distribution of weight `unimix`."""
    softmax = jax.nn.softmax(logits.astype(jnp.float32), -1)
    return (1 - unimix) * softmax + unimix / logits.shape[-1]


def kl_divergence(p: Float[Array, "rows classes"], q: Float[Array, "rows classes"]) -> Float[Array, ""]:
    """KL(p ‖ q) in nats, summed over the rows of two positive probability tables."""
    return jnp.sum(p * (jnp.log(p) - jnp.log(q)))


def entropy(p: Float[Array, "rows classes"]) -> Float[Array, ""]:
    """Entropy in nats, summed over the rows of a positive probability table."""
    return -jnp.sum(p * jnp.log(p))


def sample_one_hot(
    probs: Float[Array, "rows classes"], uniform: Float[Array, " rows"]
) -> tuple[Float[Array, "rows classes"], Int[Array, " rows"]]:
    """Draws one class per row by inverting the distribution function at `uniform` in [0, 1).

    Returns the one-hot sample, through which gradients pass as if it were `probs` (straight-through), and the index.
    A row takes one uniform number, instead of one Gumbel number for each class. On a CPU, a product with a triangle of
    ones is faster than XLA's cumulative sum; on an accelerator the sums are written out, which gives a single kernel.
    """
    classes = probs.shape[-1]
    if for_accelerator():
        sample = _one_hot_at(probs, uniform)
        return jax.lax.stop_gradient(sample) + (probs - jax.lax.stop_gradient(probs)), jnp.argmax(sample, -1)
    triangle = jnp.triu(jnp.ones((classes, classes - 1), probs.dtype))
    cumulative = jnp.matmul(probs, triangle, precision="highest")
    index = jnp.sum(cumulative <= uniform[:, None], -1)
    sample = jax.nn.one_hot(index, classes, dtype=probs.dtype)
    return jax.lax.stop_gradient(sample) + (probs - jax.lax.stop_gradient(probs)), index


def _one_hot_at(probs: Float[Array, "rows classes"], uniform: Float[Array, " rows"]) -> Float[Array, "rows classes"]:
    """One-hot rows: class i where `uniform` lies between the sums of the probabilities before it and up to it."""
    parts, end = [], jnp.zeros_like(uniform)
    for i in range(probs.shape[-1]):
        begin, end = end, end + probs[:, i]
        parts.append((begin <= uniform) & ((end > uniform) | (i == probs.shape[-1] - 1)))
    return jnp.stack(parts, -1).astype(probs.dtype)


def bernoulli_loss(logit: Float[Array, ""], target: Float[Array, ""]) -> Float[Array, ""]:
    """Negative log-likelihood, in nats, of a target in [0, 1]: for a soft one, the expectation over hard ones."""
    return -(target * jax.nn.log_sigmoid(logit) + (1 - target) * jax.nn.log_sigmoid(-logit))


class TwoHot(eqx.Module):
    """A scalar as a distribution over bins that are evenly spaced in symlog space from −20 to 20."""

    bins: int = eqx.field(static=True, default=255)

    def points(self) -> Float[Array, " bins"]:
        """Bin positions, symmetric about 0; with an odd number of bins, the middle one is exactly 0."""
        half = np.linspace(-20, 0, (self.bins - 1) // 2 + 1, dtype=np.float32)
        if self.bins % 2 == 0:
            half = np.linspace(-20, 20, self.bins, dtype=np.float32)[: self.bins // 2]
        lower = np.sign(half) * np.expm1(np.abs(half))
        middle = self.bins % 2
        return jnp.asarray(np.concatenate([lower, -lower[: len(lower) - middle][::-1]]).astype(np.float32))

    def mean(self, logits: Float[Array, " bins"]) -> Float[Array, ""]:
        """The expected value; exactly 0 for uniform logits.

        The weights of mirrored bins are subtracted before they are multiplied with a position: if products were summed
        in pairs, a compiler that fuses multiplication and addition would not give exactly 0. The sum, and not every
        probability, is divided by the total weight, which saves a pass over them.
        """
        weights, pairs = jnp.exp(logits - jax.lax.stop_gradient(jnp.max(logits))), self.bins // 2
        upper = self.bins - pairs
        return jnp.sum((weights[upper:] - weights[:pairs][::-1]) * self.points()[upper:]) / jnp.sum(weights)

    def near(self, value: Float[Array, ""]) -> tuple[Int[Array, ""], Int[Array, ""], Float[Array, ""]]:
        """The bins below and above `value`, and the weight of the latter with which their mean is `value`.

        Beyond the ends, both are the end bin. The weight for a NaN is NaN. Since bins are evenly spaced in symlog
        space, their place is computed and two of them are compared, instead of all.
        """
        points = self.points()
        guess = jnp.floor((symlog(value) + 20) * ((self.bins - 1) / 40))
        guess = jnp.clip(guess, 0, self.bins - 2).astype(jnp.int32)
        found = guess - 1 + (points[guess] <= value).astype(jnp.int32) + (points[guess + 1] <= value).astype(jnp.int32)
        below, above = (jnp.clip(index, 0, self.bins - 1) for index in (found, found + 1))
        to_below = jnp.where(below == above, 1.0, jnp.abs(points[below] - value))
        to_above = jnp.where(below == above, 1.0, jnp.abs(points[above] - value))
        return below, above, jnp.where(jnp.isnan(value), value, to_below / (to_below + to_above))

    def loss_to(
        self, logits: Float[Array, " bins"], *values: Float[Array, ""], weights: tuple[float, ...] = (1.0,)
    ) -> Float[Array, ""]:
        """Weighted sum of the cross-entropies, in nats, to the two-hot targets of some values.

        Values are constants to derivatives. The target of a value is the distribution on the two bins around it that
        has this value as its mean. It is never formed: two logits are read for each value, and the gradient takes one
        pass over the bins.
        """
        near = [jax.lax.stop_gradient(self.near(value)) for value in values]
        return _cross_entropy(logits, near, weights)


def _spread(below: Array, above: Array, share: Array, bins: int) -> Float[Array, " bins"]:
    """A distribution on two of the bins."""
    index = jnp.arange(bins)
    return jnp.where(index == below, 1 - share, 0.0) + jnp.where(index == above, share, 0.0)


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _cross_entropy(logits: Array, near: list[tuple[Array, Array, Array]], weights: tuple[float, ...]) -> Array:
    """Weighted sum of cross-entropies to distributions on two bins each: (below, above, weight of above)."""
    picked = [(1 - share) * logits[below] + share * logits[above] for below, above, share in near]
    whole = sum(weights) * jax.nn.logsumexp(logits)
    return whole - sum(weight * logit for weight, logit in zip(weights, picked, strict=True))


@_cross_entropy.defjvp
def _cross_entropy_jvp(weights: tuple[float, ...], primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (logits, near), (change, _) = primals, tangents
    targets = [_spread(below, above, share, logits.size) for below, above, share in near]
    target = sum(weight * each for weight, each in zip(weights, targets, strict=True))
    slope = sum(weights) * jnp.exp(logits - jax.nn.logsumexp(logits)) - target
    return _cross_entropy(logits, near, weights), jnp.sum(slope * change)


def normal_log_prob(
    mean: Float[Array, "*batch size"], std: Float[Array, "*batch size"], value: Float[Array, "*batch size"]
) -> Float[Array, "*batch"]:
    """Log-density of independent normals in nats, summed over the last axis."""
    z = (value - mean) / std
    return jnp.sum(-0.5 * jnp.square(z) - jnp.log(std) - 0.5 * float(np.log(2 * np.pi)), -1)


class BoundedNormal(eqx.Module):
    """Independent normals with mean in (−1, 1) and a bounded standard deviation; samples may leave [−1, 1]."""

    mean: Float[Array, "*batch action"]
    std: Float[Array, "*batch action"]

    @staticmethod
    def init(
        mean: Float[Array, "*batch action"], std: Float[Array, "*batch action"], low: float, high: float
    ) -> "BoundedNormal":
        """Squashes raw outputs: tanh(mean), and std between `low` and `high`."""
        return BoundedNormal(jnp.tanh(mean), (high - low) * jax.nn.sigmoid(std + 2.0) + low)

    def sample(self, key: Key[Array, ""]) -> Float[Array, "*batch action"]:
        """One sample."""
        return self.mean + self.std * drawn(partial(jax.random.normal, dtype=self.mean.dtype), key, self.mean.shape)

    def log_prob(self, action: Float[Array, "*batch action"]) -> Float[Array, "*batch"]:
        """Log-density, summed over the action's dimensions."""
        return normal_log_prob(self.mean, self.std, action)

    def entropy(self) -> Float[Array, "*batch"]:
        """Differential entropy in nats, summed over the action's dimensions."""
        return jnp.sum(jnp.log(self.std) + 0.5 * float(np.log(2 * np.pi * np.e)), -1)
