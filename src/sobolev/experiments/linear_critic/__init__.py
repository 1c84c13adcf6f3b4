"""Trains critics on a linear system, for which the distribution of the return is known."""
