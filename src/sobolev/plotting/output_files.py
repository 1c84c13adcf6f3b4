"""Creates folders for results, and writes figures to files."""

import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from sobolev.errors import UserError
from sobolev.system.atomic_files import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def create_folder(folder: Path, flag: str = "--out") -> Path:
    """Creates a folder, unless it exists, and returns it.

    Raises UserError, naming the flag that chose the folder, if it cannot be created or written, before any work is
    lost.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the folder {folder} cannot be created: {error.strerror}; choose another {flag}") from error
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(f"the folder {folder} cannot be written: {error.strerror}; choose another {flag}") from error
    return folder


def save(figure: "Figure", path: Path) -> list[Path]:
    """Writes a figure as PATH.png and PATH.pdf. Returns both paths."""
    targets = [path.with_name(f"{path.name}.{kind}") for kind in ("png", "pdf")]
    for target, content in zip(targets, (png(figure), pdf(figure)), strict=True):
        write_bytes(target, content)
    return targets


def png(figure: "Figure") -> bytes:
    """Returns a figure as the bytes of a PNG file."""
    target = io.BytesIO()
    figure.savefig(target, format="png")
    return target.getvalue()


def pdf(figure: "Figure") -> bytes:
    """Returns a figure as the bytes of a PDF file, without a date, so that equal figures give equal files."""
    target = io.BytesIO()
    figure.savefig(target, format="pdf", metadata={"CreationDate": None})
    return target.getvalue()
