"""What programs are traced for: a processor, or an accelerator, on which the same computation is quick in another form.

A CPU's time goes into arithmetic and memory; an accelerator's, at the sizes of these models, into the beginning of each
of thousands of kernels. Where one form of a computation serves the one and another the other, the code asks here.
"""

import contextlib
import importlib.util
import os
from collections.abc import Iterator
from typing import Literal

from sobolev.errors import UserError

Target = Literal["cpu", "accelerator", "fused"]
"""The forms: for a processor; for an accelerator; for an accelerator of NVIDIA's, with kernels written for it."""

FUSED_STEP = "SOBOLEV_FUSED_STEP"
"""The environment variable that asks for the third form, with 1. Off, 0, until a GPU has shown what it gains."""

_chosen: Target | None = None


def for_accelerator() -> bool:
    """Whether programs that are traced now are for an accelerator: where JAX computes, unless `traced_for` says it."""
    if _chosen is not None:
        return _chosen != "cpu"
    import jax

    return jax.default_backend() != "cpu"


def fused_step() -> bool:
    """Whether the recurrence's steps are traced as kernels of our own, see `nn/fused_step.py`; off unless asked for."""
    return os.environ.get(FUSED_STEP, "0") == "1" if _chosen is None else _chosen == "fused"


def check_fused_step() -> None:
    """Raise UserError where the environment asks for the fused step with a word that is none, or on another device."""
    asked = os.environ.get(FUSED_STEP, "0")
    if asked not in ("0", "1"):
        raise UserError(f"{FUSED_STEP} is {asked}: give 1 for the fused step, or 0")
    if asked == "0":
        return
    import jax

    kind = jax.devices()[0].device_kind
    if "nvidia" not in kind.lower():
        raise UserError(f"{FUSED_STEP}=1 is for GPUs of NVIDIA, and jax computes on {kind} here: unset it")
    if importlib.util.find_spec("jax.experimental.pallas.triton") is None:
        raise UserError(f"{FUSED_STEP}=1 needs Pallas' Triton backend, which jax {jax.__version__} has not: unset it")


@contextlib.contextmanager
def traced_for(target: Target) -> Iterator[None]:
    """Within the block, in all threads, functions are traced in that target's form.

    All forms run everywhere, the third one slowly but on a GPU of NVIDIA's. JAX keeps what it has traced:
    `jax.clear_caches()` makes it trace a function again.
    """
    global _chosen
    before, _chosen = _chosen, target
    try:
        yield
    finally:
        _chosen = before
