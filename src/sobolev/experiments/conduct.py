"""From an experiment and its settings to a folder of numbers and figures."""

import json
from typing import Any

from sobolev.experiments.api import Experiment, Record, S, Say
from sobolev.study.files import made, save
from sobolev.training.run import write_text
from sobolev.training.serial import encode


def conduct(experiment: Experiment[S], settings: S, command: str, say: Say = print) -> list[str]:
    """Run an experiment and write NAME.json for all of its results, NAME.png and NAME.pdf for all of its figures.

    Every JSON file begins with what made it: `command`, `settings` and `versions`. Returns the experiment's summary and
    a line for every file written. Raises UserError, before anything is computed, for settings that cannot be run or a
    folder that cannot be made.
    """
    experiment.check(settings)
    out = made(settings.out)
    results = experiment.run(settings, say)
    facts, written = provenance(settings, command), []
    for name, record in results.items():
        written.append(out / f"{name}.json")
        write_text(written[-1], json.dumps(_joined(facts, record), default=_plain) + "\n")
    for name, figure in experiment.draw(settings, results).items():
        written += save(figure, out / name)
    return [*experiment.summary(settings, results), *(f"written: {path}" for path in written)]


def provenance(settings: Any, command: str) -> Record:
    """What made the numbers: command, settings, versions."""
    import jax
    import numpy

    from sobolev import __version__

    versions = {"sobolev": __version__, "numpy": numpy.__version__, "jax": jax.__version__}
    return {"command": command, "settings": encode(settings), "versions": versions}


def _joined(facts: Record, record: Record) -> Record:
    if taken := facts.keys() & record.keys():
        raise ValueError(f"results may not be called {', '.join(sorted(taken))}: that is what made them")
    return facts | record


def _plain(value: Any) -> Any:
    """NumPy's and JAX's numbers and arrays as JSON has them."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a result of type {type(value).__name__} cannot be written as JSON")
