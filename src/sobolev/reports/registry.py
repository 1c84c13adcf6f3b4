"""The registry of the parts of a report, in their order. A new table or figure is a function and a line here.

A function takes the `Material` of the report and returns a list of tables or figures, which is empty if there are not
enough runs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sobolev.reports.figures import ablations, aggregate, beside_published, intervals, sensitivity, task_curves
from sobolev.reports.page.content import Material, Part
from sobolev.reports.tables import aggregates, cost, differences, runs, scores, statistics, variants

SECTIONS = {
    "scores": "Scores",
    "efficiency": "Sample efficiency",
    "curves": "Learning curves",
    "statistics": "Statistics",
    "differences": "Paired differences",
    "ablations": "Ablations",
    "published": "Beside published curves",
    "cost": "Cost",
    "sensitivity": "Sensitivity",
    "runs": "Runs",
}
"""The titles of the sections of the page, in their order."""


@dataclass(frozen=True)
class Entry:
    """A function that creates parts of a report."""

    section: str
    """one of `SECTIONS`"""
    make: Callable[[Material], Sequence[Part]]
    of_paper: Mapping[str, str] = field(default_factory=dict)
    """names of its tables and figures that are in arXiv 2605.23089 (paper 1), with the command that trains the runs of
    each"""


REGISTRY = (
    Entry("scores", scores.table_1, {"table-1": "sobolev sweep dmc-proprio-locomotion"}),
    Entry("scores", scores.table_3, {"table-3": "sobolev sweep dmc-proprio"}),
    Entry("scores", scores.other_families),
    Entry("efficiency", scores.efficiency),
    Entry("curves", aggregate.proprio, {"figure-2": "sobolev sweep dmc-proprio"}),
    Entry("curves", task_curves.quadruped, {"figure-3": "sobolev sweep quadruped-4m"}),
    Entry("curves", aggregate.pixels, {"figure-4": "sobolev sweep dmc-pixels"}),
    Entry("curves", task_curves.proprio, {"figure-6": "sobolev sweep dmc-proprio-2m"}),
    Entry("curves", task_curves.other),
    Entry("curves", task_curves.pixels, {"figure-7": "sobolev sweep dmc-pixels"}),
    Entry("curves", task_curves.both),
    Entry("curves", task_curves.warm_start, {"figure-8": "sobolev sweep warm-start"}),
    Entry("statistics", aggregates.aggregates),
    Entry("statistics", intervals.intervals),
    Entry("statistics", statistics.statistics_tables),
    Entry("differences", differences.differences),
    Entry(
        "ablations",
        ablations.figure_5,
        {
            "figure-5a": "sobolev sweep ablation-rho",
            "figure-5b": "sobolev sweep ablation-rho",
            "figure-5c": "sobolev sweep ablation-target",
            "figure-5d": "sobolev sweep ablation-decay",
        },
    ),
    Entry("ablations", ablations.other_settings),
    Entry("ablations", task_curves.variants),
    Entry("ablations", variants.variants),
    Entry("published", beside_published.beside_published),
    Entry("cost", cost.table_4, {"table-4": "sobolev sweep cost"}),
    Entry("cost", cost.by_label),
    Entry(
        "sensitivity",
        sensitivity.figure_9,
        {"figure-9": "sobolev sweep sensitivity, then sobolev sensitivity on its runs"},
    ),
    Entry("runs", runs.runs),
    Entry("runs", runs.seeds),
)


def of_paper() -> dict[str, str]:
    """Returns the tables and figures of paper 1 that a report can have, tables first, with the command that trains the
    runs of each."""
    needed = {name: command for entry in REGISTRY for name, command in entry.of_paper.items()}
    return dict(sorted(needed.items(), key=lambda pair: (pair[0].startswith("figure"), pair[0])))
