"""A user's mistake, in one sentence that says what is wrong and what to do."""

from collections.abc import Iterable


class UserError(Exception):
    """A mistake of the user or of the machine that needs no traceback; the command line prints it and exits with 2."""


def spelled(path: str) -> str:
    """The flag of the setting at a path: --batch-size for batch_size."""
    return "--" + path.replace("_", "-")


def suggestion(name: str, options: Iterable[str]) -> str | None:
    """The option nearest to a misspelled name, or None where nothing is near."""
    import difflib  # which a command that begins need not wait for

    folded = {option.lower(): option for option in options}
    found = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.5)
    return folded[found[0]] if found else None


def nearest(kind: str, name: str, options: Iterable[str]) -> UserError:
    """The error for an unknown name: "unknown task 'walker-wlak': did you mean walker-walk?".

    Where no option is near, a list of them is given instead (`listed`).
    """
    options = list(options)
    if not options:
        return UserError(f"unknown {kind} '{name}': there is none")
    near = suggestion(name, options)
    if near is not None:
        return UserError(f"unknown {kind} '{name}': did you mean {near}?")
    return UserError(f"unknown {kind} '{name}': choose from {listed(options)}")


def listed(options: Iterable[str]) -> str:
    """Names for a message, cut after twelve: "a, b, …"."""
    options = list(options)
    return ", ".join(options[:12]) + (", …" if len(options) > 12 else "")
