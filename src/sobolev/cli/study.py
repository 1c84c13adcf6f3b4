"""`sobolev study NAME …`: runs an experiment, writes its numbers and figures, and prints a summary."""

import shlex
from collections.abc import Sequence
from functools import partial

from sobolev.cli.parser import parse
from sobolev.errors import UserError
from sobolev.experiments import registry
from sobolev.system import jax_setup


def main(arguments: Sequence[str]) -> int:
    """Runs the experiment that the first argument names. Returns the exit status."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0
    if arguments[0].startswith("-"):
        raise UserError(f"a study is missing before {arguments[0]}, as in sobolev study tabular")
    return run(arguments[0], arguments[1:], f"sobolev study {arguments[0]}")


def run(name: str, arguments: Sequence[str], prog: str) -> int:
    """Runs a registered experiment, or one at `module:OBJECT`, with the settings of the flags.

    `prog` is the command without its flags, for messages.
    """
    experiment = registry.find(name)
    settings = parse(
        experiment.settings, arguments, prog=prog, description=experiment.about, positional=experiment.positional
    )
    from sobolev.experiments.conduct import conduct  # loads jax, which --help does not need

    command = shlex.join([*prog.split(), *arguments])
    jax_setup.check_devices()
    with jax_setup.in_32_bits():
        print("\n".join(conduct(experiment, settings, command, partial(print, flush=True))))
    return 0


def usage() -> str:
    """Returns the help, which lists the experiments."""
    listed = registry.listed()
    width = max(map(len, listed))
    return "\n".join(
        [
            "usage: sobolev study NAME …",
            "",
            *(f"  {name:<{width}}  {about}" for name, about in listed.items()),
            "",
            "sobolev study NAME --help lists the flags of an experiment.",
            "One of your own: sobolev study my_package.my_study:EXPERIMENT",
        ]
    )
