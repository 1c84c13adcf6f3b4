"""The commands of `sobolev`, a module each, with a function `main(arguments)` that returns the exit status."""

COMMANDS: dict[str, str] = {
    "train": "train an agent, or resume a run that stopped",
    "evaluate": "evaluate a run's agent, as a table, JSON and video",
    "sweep": "all runs of a study: tasks, methods and seeds, here or on a cluster",
    "status": "the state and progress of the runs of a sweep",
    "study": "run an experiment: its numbers, figures and a summary",
    "sensitivity": "measure how sensitive the latent distributions of trained agents are to their inputs",
    "report": "tables, figures and one page from run folders, over tasks, methods and seeds",
    "doctor": "check this machine: jax, physics, rendering, memory, disk",
}
"""The commands and their descriptions, in the order of `sobolev --help`."""
