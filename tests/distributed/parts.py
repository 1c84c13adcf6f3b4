"""Functions of a batch in parts, in a process with four devices: see test_together.py."""

import jax
import jax.numpy as jnp
import numpy as np

from sobolev.distributed.sharding import Layout
from sobolev.nn.batching import averaged, in_parts, joined, own


def gradient(weights: jax.Array, batch: jax.Array, key: jax.Array) -> tuple:
    """A gradient, the batch's own results, a statistic of the whole batch, and random numbers."""

    def loss(weights: jax.Array) -> jax.Array:
        return jnp.mean(jnp.square(jnp.tanh(batch @ weights)))

    noise = jax.random.normal(own(key), batch.shape[:1])
    percentile = jnp.percentile(joined(batch[None], 1), 70.0)
    return averaged(jax.grad(loss)(weights)), batch @ weights, percentile, noise


def main() -> None:
    """What comes back in parts is what comes from the whole batch, on all devices, but for random numbers."""
    rng = np.random.default_rng(0)
    weights, batch = (rng.normal(size=(2, *shape)).astype(np.float32) for shape in ((3,), (8, 3)))
    seeds = weights, batch, jax.random.split(jax.random.key(1))
    first = tuple(leaf[0] for leaf in seeds)

    def either(*arguments: jax.Array) -> tuple:
        return in_parts(gradient, (None, 0, None), (None, 0, None, 0))(*arguments)

    layout, one = Layout(1, data=4), Layout(1)
    assert layout.divides and layout.spread_over == one.spread_over == 1
    for function, arguments, draws in ((either, first, 8), (jax.vmap(either), seeds, 16)):
        divided, whole = (there.compiled(function)(*arguments) for there in (layout, one))
        for ours, theirs in zip(divided[:3], whole[:3], strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5)
        assert all(leaf.is_fully_replicated and len(leaf.devices()) == 4 for leaf in divided)
        assert len(np.unique(np.asarray(divided[3]))) == draws  # every part draws its own
    text = layout.compiled(either).lower(*first).compile().as_text()
    assert "f32[2,3]" in text, "a device computes with a quarter of the batch"


if __name__ == "__main__":
    main()
