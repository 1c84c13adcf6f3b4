"""All tests run under strict dtype promotion, without rank promotion, and with every annotated shape checked."""

import atexit
import os
import shutil
import tempfile

# Commands keep what they compile; tests, and the processes that they start, keep it in a folder of this session.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="sobolev-cache-")
os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import hypothesis
import jax
from jaxtyping import install_import_hook

atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Never uninstalled: tests import sobolev's modules at any time.
install_import_hook("sobolev", "beartype.beartype")

# Time limits per example fail on slow machines, not on wrong code.
hypothesis.settings.register_profile("sobolev", deadline=None, print_blob=True)
hypothesis.settings.load_profile("sobolev")
