"""The machine: set-up of JAX and glibc, signals, terminals, memory, atomic files. Depends on `sobolev.errors` only."""
