"""The command line: `sobolev COMMAND …`, or `python -m sobolev COMMAND …`."""

import os
import signal
import sys

if __name__ == "__main__" or os.path.basename(sys.argv[0]) == "sobolev":
    # Python would answer Ctrl-C with a traceback out of an import; `main` listens to signals in earnest.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import errno  # noqa: E402
import importlib  # noqa: E402
from collections.abc import Sequence  # noqa: E402

from sobolev.cli import COMMANDS  # noqa: E402
from sobolev.errors import UserError, nearest  # noqa: E402
from sobolev.system import output, signals  # noqa: E402


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
    signals.hold_back()  # this program may restart
    output.prepare()
    find_modules_here()
    from sobolev.system.jax_setup import use_large_buffers  # only now: it imports what a user's file might hide

    if sys.argv[1:2] in (["train"], ["evaluate"]):
        use_large_buffers()
    signals.listen()
    try:
        try:
            status = run(sys.argv[1:])
        except SystemExit as end:  # of tyro, after its help
            status = end.code
        sys.stdout.flush()
    except UserError as error:
        output.warn(str(error))
        status = 2
    except signals.Interrupted as interruption:
        status = 128 + interruption.number
    except KeyboardInterrupt:
        status = 130
    except OSError as error:
        status = _failed(error)
    leave(status)


def leave(status: int | str | None) -> None:
    """End this process; after a signal without waiting for programs that are still being compiled."""
    distributed = "jax" in sys.modules and sys.modules["jax"].distributed.is_initialized()  # then jax says goodbye
    if signals.received() is not None and isinstance(status, int) and status > 128 and not distributed:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


MACHINE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
MACHINE += (
    errno.ENOENT,
    errno.ESTALE,
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.EMFILE,
    errno.ENFILE,
)
"""What a system says of a disk or a folder that does not let a file be written or read: no fault of the code."""


def _failed(error: OSError) -> int:
    """The exit status after an error of the system, reported in a sentence; any other is raised again."""
    if isinstance(error, output.OutputError):
        if output.reader_gone(error):
            return 141  # as of a program that SIGPIPE ends
        output.warn(f"standard output cannot be written: {error.strerror}")
        return 1
    if error.errno not in MACHINE:
        raise error
    where = os.fspath(error.filename) if isinstance(error.filename, (str, os.PathLike)) else "a file"
    output.warn(f"{where} cannot be written or read: {error.strerror}; free it, or choose another folder")
    return 2


def find_modules_here() -> None:
    """Let modules in the working folder be found, after all that is installed.

    So `gym:my_module:MyTask-v0` works with `sobolev` as with `python -m sobolev`, and a file there that is called
    random.py or jax.py hides nothing. Left alone where Python is set not to look there (-P, PYTHONSAFEPATH).
    """
    if sys.flags.safe_path:
        return
    try:
        here = os.getcwd()
    except OSError:  # a folder that has been deleted
        return
    if sys.path[:1] in ([""], [here]):  # where `python -m` puts it
        del sys.path[0]
    if here not in sys.path:
        sys.path.append(here)


if __name__ == "__main__":
    main()
