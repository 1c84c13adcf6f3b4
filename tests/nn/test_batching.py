"""Functions that a CPU computes for one seed after the other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.nn.batching import in_turn
from sobolev.system.target import Target, traced_for


def _scaled(tree: dict[str, jax.Array], factor: jax.Array | float) -> tuple[jax.Array, dict[str, jax.Array]]:
    product = jnp.tanh(tree["kernel"] @ tree["vector"]) * factor
    return product.sum(), {"product": product}


@pytest.mark.parametrize(("target", "loops"), [("cpu", True), ("accelerator", False)])
def test_seeds_in_turn_give_what_vmap_gives(target: Target, loops: bool) -> None:
    """On a CPU a loop over the seeds, elsewhere none; an argument that all seeds share is not mapped."""
    keys = jax.random.split(jax.random.key(0), 2)
    tree = {"kernel": jax.random.normal(keys[0], (5, 3, 4)), "vector": jax.random.normal(keys[1], (5, 4))}
    with traced_for(target):
        mapped = jax.jit(jax.vmap(in_turn(_scaled), (0, None)))
        assert ("scan[" in str(mapped.trace(tree, 2.0).jaxpr)) == loops
        found = mapped(tree, 2.0)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), found, jax.vmap(_scaled, (0, None))(tree, 2.0)
    )


def test_one_seed_has_no_loop() -> None:
    """Where nothing is mapped, the function is computed as it is."""
    tree = {"kernel": jnp.ones((3, 4)), "vector": jnp.ones(4)}
    with traced_for("cpu"):
        assert "scan[" not in str(jax.make_jaxpr(in_turn(_scaled))(tree, 2.0))
        np.testing.assert_array_equal(in_turn(_scaled)(tree, 2.0)[0], _scaled(tree, 2.0)[0])
