"""Learning curves as pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sobolev.study.scores import Curve, Score, curve, read

COLORS = {"gpld": "#1f6fb4", "dreamer": "#d1662a"}
"""Ours have a colour each; what others published is grey."""


def draw_curves(panels: Mapping[str, Mapping[str, Curve]], path: Path, title: str = "", note: str = "") -> None:
    """Draws one panel per task, with mean and standard deviation of each labelled curve, into a PNG, PDF or SVG file.

    The x-axis of a panel ends where the curves of our own methods end; a label that begins with "published" is drawn
    grey and dashed.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(5.2, 4.4 * len(panels)), 3.9), dpi=150, layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for ax, (task, curves) in zip(axes, panels.items(), strict=True):
        own = [c for label, c in curves.items() if not label.startswith("published")]
        end = max(c.steps[-1] for c in own)
        for label, c in curves.items():
            theirs = label.startswith("published")
            color = "#777777" if theirs else next((COLORS[m] for m in COLORS if label.startswith(m)), None)
            inside = c.steps <= end
            (line,) = ax.plot(
                c.steps[inside] / 1000, c.mean[inside], color=color, linestyle="--" if theirs else "-", label=label
            )
            low, high = (c.mean - c.std)[inside], (c.mean + c.std)[inside]
            ax.fill_between(c.steps[inside] / 1000, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
        ax.set_title(task, fontsize=10)
        ax.set_xlabel("env steps (thousands)")
        ax.set_xlim(0, end / 1000)
        ax.set_ylim(bottom=0)
        ax.grid(alpha=0.25)
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(fontsize=8, frameon=False, loc="upper left")
    axes[0].set_ylabel("return")
    if title:
        figure.suptitle(title, fontsize=11)
    if note:
        figure.supxlabel(note, fontsize=7, color="#555555")
    figure.savefig(path)


def draw_run(run: Path, path: Path) -> None:
    """A run's evaluation returns over its seeds, from its scores.json. Raises UserError where there are none."""
    scores = read(run / "scores.json")
    panels = {scores[0]["task"]: {label(scores): curve(scores)}}
    draw_curves(panels, path)


def label(scores: Sequence[Score]) -> str:
    """The label of several seeds of one method."""
    seeds = len({score["seed"] for score in scores})
    return f"{scores[0]['method']} ({seeds} seed{'s' if seeds > 1 else ''})"
