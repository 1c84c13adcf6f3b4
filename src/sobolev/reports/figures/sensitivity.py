"""Local sensitivity of the latent distributions: Figure 9 of paper 1, from the numbers of `sobolev sensitivity`."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from sobolev.errors import UserError
from sobolev.plotting.colors import colors
from sobolev.plotting.panels import Line, Panel, Picture, draw, over_steps, short_steps
from sobolev.reports.page.content import Illustration, Material
from sobolev.system.atomic_files import with_nan

TABLES = {"posterior": "posterior (tokens moved)", "prior": "prior (deter moved)"}
"""The titles of the latent distributions, with the input that is perturbed."""
NUMBERS = {"sensitivity": "KL(r(u) ‖ r(u+δ)) / ‖δ‖", "jacobian_norm": "mean ‖Jᵢ‖ of a row"}
"""The labels of the vertical axis, by number."""

Record = dict[str, Any]
"""Of one seed at one checkpoint: task, label, seed, env_steps, and the `NUMBERS` of each of `TABLES`."""


def figure_9(material: Material) -> list[Illustration]:
    """Returns a figure for every file of `sobolev sensitivity`, each with a name of its own. Raises UserError for any
    other file."""
    figures: dict[str, Illustration] = {}
    for figure in map(of_file, material.sensitivity):
        numbered = (f"{figure.name}-{number}" for number in itertools.count(2))
        name = next(name for name in itertools.chain([figure.name], numbered) if name not in figures)
        figures[name] = replace(figure, name=name)
    return list(figures.values())


def of_file(path: Path) -> Illustration:
    """Returns the figure of a file of `sobolev sensitivity`. Raises UserError for any other file."""
    try:
        text = path.read_text(encoding="utf-8")
        content, lost = json.loads(text), text.count("null")
        drawn = picture(with_nan(content["records"]))
        command = content["command"]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise UserError(f"{path} is not what sobolev sensitivity writes ({error!r})") from error
    caption = f"Sensitivity of the latent distributions to perturbed inputs, and exact Jacobian norms: {command}"
    if lost:
        caption += f" ({lost} numbers were not finite: left out)"
    folder = path.resolve().parent.name
    name = "figure-9" if folder == "sensitivity" else f"figure-9-{folder}"
    return Illustration(name, "Figure 9. Local sensitivity", caption, drawn)


def picture(records: Sequence[Record], note: str = "") -> Picture:
    """Draws a column per task and table and a row per number, with thin lines for seeds and a thick one for their mean.

    If every label has only one checkpoint, the labels are side by side instead of over env steps. Raises ValueError if
    there are no records.
    """
    labels = sorted({record["label"] for record in records})
    own = colors(labels)
    lines = [Line(label, own[label]) for label in labels]
    columns = [(task, table) for task in sorted({record["task"] for record in records}) for table in TABLES]
    panels = [_panel(records, lines, task, table, number) for number in NUMBERS for task, table in columns]
    return draw(panels, lines, columns=len(columns), note=note)


def _panel(records: Sequence[Record], lines: Sequence[Line], task: str, table: str, number: str) -> Panel:
    over_training = any(len({r["env_steps"] for r in records if r["label"] == line.label}) > 1 for line in lines)
    inside = {line: [r for r in records if (r["task"], r["label"]) == (task, line.label)] for line in lines}

    def paint(ax: Axes) -> None:
        (_over_training if over_training else _side_by_side)(ax, inside, table, number)
        ax.set_ylim(bottom=0)
        ax.set_ylabel(NUMBERS[number], fontsize=7.5)
        ax.grid(alpha=0.25, axis="both" if over_training else "y", linewidth=0.6)

    ends = [f"{line.label} {_last_mean(own, table, number):.3g}" for line, own in inside.items() if own]
    title = f"{task}\n{TABLES[table]}"
    return Panel(title, paint, f"{task}, {TABLES[table]}: {NUMBERS[number]}; at the end {', '.join(ends)}")


def _last_mean(records: Sequence[Record], table: str, number: str) -> float:
    last = max(record["env_steps"] for record in records)
    return float(np.mean([record[table][number] for record in records if record["env_steps"] == last]))


def _over_training(ax: Axes, inside: dict[Line, list[Record]], table: str, number: str) -> None:
    for line, own in inside.items():
        for seed in sorted({record["seed"] for record in own}):
            points = sorted((record["env_steps"], record[table][number]) for record in own if record["seed"] == seed)
            ax.plot(*zip(*points, strict=True), color=line.color, alpha=0.3, linewidth=0.8)
        steps = sorted({record["env_steps"] for record in own})
        means = [np.mean([r[table][number] for r in own if r["env_steps"] == step]) for step in steps]
        ax.plot(steps, means, "o-", color=line.color, markersize=3, linewidth=1.5)
    over_steps(ax)


def _side_by_side(ax: Axes, inside: dict[Line, list[Record]], table: str, number: str) -> None:
    for place, (line, own) in enumerate(inside.items()):
        values = np.array([record[table][number] for record in own])
        if not values.size:
            continue
        ax.bar(place, values.mean(), width=0.5, color=line.color, alpha=0.25)
        beside = np.linspace(-0.12, 0.12, len(values)) if len(values) > 1 else np.zeros(1)
        ax.plot(place + beside, values, "o", color=line.color, markersize=4)
    named = len(inside) <= 3  # more labels would overlap; the legend distinguishes them
    texts = [f"{line.label}\n{_steps(own)}" if named else _steps(own) for line, own in inside.items()]
    ax.set_xticks(range(len(inside)), texts)
    ax.set_xlim(-0.6, len(inside) - 0.4)


def _steps(records: Sequence[Record]) -> str:
    """Returns the env steps of a label's checkpoints, as in "at 500k"; "" if it has none on this task."""
    steps = sorted({record["env_steps"] for record in records})
    return f"at {' / '.join(short_steps(float(step)) for step in steps)}" if steps else ""
