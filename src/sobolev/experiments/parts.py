"""The parts of an experiment that takes hours. Each is kept in a file when it is done, so that a study that was stopped
continues with the next one."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sobolev._version import __version__
from sobolev.config.registry import METHODS
from sobolev.config.resolve import added, completed
from sobolev.errors import UserError
from sobolev.experiments.api import Record
from sobolev.logs.provenance import commit, machine
from sobolev.system.atomic_files import with_nan, write_json

FOLDER = "parts"
"""Where the parts are kept, in the folder of a study."""


def kept(file: Path, settings: Record, compute: Callable[[], Record]) -> Record:
    """Returns the record of a part: the one in `file` if it is there and was computed with the same settings, else what
    `compute` returns, which is then written there.

    A number that is not finite is NaN in a record from a file, since JSON has none of these. The file also tells the
    commit, the versions and the machine that the part was computed with; these may differ.
    Raises UserError if the file cannot be read.
    """
    settings = plain(settings)
    if (found := _read(file)) and up_to_date(found["settings"]) == settings:
        return with_nan(found["record"])
    record = plain(compute())
    code = {"version": __version__, "commit": commit(), "jax": jax.__version__, "machine": machine()}
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, {"settings": settings, **code, "record": record}, indent=1)
    return record


def up_to_date(settings: Record) -> Record:
    """Returns the settings of a part with those settings of a run, in "run", that an earlier version did not have."""
    run = settings.get("run")
    return settings | {"run": completed(run, added(METHODS.find(run["method"])))} if run else settings


def _read(file: Path) -> Record | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {file}, a part of this study ({error}): without it, it is computed") from error
    if not isinstance(found, dict) or not {"settings", "record"} <= found.keys():
        raise UserError(f"{file} is no part of a study: without it, it is computed")
    return found


def plain(value: Any) -> Any:
    """Converts a result to a JSON tree, with numbers and arrays of NumPy and JAX as numbers and lists."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value.tolist() if isinstance(value, (np.ndarray, np.generic, jax.Array)) else value
