"""Critics trained on a linear system, where the distribution of the return is known."""
