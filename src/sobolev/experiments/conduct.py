"""Runs an experiment, and writes its numbers and figures into a folder."""

from typing import Any

import jax
import numpy as np

from sobolev.config.codec import encode
from sobolev.experiments.api import Experiment, Record, S, Say
from sobolev.experiments.parts import plain
from sobolev.plotting.output_files import create_folder, save
from sobolev.system.atomic_files import write_json


def conduct(experiment: Experiment[S], settings: S, command: str, say: Say = print) -> list[str]:
    """Runs an experiment. Writes NAME.json for each of its results, and NAME.png and NAME.pdf for each of its figures.

    Every JSON file begins with its provenance: `command`, `settings` and `versions`. Returns the summary of the
    experiment and a line for every file. Raises UserError for invalid settings or a folder that cannot be created,
    before anything is computed.
    """
    experiment.check(settings)
    out = create_folder(settings.out)
    results = experiment.run(settings, say)
    facts, written = provenance(settings, command), []
    for name, record in results.items():
        written.append(out / f"{name}.json")
        write_json(written[-1], plain(_joined(facts, record)))
    for name, figure in experiment.draw(settings, results).items():
        written += save(figure, out / name)
    return [*experiment.summary(settings, results), *(f"written: {path}" for path in written)]


def provenance(settings: Any, command: str) -> Record:
    """Returns the provenance of the numbers: command, settings and versions."""
    from sobolev._version import __version__

    versions = {"sobolev": __version__, "numpy": np.__version__, "jax": jax.__version__}
    return {"command": command, "settings": encode(settings), "versions": versions}


def _joined(facts: Record, record: Record) -> Record:
    if taken := facts.keys() & record.keys():
        raise ValueError(f"results may not be called {', '.join(sorted(taken))}: these names are for their provenance")
    return facts | record
