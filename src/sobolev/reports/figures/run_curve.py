"""The learning curve that is drawn at the end of every run, RUN/curve.png."""

from pathlib import Path

from sobolev.plotting.colors import colors
from sobolev.plotting.panels import Line, counted, curves, draw
from sobolev.reports.results.scores import mean_curve, read, series, task_name
from sobolev.system.atomic_files import write_bytes


def draw_run(run: Path, path: Path) -> None:
    """Draws the evaluation returns of a run over its seeds, from scores.json, to a file. Raises UserError if there are
    none."""
    scores = read(run / "scores.json")
    method, task = scores[0]["method"], task_name(scores[0]["task"])
    curve = mean_curve([series(score) for score in scores])
    line = Line(counted(method, len(scores)), colors([method])[method])
    write_bytes(path, draw([curves(task, {line: curve})], [line]).png())
