"""Makes a report from folders of runs: reads and compares them, collects the parts in the registry, and writes them."""

import json
from collections.abc import Sequence
from pathlib import Path

from sobolev.errors import UserError
from sobolev.reports.analysis.compare import compare
from sobolev.reports.page.content import Material, Report, Section
from sobolev.reports.page.export import check_output, write
from sobolev.reports.page.headline import headline
from sobolev.reports.page.table import Table, counts, listed
from sobolev.reports.registry import REGISTRY, SECTIONS, of_paper
from sobolev.reports.results.runs import SENSITIVITY, find, load


def report(
    places: Sequence[Path],
    output: Path,
    *,
    with_published: bool = False,
    baseline: str = "dreamer",
    at: int | None = None,
    since: int | None = None,
    command: str = "sobolev report",
    without: Sequence[Path] = (),
) -> list[Path]:
    """Reads runs and writes a report of them into a folder. Returns the files of the report, the page first.

    The folders `without` are left out: copies of other runs in these places. Raises UserError for places without runs,
    and for a folder that holds files other than a report.
    """
    left_out = {folder.resolve() for folder in without}
    folders = [folder for folder in find(places) if folder.resolve() not in left_out]
    check_output(output)
    comparison = compare([run for folder in folders for run in load(folder)], baseline, at, since)
    comparison.notes[:0] = unfinished(places)
    material = Material(comparison, with_published, output, tuple(sensitivity_files(places)))
    return write(assemble(material, command), output)


def assemble(material: Material, command: str) -> Report:
    """Creates the report of the material, with all parts in the registry."""
    comparison = material.comparison
    parts = {name: [part for e in REGISTRY if e.section == name for part in e.make(material)] for name in SECTIONS}
    parts["runs"].append(artefacts({part.name for several in parts.values() for part in several}))
    methods = listed(list(comparison.main)) if len(comparison.main) < 5 else counts(len(comparison.main), "method")
    seeds = sorted({len(cell.scores) for cell in comparison.cells.values()})
    span = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    return Report(
        title=f"{methods} on {counts(len(comparison.tasks()), 'task')}",
        about=f"{counts(len(comparison.runs), 'run')}, {span} {'seed' if seeds == [1] else 'seeds'} of each",
        command=command,
        headline=tuple(headline(comparison)),
        sections=tuple(Section(name, SECTIONS[name], tuple(several)) for name, several in parts.items() if several),
        notes=tuple(dict.fromkeys(comparison.notes)),
    )


def artefacts(there: set[str]) -> Table:
    """Returns a table of the tables and figures of paper 1: whether they are among these names, and if not, how to get
    them."""
    rows = []
    for name, source in of_paper().items():
        inside = name in there or any(other.startswith(name + "-") for other in there)
        rows.append((name.replace("-", " ").capitalize(), "yes" if inside else "no", source))
    caption = (
        "Figure 1 shows frames of tasks, Table 2 the settings (sobolev train --help). One task is enough for a yes."
    )
    columns = ("of paper 1", "here", "its runs")
    return Table(
        "artefacts", "Tables and figures of paper 1", caption, columns, tuple(rows), words=frozenset({0, 1, 2})
    )


def sensitivity_files(places: Sequence[Path]) -> list[Path]:
    """Returns the files of `sobolev sensitivity` in these places, without duplicates."""
    return _inside(places, SENSITIVITY)


def _inside(places: Sequence[Path], pattern: str) -> list[Path]:
    files = {path.resolve(): path for place in places for path in sorted(place.rglob(pattern))}
    return list(files.values())


def unfinished(places: Sequence[Path]) -> list[str]:
    """Returns a note for every sweep in these places that has unfinished runs, with the errors of failed ones."""
    notes = []
    for path in _inside(places, "sweep-*.json"):
        try:
            runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
            left = [run for run in runs if run["state"] != "done"]
            texts = [f"{run['label']} on {run['task']} is {run['state']}" for run in left]
            texts = [f"{text}: {run['error']}" if run["error"] else text for run, text in zip(left, texts, strict=True)]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} cannot be read as a sweep: {error!r}") from error
        if left:
            notes.append(f"Of {counts(len(runs), 'run')} in {path}, {len(left)} are not done: {'; '.join(texts)}.")
    return notes
