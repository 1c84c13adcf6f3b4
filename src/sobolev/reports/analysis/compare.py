"""Creates the comparison of runs: their labels, seeds and env steps, with notes on what is missing or unequal."""

from collections.abc import Mapping, Sequence

import numpy as np

from sobolev.errors import UserError, nearest
from sobolev.reports.analysis import notes
from sobolev.reports.analysis.comparison import Comparison, Reached
from sobolev.reports.analysis.measures import FINAL, NEAR, Cell, Span, final_episodes
from sobolev.reports.results.runs import Final, Run, Task, last_step
from sobolev.reports.results.scores import Series
from sobolev.reports.results.variant_names import labelled


def compare(
    runs: Sequence[Run], baseline: str = "dreamer", at: int | None = None, since: int | None = None
) -> Comparison:
    """Compares runs at an env step `at`, by default the last one that all runs of a task reach, and their curves from
    the env step `since`, by default the first one at which all of them have returns.

    The notes of the comparison say what is missing, unequal or cut off. Raises UserError if there is no evaluation at
    all, if two runs have the same label, task and seed, or if seeds of a task begin after where it is compared.
    """
    by_label, remarks = labelled(runs)
    cells: dict[tuple[Task, str], Cell] = {}
    for label in sorted(by_label, key=lambda label: (label.split()[0] != baseline, label)):
        for task in sorted({run.task for run in by_label[label]}):
            cell = _cell(label, task, [run for run in by_label[label] if run.task == task], remarks)
            if cell.scores:
                cells[task, label] = cell
    if not cells:
        raise UserError("these runs hold no evaluation yet: train further, or with --evaluation.episodes above 0")
    for task in dict.fromkeys(task for task, _ in cells):
        cells |= _to_the_end(task, cells, remarks)
    labels = tuple(dict.fromkeys(label for _, label in cells))
    if baseline not in labels:
        if baseline != "dreamer":
            raise nearest("baseline", baseline, labels)
        remarks.append(
            f"There are no runs of {baseline}, so there are no gains and no normalised aggregates (see --baseline)."
        )
    spans = {task: _span(task, cells, at, since, remarks) for task in dict.fromkeys(task for task, _ in cells)}
    if since is not None:
        remarks.append(
            f"Areas under curves begin at {since:,} env steps, or where all seeds of a task first have returns."
        )
    reached = {
        (task, label): Reached(np.array(list(FINAL.of(cell, spans[task]).values())), final_episodes(cell, spans[task]))
        for (task, label), cell in cells.items()
    }
    comparison = Comparison(tuple(runs), labels, baseline, cells, spans, reached, remarks)
    remarks += notes.on(comparison)
    return comparison


def _cell(label: str, task: Task, runs: Sequence[Run], remarks: list[str]) -> Cell:
    scores: dict[int, Series] = {}
    owners: dict[int, Run] = {}
    for run in runs:
        for seed, one in run.scores.items():
            if seed in owners:
                raise UserError(_twice(label, task, seed, owners[seed], run))
            owners[seed] = run
            if one.steps.size:
                scores[seed] = one
            else:
                remarks.append(f"{label} on {task}, seed {seed} ({run.folder}) has no evaluation: left out.")
    episodes = {seed: one for run in runs for seed, one in run.episodes.items() if one.steps.size}
    finals = {seed: final for run in runs for seed, final in run.finals.items() if seed in scores}
    return Cell(tuple(runs), dict(sorted(scores.items())), dict(sorted(episodes.items())), finals)


def _twice(label: str, task: Task, seed: int, first: Run, second: Run) -> str:
    """Returns the message for two runs that cannot both be a seed of a label."""
    if first.settings and second.settings:
        return f"{first.folder} and {second.folder} are the same experiment with seed {seed}: leave one out"
    unknown = second.folder if first.settings else first.folder
    return (
        f"{first.folder} and {second.folder} both have {label} on {task} with seed {seed}, and {unknown} has no "
        "config.json to tell them apart: leave one out, or give the method another name in its scores.json"
    )


def _to_the_end(task: Task, cells: Mapping[tuple[Task, str], Cell], remarks: list[str]) -> dict[tuple[Task, str], Cell]:
    """Returns the cells of a task, each curve with the evaluation after training as its last point, if all seeds have
    one at about the same env step, and evaluations during training end well before it: as in runs that are shorter than
    the time between two evaluations."""
    mine = {place: cell for place, cell in cells.items() if place[0] == task}
    if any(seed not in cell.finals for cell in mine.values() for seed in cell.scores):
        return {}
    ends = [cell.finals[seed].env_steps for cell in mine.values() for seed in cell.scores]
    last = min(last_step(cell.scores) for cell in mine.values())
    if max(ends) > (1 + NEAR) * min(ends) or min(ends) <= (1 + NEAR) * last:
        return {}
    remarks.append(
        f"{task} has no evaluation during training after {last:,.0f} env steps: its curves end with the evaluation "
        f"after training, at {min(ends):,}."
    )
    return {
        place: cell._replace(scores={seed: _ending(one, cell.finals[seed]) for seed, one in cell.scores.items()})
        for place, cell in mine.items()
    }


def _ending(one: Series, final: Final) -> Series:
    """Returns a series with the evaluation after training as its last point, unless it has later ones."""
    if final.env_steps <= one.steps[-1]:
        return one
    return Series(np.append(one.steps, final.env_steps), np.append(one.returns, final.score))


def _span(
    task: Task, cells: Mapping[tuple[Task, str], Cell], at: int | None, since: int | None, remarks: list[str]
) -> Span:
    """Returns the env steps over which a task is compared. Raises UserError if they end before all seeds have begun."""
    start, end = _start(task, cells), _end(task, cells, at, remarks)
    if end < start:
        advice = "choose a later --at" if at == end else "leave out the runs that end before it, or that begin so late"
        raise UserError(
            f"{task} cannot be compared at {end:,.0f} env steps, since the first one at which all seeds have "
            f"evaluations is {start:,.0f}: {advice}"
        )
    return Span(min(max(start, since or 0.0), end), end)


def _start(task: Task, cells: Mapping[tuple[Task, str], Cell]) -> float:
    """Returns the env step from which all seeds on the task have evaluations."""
    return max(one.steps[0] for (other, _), cell in cells.items() if other == task for one in cell.scores.values())


def _end(task: Task, cells: Mapping[tuple[Task, str], Cell], at: int | None, remarks: list[str]) -> float:
    """Returns the last env step that all seeds on the task reach, or `at` if that is earlier."""
    lasts = {label: last_step(cell.scores) for (other, label), cell in cells.items() if other == task}
    end, longest = min(lasts.values()), max(lasts.values())
    if at is not None:
        if end < at:
            remarks.append(f"{task} has no scores at {at:,.0f} env steps: compared at {end:,.0f}.")
        return min(end, float(at))
    if longest > 1.05 * end:
        short = ", ".join(label for label, last in lasts.items() if last <= 1.05 * end)
        remarks.append(f"{task} is compared at {end:,.0f} env steps, where {short} ends; others go to {longest:,.0f}.")
    return end
