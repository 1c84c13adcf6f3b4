"""Weights & Biases as a view of a run's metrics.

    RUN/wandb.json    identifies the run in Weights & Biases: {"id", "project", "folder", "added"}
    RUN/wandb/        wandb's own files

The id is drawn at random when a run first logs to a project. A folder that is moved keeps its id. A copy of a folder
gets a new one, so that two folders never log to the same run.
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
"""Characters that are replaced in the names of runs: wandb refuses /\\#?%: and some others."""
LONGEST = 128
"""Longest name that wandb takes, in characters."""


def module() -> Any:
    """Imports wandb. Raises UserError if it is not installed, or cannot be imported."""
    try:
        wandb = importlib.import_module("wandb")
    except ModuleNotFoundError as error:
        if error.name == "wandb":
            raise _not_installed() from None
        raise _broken(error) from error
    except Exception as error:  # wandb, or anything that it imports, is broken
        raise _broken(error) from error
    if not hasattr(wandb, "init"):  # a folder of that name in the working folder, as wandb creates
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
    """Raises UserError for the name of a project that Weights & Biases refuses."""
    if not name.strip() or len(name) > LONGEST or re.search(r"[/\\#?%:]", name):
        raise UserError(f"--log.wandb '{name}' is not a project name: use up to {LONGEST} characters, none of /\\#?%:")


class WeightsAndBiases:
    """Logs to one run of a project: the metrics of each seed as seed-N/NAME, over env_steps.

    The steps of the run there are the numbers of the rows. A row that was sent before is not sent again, as when a run
    was killed after its last checkpoint and repeats some steps. Rows that `sobolev evaluate` adds take steps too: their
    number is kept in `FILE`, and shifts the rows that the training sends later.
    """

    def __init__(self, run: Path, project: str, written: int = 0, adds: bool = False):
        """`written` is the number of rows that earlier processes have logged; they were sent if those logged to this
        project. With `adds`, rows are added after all others, whatever their numbers are.

        Raises UserError if wandb cannot be used, and whatever wandb raises if it cannot start a run.
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
        if getattr(self.run, "resumed", False):  # the server knows which rows it has received
            self.sent = max(0, int(self.run.step) - self.identity["added"])
        self.defined = False

    def write(self, row: Row) -> None:
        """Logs a row with its pictures, unless it was sent before."""
        if row.number < self.sent and not self.adds:
            return
        if not self.defined:
            self.run.define_metric("env_steps")
            self.run.define_metric("*", step_metric="env_steps")
            self.defined = True
        values: dict[str, Any] = {**row.values, **{name: self._media(row.pictures[name]) for name in row.pictures}}
        named = {f"seed-{row.seed}/{name}": value for name, value in values.items()}
        number = (self.sent if self.adds else row.number) + self.identity["added"]
        if self.adds:  # counted before it is sent: an unused step does no harm
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
        """Sends the remaining rows and ends the run."""
        self.run.finish()


def _identity(run: Path, project: str) -> tuple[dict[str, Any], bool]:
    """Returns the content of `FILE` for a folder and a project, and whether the folder has logged to it before."""
    kept = _read(run / FILE)
    known = kept is not None and kept.get("project") == project and not _is_copy(kept, run)
    mine = {"id": secrets.token_hex(8), "project": project, "folder": str(run), "added": 0}
    if kept is not None and known:
        added = kept.get("added", 0)
        mine |= {"id": kept["id"], "added": added if isinstance(added, int) else 0}
    write_json(run / FILE, mine)
    return mine, known


def _is_copy(kept: dict[str, Any], run: Path) -> bool:
    """Returns whether the file was written in another folder, which still exists and has the same id."""
    first = Path(kept.get("folder", run))
    return first != run and (_read(first / FILE) or {}).get("id") == kept["id"]


def _read(path: Path) -> dict[str, Any] | None:
    """Returns the content of the file; None if there is none, or it is damaged."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) and isinstance(told.get("id"), str) else None
