"""All tests run under strict dtype promotion, without rank promotion, and with every annotated shape checked."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import hypothesis
import jax
from jaxtyping import install_import_hook

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Never uninstalled: tests import sobolev's modules at any time.
install_import_hook("sobolev", "beartype.beartype")

# Time limits per example fail on slow machines, not on wrong code.
hypothesis.settings.register_profile("sobolev", deadline=None, print_blob=True)
hypothesis.settings.load_profile("sobolev")
