"""Writes a report into a folder.

DIR/index.html       the whole report with its figures; only videos are linked
DIR/report.md        the same text and tables as Markdown
DIR/tables/*.csv     every table
DIR/figures/*        every figure as PNG and PDF
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from sobolev.errors import UserError
from sobolev.plotting.output_files import create_folder
from sobolev.reports.page.content import Report
from sobolev.reports.page.render import MARK, html, markdown
from sobolev.system.atomic_files import write_bytes, write_text

LIST = ".sobolev-report"
"""The file in a report's folder that lists its figures and tables. Only these are ever deleted. It is written first, so
that the folder of a report without a page, whose writing was interrupted, is recognised."""


def check_output(output: Path) -> None:
    """Raises UserError for a folder that holds files other than a report."""
    page = output / "index.html"
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if page.is_file():
        ours = f'content="{MARK}"' in page.read_text(encoding="utf-8", errors="replace")[:2000]
    else:
        ours = (output / LIST).is_file()
    if not ours:
        raise UserError(f"{output} holds other things than a report: choose another --output")


def write(content: Report, output: Path) -> list[Path]:
    """Writes a report, with the page last, and deletes the figures and tables of an earlier report that it does not
    have."""
    create_folder(output, "--output")
    files, listed = _files(content), output / LIST
    earlier = listed.read_text(encoding="utf-8").splitlines() if listed.is_file() else []
    _write_list(listed, dict.fromkeys([*earlier, *files]))
    for folder in (output / "figures", output / "tables"):
        create_folder(folder, "--output")
    for name, make in files.items():
        made = make()
        if isinstance(made, str):
            write_text(output / name, made)
        else:
            write_bytes(output / name, made)
    for name in sorted(set(earlier) - set(files)):
        if re.fullmatch(r"(figures|tables)/[^/]+\.(png|pdf|csv)", name):
            (output / name).unlink(missing_ok=True)
    _write_list(listed, files)
    write_text(output / "report.md", markdown(content))
    write_text(output / "index.html", html(content))
    return [output / "index.html", output / "report.md", *(output / name for name in files)]


def _files(content: Report) -> dict[str, Callable[[], str | bytes]]:
    """Returns the names of the tables and figures in the folder, each with the function that makes its content."""
    files: dict[str, Callable[[], str | bytes]] = {}
    for section in content.sections:
        for table in section.tables:
            files[f"tables/{table.name}.csv"] = table.csv
        for illustration in section.illustrations:
            files[f"figures/{illustration.name}.png"] = illustration.picture.png
            files[f"figures/{illustration.name}.pdf"] = illustration.picture.pdf
    return files


def _write_list(listed: Path, names: Iterable[str]) -> None:
    write_text(listed, "\n".join(names) + "\n")
