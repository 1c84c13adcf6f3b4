"""The public DreamerV3 code's update as a function and its arguments' shapes, to be compiled and never run.

It is traced under the jax of this environment, which is newer than the one that the code asks for; where that jax has
taken something away that the code calls, it is given back while the code runs.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from reference_driver import build

from sobolev.errors import UserError

PACKAGES = ("chex", "cloudpickle", "einops", "elements", "ninjax", "portal", "ruamel.yaml")
"""What the code imports, and an environment of `make gpu-plan` has not."""

POSITIONS = ("in_shardings", "out_shardings", "static_argnums", "static_argnames", "donate_argnums")
"""Of `jax.jit`, which newer versions take by name alone."""


def reference_update(
    checkout: Path, size: str, batch: tuple[int, int], horizon: int, place: Any
) -> tuple[Any, tuple[Any, ...]]:
    """The update of that checkout of danijar/dreamerv3 in bfloat16, jitted, and the shapes of its arguments, as
    of arrays with the sharding `place`.

    Raises UserError where there is no such checkout, or no package that it imports.
    """
    if not (checkout / "dreamerv3" / "configs.yaml").is_file():
        raise UserError(
            f"--reference {checkout} is no checkout of danijar/dreamerv3: git clone it, and give that folder"
        )
    sys.path.insert(0, str(checkout.resolve()))
    chosen = argparse.Namespace(checkout=checkout, size=size, batch=batch, horizon=horizon, penalty=None)
    with _as_it_was():
        try:
            agent: Any = build(chosen, "bfloat16")
            import ninjax  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise UserError(f"the reference needs {error.name}: pip install {' '.join(PACKAGES)}") from error
    train = ninjax.pure(agent.model.train)

    def update(params: Any, seed: Any, carry: Any, data: Any) -> Any:
        after, results = train(params, carry, data, seed=seed)
        return after, *results

    def shape(leaf: Any, *lead: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((*lead, *leaf.shape), leaf.dtype, sharding=place)

    params, seed = jax.tree.map(shape, agent.params), shape(jax.ShapeDtypeStruct((2,), jnp.uint32))
    lead = batch[0], batch[1] + agent.config.replay_context
    data = {name: shape(space, *lead) for name, space in agent.spaces.items()}
    begun = ninjax.pure(agent.model.init_train)
    carry = jax.eval_shape(lambda params, seed: begun(params, batch[0], seed=seed)[1], params, seed)
    return jax.jit(update, donate_argnums=0), (params, seed, jax.tree.map(shape, carry), data)


@contextlib.contextmanager
def _as_it_was() -> Iterator[None]:
    """jax and the environment, while the code sets itself up: it chooses flags of XLA that need a GPU to be there."""
    flags, jit = os.environ.get("XLA_FLAGS"), jax.jit

    def positional(function: Any = None, *arguments: Any, **options: Any) -> Any:
        named = dict(zip(POSITIONS, arguments, strict=False)) | options
        return jit(function, **{name: value for name, value in named.items() if value is not None})

    jax.jit = positional
    try:
        yield
    finally:
        jax.jit = jit
        os.environ.pop("XLA_FLAGS", None)
        if flags is not None:
            os.environ["XLA_FLAGS"] = flags
        jax.config.update("jax_transfer_guard", "allow")
