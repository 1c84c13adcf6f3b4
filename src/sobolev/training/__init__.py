"""Training a run from its config to its end: the loop, what it compiles, when what is due, evaluation, and resuming."""
