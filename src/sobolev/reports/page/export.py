"""Writes a report into a folder.

DIR/index.html       the whole report with its figures; only videos are linked
DIR/report.md        the same text and tables as Markdown
DIR/tables/*.csv     every table
DIR/figures/*        every figure as PNG and PDF
"""

import re
from pathlib import Path

from sobolev.errors import UserError
from sobolev.plotting.output_files import create_folder
from sobolev.reports.page.content import Report
from sobolev.reports.page.render import MARK, html, markdown
from sobolev.system.atomic_files import write_bytes, write_text

LIST = ".sobolev-report"
"""The file in a report's folder that lists its figures and tables. Only these are ever deleted."""


def check_output(output: Path) -> None:
    """Raises UserError for a folder that holds files other than a report."""
    page = output / "index.html"
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not page.is_file() or f'content="{MARK}"' not in page.read_text(encoding="utf-8", errors="replace")[:2000]:
        raise UserError(f"{output} holds other things than a report: choose another --output")


def write(content: Report, output: Path) -> list[Path]:
    """Writes a report, with the page last, and deletes the figures and tables of an earlier report that it does not
    have."""
    for folder in (output, output / "figures", output / "tables"):
        create_folder(folder, "--output")
    files: list[Path] = []
    for section in content.sections:
        for table in section.tables:
            files.append(output / "tables" / f"{table.name}.csv")
            write_text(files[-1], table.csv())
        for illustration in section.illustrations:
            for kind, file in (("png", illustration.picture.png()), ("pdf", illustration.picture.pdf())):
                files.append(output / "figures" / f"{illustration.name}.{kind}")
                write_bytes(files[-1], file)
    _remove_others(output, [str(file.relative_to(output)) for file in files])
    write_text(output / "report.md", markdown(content))
    write_text(output / "index.html", html(content))
    return [output / "index.html", output / "report.md", *files]


def _remove_others(output: Path, names: list[str]) -> None:
    """Deletes the files in the list of an earlier report that are not among these names, and writes the new list."""
    listed = output / LIST
    earlier = listed.read_text(encoding="utf-8").splitlines() if listed.is_file() else []
    for name in sorted(set(earlier) - set(names)):
        if re.fullmatch(r"(figures|tables)/[^/]+\.(png|pdf|csv)", name):
            (output / name).unlink(missing_ok=True)
    write_text(listed, "\n".join(names) + "\n")
