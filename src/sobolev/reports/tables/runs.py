"""Every run with its command, commit, machine and time, and every seed with its numbers."""

import os
from pathlib import Path

from sobolev.reports.analysis.measures import MEASURES
from sobolev.reports.page.content import Material
from sobolev.reports.page.table import Link, Table, Text
from sobolev.reports.results.runs import Run
from sobolev.reports.tables.scores import span_of


def runs(material: Material) -> list[Table]:
    """Returns a table of every run: seeds, env steps, command, commit, machine, time, and links to its videos.

    A column with equal values for all runs is moved into the caption.
    """
    columns = ["task", "method", "seeds", "env steps", "command", "commit", "machine", "hours", "video"]
    rows: list[list[Text]] = []
    for run in sorted(material.comparison.runs, key=lambda run: (run.task, run.method, str(run.folder))):
        links: list[Text] = [Link(path.name, _relative(path, material.output)) for path in run.videos]
        seconds = run.facts.get("seconds")
        row: list[Text] = [str(run.task), run.method, " ".join(map(str, run.seeds)), _steps(run)]
        row += [str(run.facts.get(name, "")) for name in ("command", "commit", "machine")]
        rows.append([*row, "" if not seconds else f"{seconds / 3600:.2f}", *(links[:1] or [""])])
        rows += [[""] * 8 + [link] for link in links[1:]]
    caption = "Hours are the wall time of the whole run, with all of its seeds; empty if it is not known."
    for name in ("video", "machine", "commit"):
        index = columns.index(name)
        values = {row[index] for row in rows} - {""}
        if len(values) < (1 if name == "video" else 2):
            caption += f" The {name} of all runs for which it is known is {values.pop()}." if values else ""
            del columns[index]
            rows = [[cell for place, cell in enumerate(row) if place != index] for row in rows]
    words = frozenset(place for place, name in enumerate(columns) if name not in ("env steps", "hours"))
    return [Table("runs", "Runs", caption, tuple(columns), tuple(map(tuple, rows)), words=words)]


def _steps(run: Run) -> str:
    ends = {int(one.steps[-1]) for one in run.scores.values() if one.steps.size}
    return span_of(ends) if ends else "0"


def _relative(path: Path, output: Path) -> str:
    return Path(os.path.relpath(path.resolve(), output.resolve())).as_posix()


def seeds(material: Material) -> list[Table]:
    """Returns a table of every measure of every seed of every label, with the env steps of the comparison."""
    comparison, rows = material.comparison, []
    for (task, label), cell in sorted(comparison.cells.items(), key=lambda pair: pair[0]):
        numbers = [comparison.values(measure, task, label) for measure in MEASURES]
        for seed in cell.scores:
            values = [f"{each[seed]:.2f}" for each in numbers]
            rows.append((str(task), label, str(seed), f"{comparison.ends[task]:.0f}", *values))
    caption = " ".join(f"{measure.title}: {measure.about[0].lower()}{measure.about[1:]}" for measure in MEASURES)
    columns = ("task", "method", "seed", "env steps", *(measure.title.lower() for measure in MEASURES))
    table = Table("seeds", "Every seed", caption, columns, tuple(rows), words=frozenset({0, 1}), folded=True)
    return [table]
