"""The command line: `sobolev COMMAND …`, or `python -m sobolev COMMAND …`."""

import errno
import importlib
import os
import sys
from collections.abc import Sequence

from sobolev import output
from sobolev.commands import COMMANDS
from sobolev.errors import UserError, nearest


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
        from sobolev import __version__

        print(f"sobolev {__version__}")
        return 0
    if arguments[0] not in COMMANDS:
        raise nearest("command", arguments[0], COMMANDS)
    return importlib.import_module(f"sobolev.commands.{arguments[0]}").main(list(arguments[1:]))


def main() -> None:
    """Entry point: a user's mistake is one sentence on stderr and exit status 2."""
    output.prepare()
    find_modules_here()
    from sobolev.training.jaxconfig import use_large_buffers  # only now: it imports what a user's file might hide

    use_large_buffers()
    try:
        try:
            status = run(sys.argv[1:])
        except SystemExit as end:  # of tyro, after its help
            status = end.code
        sys.stdout.flush()
    except UserError as error:
        output.warn(str(error))
        status = 2
    except KeyboardInterrupt:
        status = 130
    except OSError as error:
        status = _failed(error)
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
    """The exit status after an error of the system, told in a sentence; one that is no such thing is raised again."""
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
    random.py or jax.py hides nothing. Left alone where Python was told not to look there (-P, PYTHONSAFEPATH).
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
