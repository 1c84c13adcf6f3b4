"""Model-based reinforcement learning that knows derivatives.

`train` starts or resumes a run, `load_policy` gives the policy of one, `jacobian_penalty` is the gradient penalty for
any model. They are imported when first used, so that the processes that only step environments never load jax.
"""

import importlib

from sobolev._version import __version__
from sobolev.errors import UserError

TYPE_CHECKING = False  # as in typing, whose import a command that begins need not wait for
if TYPE_CHECKING:
    from sobolev.smoothness.penalty import jacobian_penalty
    from sobolev.training.evaluation import load_policy
    from sobolev.training.start import train

__all__ = ["UserError", "__version__", "jacobian_penalty", "load_policy", "train"]

_HOMES = {
    "train": "sobolev.training.start",
    "load_policy": "sobolev.training.evaluation",
    "jacobian_penalty": "sobolev.smoothness.penalty",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'sobolev' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
