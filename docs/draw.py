"""Draws the figures of docs/results.md and results/runs.md from scores/, and the toy of docs/dsdpg.md.

Run from the root: python docs/draw.py
"""

from pathlib import Path

from sobolev.envs.families.toy import Layout
from sobolev.experiments.point_mass.controller import reference
from sobolev.experiments.point_mass.figures import draw_environment
from sobolev.plotting.colors import GREY, colors
from sobolev.plotting.panels import Line, counted, curves, draw
from sobolev.reports.analysis.aggregates import task_curve
from sobolev.reports.analysis.compare import compare
from sobolev.reports.analysis.comparison import Comparison
from sobolev.reports.results import published
from sobolev.reports.results.runs import Task, find, load
from sobolev.reports.results.scores import binned, mean_curve
from sobolev.system.atomic_files import write_bytes

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Draw evaluation returns per task, and training returns beside the published ones."""
    comparison = compare([run for folder in find([ROOT / "scores"]) for run in load(folder)])
    for task in comparison.tasks():
        evaluations(comparison, task)
        if task.name in published.curves(task.observations):
            training(comparison, task)
    references = [reference(Layout(4, dimensions)) for dimensions in (1, 2, 4, 8, 16)]
    draw_environment(references).savefig(ROOT / "docs" / "point-mass.png")


def lines(comparison: Comparison, task: Task) -> dict[str, Line]:
    """A line for every method on a task, with its number of seeds."""
    own = colors(comparison.labels)
    found = comparison.on(task, comparison.labels)
    return {label: Line(counted(label, len(comparison.cells[task, label].scores)), own[label]) for label in found}


def note(comparison: Comparison, task: Task) -> str:
    """With what settings our runs of a task were made, and what is drawn."""
    config = comparison.cells[task, comparison.on(task)[0]].runs[0].config
    ratio = config["agent"]["train_ratio"]
    ours = f"ours: preset {config['preset']}, {config['size']} parameters, train ratio {ratio:g}"
    return f"{ours}; mean and standard deviation over seeds"


def place(task: Task, ending: str) -> Path:
    """docs/TASK.png, or of images docs/TASK-pixels.png."""
    seen = "" if task.observations == "proprio" else f"-{task.observations}"
    return ROOT / "docs" / f"{task.name}{seen}{ending}"


def evaluations(comparison: Comparison, task: Task) -> None:
    """docs/TASK.png: evaluation returns, mean and standard deviation over seeds."""
    named = lines(comparison, task)
    panel = curves(str(task), {line: task_curve(comparison, task, label) for label, line in named.items()})
    write_bytes(place(task, ".png"), draw([panel], list(named.values()), note=note(comparison, task)).png())


def training(comparison: Comparison, task: Task) -> None:
    """docs/TASK-published.png: returns of training episodes, beside what DreamerV3's authors published."""
    named = lines(comparison, task)
    found = {line: list(comparison.cells[task, label].episodes.values()) for label, line in named.items()}
    drawn = {line: mean_curve(binned(episodes)) for line, episodes in found.items() if episodes}
    theirs = published.curves(task.observations)[task.name]
    grey = Line(counted("published DreamerV3", len(theirs)), GREY, dashed=True)
    end = float(max(curve.steps[-1] for curve in drawn.values()))
    panel = curves(str(task), {**drawn, grey: mean_curve(theirs)}, end=end, y="return of training episodes")
    write_bytes(place(task, "-published.png"), draw([panel], [*drawn, grey], note=note(comparison, task)).png())


if __name__ == "__main__":
    main()
