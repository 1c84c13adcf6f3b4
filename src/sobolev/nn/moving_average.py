"""Networks that follow others slowly, as the targets of critics do."""

from typing import TypeVar

import jax

Tree = TypeVar("Tree")


def follow(slow: Tree, fast: Tree, rate: float) -> Tree:
    """`slow` + `rate` · (`fast` − `slow`) for every array of two equal trees; `rate` is in [0, 1]."""
    # optax.incremental_update computes (1 − rate) · slow + rate · fast, which rounds differently (two equal arrays need
    # not stay equal). Dreamer's slow critic takes that form, as DreamerV3's own code does; other agents take this one.
    return jax.tree.map(lambda old, new: old + rate * (new - old), slow, fast)
