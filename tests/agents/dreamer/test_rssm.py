"""The recurrence along recorded actions, with nothing observed."""

import jax
import jax.numpy as jnp
import numpy as np

from tests import tiny


def test_predictions_are_the_recurrence_step_by_step():
    """Latents are drawn from the prior; a first step, here the third of the second stream, forgets all before it."""
    with tiny.quickly():
        rssm = jax.jit(tiny.agent().init)(jax.random.key(0)).model.world.rssm
        keys = jax.random.split(jax.random.key(1), 3)
        deter, actions = jnp.tanh(jax.random.normal(keys[0], (3, 32))), jax.random.normal(keys[1], (4, 3, 1))
        stoch = jnp.tile(jnp.eye(4)[0], (3, 4))
        first = jnp.zeros((4, 3), bool).at[2, 1].set(True)
        deters, stochs = jax.jit(type(rssm).predict)(rssm, deter, stoch, actions, first, keys[2])
    uniform = jax.random.uniform(keys[2], (4, 3, 4))
    cell = rssm.cell()
    for stream in range(3):
        blocks, z = rssm.to_blocks(deter)[:, stream], stoch[stream]
        for step in range(4):
            keep = 0.0 if (step, stream) == (2, 1) else 1.0
            blocks = cell(keep * blocks, keep * z, rssm.embed_action(keep * actions[step, stream]))
            h = blocks.reshape(-1)
            below = jnp.cumsum(rssm.prior(h), -1)[:, :-1] <= uniform[step, stream][:, None]
            z = jax.nn.one_hot(below.sum(-1), 4).reshape(-1)
            np.testing.assert_allclose(deters[step, stream], h, rtol=1e-4, atol=1e-5)
            np.testing.assert_array_equal(stochs[step, stream], z)
