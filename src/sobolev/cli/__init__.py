"""The commands of `sobolev`, one file each; a command's module has `main(arguments) -> exit status`."""

COMMANDS: dict[str, str] = {
    "train": "train an agent, or resume a run that stopped",
    "evaluate": "evaluate a run's agent, as a table, JSON and video",
    "sweep": "all runs of a study: tasks, methods and seeds, here or on a cluster",
    "status": "how the runs of a sweep are",
    "study": "an experiment by one command: figure, numbers and what they say",
    "sensitivity": "how far the latent tables of runs' agents move when their inputs do",
    "report": "tables, figures and one page from run folders, over tasks, methods and seeds",
    "doctor": "check this machine: jax, physics, rendering, memory, disk",
}
"""Every command with what it does, in the order in which `sobolev --help` lists them."""
