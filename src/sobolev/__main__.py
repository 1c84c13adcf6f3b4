"""The command line: `sobolev COMMAND …`, or `python -m sobolev COMMAND …`."""

import os
import signal
import sys

if __name__ == "__main__" or os.path.basename(sys.argv[0]) == "sobolev":
    # Python would answer Ctrl-C with a traceback out of an import; `main` listens to signals in earnest.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import importlib  # noqa: E402
from collections.abc import Sequence  # noqa: E402

from sobolev.cli import COMMANDS  # noqa: E402
from sobolev.errors import UserError, nearest  # noqa: E402
from sobolev.system import signals  # noqa: E402


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
    signals.hold_back()  # this program may begin anew
    from sobolev.system.jax_setup import use_large_buffers

    use_large_buffers()
    signals.listen()
    try:
        status = run(sys.argv[1:])
        sys.stdout.flush()
    except UserError as error:
        print(f"sobolev: {error}", file=sys.stderr)
        status = 2
    except signals.Interrupted as interruption:
        status = 128 + interruption.number
    except BrokenPipeError:
        sys.stderr.close()
        status = 141
    leave(status)


def leave(status: int) -> None:
    """End this process; after a signal without waiting for programs that are still being compiled."""
    distributed = "jax" in sys.modules and sys.modules["jax"].distributed.is_initialized()  # then jax says goodbye
    if signals.received() is not None and status > 128 and not distributed:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


if __name__ == "__main__":
    main()
