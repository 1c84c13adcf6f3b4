"""From an experiment and its settings to a folder of numbers and figures."""

from collections.abc import Mapping
from typing import Any

from sobolev.config.codec import encode
from sobolev.experiments.api import Experiment, Record, S, Say
from sobolev.plotting.output_files import create_folder, save
from sobolev.system.atomic_files import write_json


def conduct(experiment: Experiment[S], settings: S, command: str, say: Say = print) -> list[str]:
    """Run an experiment and write NAME.json for all of its results, NAME.png and NAME.pdf for all of its figures.

    Every JSON file begins with what made it: `command`, `settings` and `versions`. Returns the experiment's summary and
    a line for every file written. Raises UserError, before anything is computed, for settings that cannot be run or a
    folder that cannot be made.
    """
    experiment.check(settings)
    out = create_folder(settings.out)
    results = experiment.run(settings, say)
    facts, written = provenance(settings, command), []
    for name, record in results.items():
        written.append(out / f"{name}.json")
        write_json(written[-1], _plain(_joined(facts, record)))
    for name, figure in experiment.draw(settings, results).items():
        written += save(figure, out / name)
    return [*experiment.summary(settings, results), *(f"written: {path}" for path in written)]


def provenance(settings: Any, command: str) -> Record:
    """What made the numbers: command, settings, versions."""
    import jax
    import numpy

    from sobolev._version import __version__

    versions = {"sobolev": __version__, "numpy": numpy.__version__, "jax": jax.__version__}
    return {"command": command, "settings": encode(settings), "versions": versions}


def _joined(facts: Record, record: Record) -> Record:
    if taken := facts.keys() & record.keys():
        raise ValueError(f"results may not be called {', '.join(sorted(taken))}: that is what made them")
    return facts | record


def _plain(value: Any) -> Any:
    """A result as JSON has it: NumPy's and JAX's numbers and arrays as numbers and lists."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.tolist() if hasattr(value, "tolist") else value
