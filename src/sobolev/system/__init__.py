"""The machine: how JAX and glibc are set up, signals, terminals, memory, files that are whole or absent. Knows no other
room."""
