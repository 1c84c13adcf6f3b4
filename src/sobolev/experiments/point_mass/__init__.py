"""Compares methods with a deterministic policy on a toy whose returns have many modes."""
