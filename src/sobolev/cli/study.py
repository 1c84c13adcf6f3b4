"""`sobolev study NAME …`: an experiment by one command, with its numbers, its figures and what they say."""

import shlex
from collections.abc import Sequence
from functools import partial

from sobolev.cli.parser import parse
from sobolev.errors import UserError
from sobolev.experiments import registry
from sobolev.system import jax_setup


def main(arguments: Sequence[str]) -> int:
    """Run the experiment that the first argument names; returns the exit status."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0
    if arguments[0].startswith("-"):
        raise UserError(f"a study is missing before {arguments[0]}, as in sobolev study tabular")
    return run(arguments[0], arguments[1:], f"sobolev study {arguments[0]}")


def run(name: str, arguments: Sequence[str], prog: str) -> int:
    """Run a registered experiment, or one at `module:OBJECT`, with the settings that the flags say.

    `prog` is the command without its flags.
    """
    experiment = registry.find(name)
    settings = parse(
        experiment.settings, arguments, prog=prog, description=experiment.about, positional=experiment.positional
    )
    from sobolev.experiments.conduct import conduct  # loads jax, which --help can do without

    command = shlex.join([*prog.split(), *arguments])
    jax_setup.check_devices()
    with jax_setup.in_32_bits():
        print("\n".join(conduct(experiment, settings, command, partial(print, flush=True))))
    return 0


def usage() -> str:
    """The list of experiments."""
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
