"""Weights & Biases as a view of a run's metrics.

    RUN/wandb.json    the run there: {"id", "project", "folder", "added"}; wandb's own files lie beside it, in RUN/wandb

The id is drawn at random when a run first logs to a project, and stays with the folder. A folder that was moved keeps
it; a copy, whose original still has it, gets one of its own: two runs never share one.
"""

import importlib
import io
import json
import re
import secrets
from pathlib import Path
from typing import Any

from sobolev.errors import UserError
from sobolev.logs.rows import Picture, Row
from sobolev.system import output
from sobolev.system.atomic_files import write_json

FILE = "wandb.json"
REFUSED = re.compile(r"[^\w.=+ ()-]+")
"""What names may not hold: wandb refuses /\\#?%: and more, and its pages have no use for newlines."""
LONGEST = 128
"""Characters of a name, as wandb limits them."""


def module() -> Any:
    """The package wandb. Raises UserError where it is not installed, or cannot be imported."""
    try:
        wandb = importlib.import_module("wandb")
    except ModuleNotFoundError as error:
        if error.name == "wandb":
            raise _not_installed() from None
        raise _broken(error) from error
    except Exception as error:  # of itself, or of anything that it imports
        raise _broken(error) from error
    if not hasattr(wandb, "init"):  # a folder of that name, as wandb itself makes where it runs
        raise _not_installed()
    return wandb


def _not_installed() -> UserError:
    return UserError("--log.wandb needs a package that is not installed: pip install 'sobolev[wandb]'")


def _broken(error: Exception) -> UserError:
    return UserError(
        f"--log.wandb: wandb is installed but cannot be imported ({output.reason(error)}): mend that, as with "
        "pip install --upgrade wandb, or leave out --log.wandb"
    )


def check_project(name: str) -> None:
    """Raise UserError for the name of a project that Weights & Biases refuses."""
    if not name.strip() or len(name) > LONGEST or re.search(r"[/\\#?%:]", name):
        raise UserError(f"--log.wandb '{name}' is no project's name: take up to {LONGEST} characters, none of /\\#?%:")


class WeightsAndBiases:
    """One run of a project; the metrics of each seed under seed-N/, over env_steps.

    Rows are numbered, and a row that was sent before is not sent again: not by a run that was killed after its last
    checkpoint and does the same steps once more. Rows that were added when the run was not training take numbers there
    too; how many there are is kept in the file, so that the rows of the training still come after one another.
    """

    def __init__(self, run: Path, project: str, written: int = 0, adds: bool = False):
        """`written` rows have been logged by earlier processes, and so were sent if they logged to this project. With
        `adds`, every row comes after them, whatever its number is.

        Raises UserError where wandb cannot be used, and what wandb raises where it cannot begin a run.
        """
        check_project(project)
        self.wandb = module()
        self.place, self.adds = run.resolve(), adds
        self.identity, known = _identity(self.place, project)
        identity = self.identity["id"]
        settings = json.loads((run / "config.json").read_text(encoding="utf-8"))
        name = REFUSED.sub("-", f"{run.resolve().parent.name}-{run.resolve().name}")
        self.run: Any = self.wandb.init(
            project=project,
            id=identity,
            name=f"{name[: LONGEST - 7]}-{identity[:6]}",
            dir=str(run.resolve()),
            resume="allow",
            config=settings,
        )
        self.sent = written if known else 0
        if getattr(self.run, "resumed", False):  # then the server knows better what has reached it
            self.sent = max(0, int(self.run.step) - self.identity["added"])
        self.defined = False

    def write(self, row: Row) -> None:
        """Log a row with its pictures, unless it was sent before."""
        if row.number < self.sent and not self.adds:
            return
        if not self.defined:
            self.run.define_metric("env_steps")
            self.run.define_metric("*", step_metric="env_steps")
            self.defined = True
        values: dict[str, Any] = {**row.values, **{name: self._media(row.pictures[name]) for name in row.pictures}}
        named = {f"seed-{row.seed}/{name}": value for name, value in values.items()}
        number = (self.sent if self.adds else row.number) + self.identity["added"]
        if self.adds:  # counted before it is sent: a number that is never used does no harm
            self.identity["added"] += 1
            write_json(self.place / FILE, self.identity)
        self.run.log(named | {"env_steps": row.step}, step=number, commit=True)
        if not self.adds:
            self.sent = row.number + 1

    def _media(self, picture: Picture) -> Any:
        if picture.film is not None:
            return self.wandb.Video(str(picture.film), format=picture.film.suffix.removeprefix(".").lower())
        if picture.moves:
            return self.wandb.Video(io.BytesIO(picture.encoded), format="gif")
        from PIL import Image

        return self.wandb.Image(Image.open(io.BytesIO(picture.encoded)))

    def close(self) -> None:
        """Send what is left and end."""
        self.run.finish()


def _identity(run: Path, project: str) -> tuple[dict[str, Any], bool]:
    """The content of `FILE` for a resolved folder and a project, and whether it has logged there before."""
    kept = _read(run / FILE)
    known = kept is not None and kept.get("project") == project and not _is_copy(kept, run)
    mine = {"id": secrets.token_hex(8), "project": project, "folder": str(run), "added": 0}
    if kept is not None and known:
        added = kept.get("added", 0)
        mine |= {"id": kept["id"], "added": added if isinstance(added, int) else 0}
    write_json(run / FILE, mine)
    return mine, known


def _is_copy(kept: dict[str, Any], run: Path) -> bool:
    """Whether the folder that a file was written in is another one, and still has the same id."""
    first = Path(kept.get("folder", run))
    return first != run and (_read(first / FILE) or {}).get("id") == kept["id"]


def _read(path: Path) -> dict[str, Any] | None:
    """What the file says; None where there is none, or it is damaged."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) and isinstance(told.get("id"), str) else None
