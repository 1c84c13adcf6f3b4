"""The machine: how JAX and glibc are set up, and memory. Knows nothing of runs."""
