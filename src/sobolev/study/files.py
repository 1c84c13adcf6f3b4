"""What a study leaves: a folder of figures and numbers."""

from pathlib import Path
from typing import TYPE_CHECKING

from sobolev.errors import UserError
from sobolev.training.storage import room_errors

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def made(folder: Path, flag: str = "--out") -> Path:
    """The folder, made where it is missing. Raises UserError, naming the flag that chose it, where it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the folder {folder} cannot be made: {error.strerror}; choose another {flag}") from error
    return folder


def save(figure: "Figure", path: Path) -> list[Path]:
    """Writes PATH.png and PATH.pdf, beside their targets first; no date inside: the same figure is the same file."""
    paths = []
    for kind, metadata in (("png", {}), ("pdf", {"CreationDate": None})):
        target = path.with_name(f"{path.name}.{kind}")
        beside = target.with_name(target.name + ".tmp")
        figure.savefig(beside, format=kind, metadata=metadata)
        paths.append(beside.replace(target))
    return paths


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file beside its target and renames it into place. Raises NotSaved where it cannot be written."""
    beside = path.with_name(path.name + ".tmp")
    with room_errors(path.parent, len(content), path.name):
        beside.write_bytes(content)
        beside.replace(path)
