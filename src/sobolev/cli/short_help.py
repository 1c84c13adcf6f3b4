"""The short help of commands with many flags: the everyday ones, on one screen. `--help-all` shows all of them."""

import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from sobolev.cli.described import Flag, shown

ALL = "--help-all"
"""The flag that shows all flags; the same as --help for a command that has few."""
WIDEST = 100
"""Width of the help, in columns, on a terminal that is wider."""


def asked(arguments: Sequence[str]) -> bool:
    """Returns whether a command line asks for the short or the full help."""
    return bool({"-h", "--help", ALL} & set(arguments))


def table(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Returns the lines of a table of two columns, the second one wrapped at the terminal's width."""
    rows = list(rows)
    width = min(max((len(name) for name, _ in rows), default=0), 30)
    columns = max(60, min(WIDEST, shutil.get_terminal_size().columns))
    lines: list[str] = []
    for name, text in rows:
        wrapped = textwrap.wrap(text, columns - width - 4, break_on_hyphens=False) or [""]
        lines.append(f"  {name:<{width}}  {wrapped[0]}")
        lines += [" " * (width + 4) + more for more in wrapped[1:]]
    return lines


def everyday(flags: Sequence[Flag], texts: Mapping[str, tuple[str, str]]) -> list[str]:
    """Returns the lines of the flags in `texts`, in its order, with their defaults.

    `texts` maps the path of a setting to a placeholder for its value and a description. Flags that the config does not
    have are left out.
    """
    known = {flag.path: flag for flag in flags}
    rows = []
    for path, (value, text) in texts.items():
        if path in known:
            flag = known[path]
            default = f" [{shown(flag.default)}]" if flag.default not in (None, (), False) else ""
            rows.append((f"{flag.name} {value}".strip(), text + default))
    return table(rows)


def in_full(flags: Iterable[Flag]) -> list[str]:
    """Returns the lines of flags with the docstrings of their settings."""
    return table((flag.name, f"{flag.about or flag.values} [{shown(flag.default)}]") for flag in flags)
