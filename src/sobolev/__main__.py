"""The command line: `sobolev COMMAND …`, or `python -m sobolev COMMAND …`."""

import importlib
import sys
from collections.abc import Sequence

from sobolev.cli import COMMANDS
from sobolev.errors import UserError, nearest
from sobolev.system.jax_setup import use_large_buffers


def usage() -> str:
    """The list of commands."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {what}" for name, what in COMMANDS.items()]
    return "\n".join(
        [
            "usage: sobolev COMMAND …",
            "",
            *lines,
            "",
            "sobolev COMMAND --help tells the flags of a command; sobolev --version the version.",
            "To begin: sobolev doctor, then sobolev train cartpole-swingup --preset laptop",
        ]
    )


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns its exit status. Raises UserError for a command that does not exist."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if arguments[0] in ("-V", "--version"):
        from sobolev._version import __version__

        print(f"sobolev {__version__}")
        return 0
    if arguments[0] not in COMMANDS:
        raise nearest("command", arguments[0], COMMANDS)
    return importlib.import_module(f"sobolev.cli.{arguments[0]}").main(list(arguments[1:]))


def main() -> None:
    """Entry point: a user's mistake is one sentence on stderr and exit status 2."""
    use_large_buffers()
    try:
        status = run(sys.argv[1:])
        sys.stdout.flush()
    except UserError as error:
        print(f"sobolev: {error}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:
        sys.stderr.close()
        status = 141
    sys.exit(status)


if __name__ == "__main__":
    main()
