"""The options with which XLA's compiler for CPUs is quick. JAX is not imported here: it reads them when it begins."""

from importlib import metadata

QUICK: dict[str, str | int | bool] = {
    "xla_cpu_opt_preset": "CPU_OPT_PRESET_FAST_COMPILE",
    "xla_cpu_parallel_codegen_split_count": 1,
}
OPTIMISED: dict[str, str | int | bool] = {
    "xla_backend_optimization_level": 3,
    "xla_llvm_disable_expensive_passes": False,
    "xla_cpu_opt_preset": "CPU_OPT_PRESET_DEFAULT",
    "xla_cpu_parallel_codegen_split_count": 32,
}
"""`compiler_options` of `jax.jit` with which a function is compiled as users' are, also inside of `tiny.quickly`."""

# Later versions have no such option, and XLA ends a process that names one it does not have.
if tuple(map(int, metadata.version("jaxlib").split(".")[:2])) < (0, 11):
    QUICK["xla_cpu_use_fusion_emitters"] = False
    OPTIMISED["xla_cpu_use_fusion_emitters"] = True


def as_flags(options: dict[str, str | int | bool]) -> str:
    """The options as XLA_FLAGS has them."""
    said = {name: str(value).lower() if isinstance(value, bool) else value for name, value in options.items()}
    return " ".join(f"--{name}={value}" for name, value in said.items())
