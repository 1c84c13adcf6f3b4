"""The figures of a comparison: Figures 2 to 8 of paper 1, statistics, and training returns beside published ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.axes import Axes

from sobolev.plotting.panels import PUBLISHED, Line, Panel, Picture, colors, curves, draw
from sobolev.reports import published, statistics
from sobolev.reports.comparison import FAMILIES, Comparison, aggregate_curves, normalised, scales, task_curve
from sobolev.reports.runs import Run, Task
from sobolev.reports.scores import Curve, binned, mean_curve
from sobolev.reports.tables import counts

QUADRUPED = ("quadruped-run", "quadruped-walk")
LEGIBLE = 8
"""Learning curves in one panel, at most."""
THRESHOLDS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class Illustration:
    """A picture with its place in the report."""

    name: str
    """of its files, as in figure-2"""
    title: str
    caption: str
    picture: Picture


def legend(comparison: Comparison, tasks: Sequence[Task], labels: Sequence[str]) -> dict[str, Line]:
    """A line of the legend for each of the labels that these tasks have."""
    own = colors(comparison.labels)
    return {label: Line(label, own[label]) for label in labels if comparison.means(label, tasks)}


def aggregate(comparison: Comparison, family: str, name: str, title: str) -> Illustration | None:
    """Raw and normalised aggregate over the tasks that all methods have (Figures 2 and 4a); None for no such task."""
    lines = legend(comparison, comparison.tasks(family), comparison.main)
    tasks = comparison.tasks(family, list(lines))
    panels = aggregate_panels(comparison, tasks, lines)
    if not panels:
        return None
    caption = (
        f"Mean over {counts(len(tasks), 'task')} of the mean over seeds, with a 95% bootstrap interval over seeds. "
        f"Normalised: each task by the last mean of {comparison.baseline}, so that {comparison.baseline} ends at 1."
    )
    ends = {comparison.ends[task] for task in tasks}
    if len(ends) > 1:
        caption += f" Drawn to {min(ends):,.0f} env steps, where the shortest task ends."
    return Illustration(name, title, caption, draw(panels, list(lines.values()), columns=2))


def aggregate_panels(comparison: Comparison, tasks: Sequence[Task], lines: Mapping[str, Line]) -> list[Panel]:
    """The raw aggregate, and the normalised one where the baseline is among the lines."""
    panels = []
    for normalise in (False, True) if comparison.baseline in lines else (False,):
        found = aggregate_curves(comparison, tasks, list(lines), normalise)
        if found:
            title = "normalised aggregate" if normalise else "raw aggregate"
            y = "share of baseline" if normalise else "return"
            panels.append(curves(title, {lines[label]: found[label] for label in lines}, y=y))
    return panels


def by_task(
    comparison: Comparison, tasks: Sequence[Task], name: str, title: str, labels: Sequence[str] = ()
) -> Illustration | None:
    """A panel of evaluation returns per task (Figures 3, 4, 6, 7 and 8); None for no task."""
    lines = legend(comparison, tasks, labels or comparison.main)
    if not tasks or not lines:
        return None
    panels = []
    for task in tasks:
        own = {lines[label]: task_curve(comparison, task, label) for label in comparison.on(task, list(lines))}
        panels.append(curves(task.title.replace(", ", "\n"), own, about=_about(task, own)))
    caption = "Mean evaluation return over seeds; the band is one standard deviation to either side."
    return Illustration(name, title, caption, draw(panels, list(lines.values())))


def _about(task: Task, found: Mapping[Line, Curve]) -> str:
    ends = [
        f"{line.label} ends at {curve.mean[-1]:.0f} ({counts(curve.seeds, 'seed')})" for line, curve in found.items()
    ]
    return f"{task}: evaluation return over env steps; {', '.join(ends)}"


def beside_published(comparison: Comparison, observations: str) -> Illustration | None:
    """Training returns, with what DreamerV3's authors published where they did; None without any training return."""
    theirs = published.curves(observations)
    tasks = [task for task in comparison.tasks(observations) if task.name in theirs]
    own = colors(comparison.labels)
    lines = {label: Line(f"{label}, training episodes", own[label]) for label in comparison.main}
    grey = Line("published DreamerV3, training episodes", PUBLISHED, dashed=True)
    panels, used = [], {}
    for task in tasks:
        found: dict[Line, Curve] = {}
        for label in comparison.on(task):
            episodes = list(comparison.cells[task, label].episodes.values())
            if episodes:
                found[lines[label]] = used[label] = mean_curve(binned(episodes))
        if found:
            end = max(curve.steps[-1] for curve in found.values())
            panels.append(curves(task.name, {**found, grey: mean_curve(theirs[task.name])}, end=float(end)))
    if not panels:
        return None
    caption = (
        "Returns of training episodes (not of evaluations), averaged over bins of env steps; mean and standard "
        f"deviation over seeds. Published: {published.SOURCES[observations]}; those curves end at "
        f"{max(one.steps[-1] for seeds in theirs.values() for one in seeds):,.0f} env steps."
    )
    named = [line for label, line in lines.items() if label in used]
    title = "Training returns beside published ones"
    return Illustration(f"published-{observations}", title, caption, draw(panels, [*named, grey]))


def statistics_figure(comparison: Comparison, family: str) -> Illustration | None:
    """Intervals of the statistics, and performance profiles; None for no common task."""
    lines = legend(comparison, comparison.tasks(family), comparison.main)
    scale = scales(comparison, comparison.tasks(family, list(lines)))
    if not scale:
        return None
    own = {lines[label]: normalised(comparison, label, scale) for label in lines}
    panels = [_interval_panel(name, statistic, own) for name, statistic in statistics.NAMED.items()]
    panels.append(_profile_panel(own))
    caption = (
        "Points: the statistic, lines: its 95% stratified bootstrap interval over seeds. Profile: the share of runs "
        "above a score, with its 95% interval. Scores are returns divided by 1000 on DeepMind Control, by the mean "
        "score of the baseline elsewhere."
    )
    picture = draw(panels, list(lines.values()))
    return Illustration(f"statistics-{family}", f"Intervals: {FAMILIES[family]}", caption, picture)


def _interval_panel(name: str, statistic: statistics.Statistic, own: Mapping[Line, statistics.Scores]) -> Panel:
    found = {line: statistics.interval(statistic, scores) for line, scores in own.items()}

    def paint(ax: Axes) -> None:
        for row, (line, interval) in enumerate(found.items()):
            ax.plot([interval.low, interval.high], [-row, -row], color=line.color, linewidth=5, alpha=0.35)
            ax.plot(interval.value, -row, "o", color=line.color, markersize=5)
        ax.set_ylim(-len(found) + 0.4, 0.6)
        ax.set_yticks([])
        ax.margins(x=0.15)
        ax.set_xlabel("lower is better" if name == "optimality gap" else "higher is better", fontsize=7.5)
        ax.grid(alpha=0.25, axis="x", linewidth=0.6)

    told = "; ".join(f"{line.label} {i.value:.3f} ({i.low:.3f} to {i.high:.3f})" for line, i in found.items())
    return Panel(name, paint, f"{name}: {told}")


def _profile_panel(own: Mapping[Line, statistics.Scores]) -> Panel:
    profile = partial(statistics.profile, thresholds=THRESHOLDS.tolist())
    found = {
        line: (profile(scores), statistics.bounds(statistics.distribution(profile, scores, resamples=1000)))
        for line, scores in own.items()
    }

    def paint(ax: Axes) -> None:
        for line, (share, (low, high)) in found.items():
            ax.fill_between(THRESHOLDS, low, high, color=line.color, alpha=0.15, linewidth=0)
            ax.plot(THRESHOLDS, share, color=line.color, linewidth=1.5)
        ax.set_xlim(0, 1)
        ax.set_ylim(0, 1.02)
        ax.set_xlabel("normalised score τ", fontsize=7.5)
        ax.set_ylabel("share of runs above τ", fontsize=7.5)
        ax.grid(alpha=0.25, linewidth=0.6)

    return Panel("performance profile", paint, "share of runs above each normalised score")


PENALTY = ("penalty.posterior", "penalty.prior", "penalty.rho", "penalty.schedule")
ABLATIONS = (
    (
        "ρ, with λ posterior 0.5",
        "penalty.rho",
        {"penalty.posterior": 0.5, "penalty.prior": 0.0, "penalty.schedule": "sqrt"},
    ),
    (
        "ρ, with λ prior 0.5",
        "penalty.rho",
        {"penalty.posterior": 0.0, "penalty.prior": 0.5, "penalty.schedule": "sqrt"},
    ),
    ("λ of posterior and prior", "", {"penalty.rho": 0.5, "penalty.schedule": "sqrt"}),
    ("Decay of λ", "penalty.schedule", {"penalty.posterior": 0.5, "penalty.prior": 0.0, "penalty.rho": 0.5}),
)
"""Figure 5: the panels, the setting that each varies (the coefficients where none is named), and what it holds."""


def ablations(comparison: Comparison) -> list[Illustration]:
    """Figure 5a to d, those of which two or more variants were run: aggregates on the tasks that all have."""
    found = []
    for letter, (title, varied, fixed) in zip("abcd", ABLATIONS, strict=True):
        variants = _variants(comparison, varied, fixed)
        if len(variants) < 2:
            continue
        names = {label: " ".join(_told(varied, run)) for label, run in variants.items()}
        if comparison.baseline in comparison.labels:
            names = {comparison.baseline: comparison.baseline, **names}
        tasks = comparison.tasks("proprio", list(names))
        own = colors(list(names))
        lines = {label: Line(name, own[label]) for label, name in names.items()}
        panels = aggregate_panels(comparison, tasks, lines)
        if not panels:
            continue
        caption = f"Mean over {counts(len(tasks), 'task')} with a 95% bootstrap interval over seeds."
        picture = draw(panels, list(lines.values()), columns=2)
        found.append(Illustration(f"figure-5{letter}", f"Figure 5{letter}. {title}", caption, picture))
    return found


def variants(comparison: Comparison, method: str, family: str) -> Illustration | None:
    """Learning curves of a method's variants per task; None where no task has two of them, or there are too many."""
    labels = comparison.variants[method]
    if len(labels) > LEGIBLE:
        return None
    title = f"Curves of the variants of {method}: {FAMILIES[family]}"
    return by_task(comparison, comparison.varied(method, family), f"variants-{method}-{family}", title, labels)


def _variants(comparison: Comparison, varied: str, fixed: Mapping[str, object]) -> dict[str, Run]:
    """The labels, each with one of its runs, that have the fixed settings and differ in nothing but the varied ones."""
    free = {varied} if varied else {"penalty.posterior", "penalty.prior"}
    groups: dict[str, dict[str, Run]] = {}
    for run in comparison.runs:
        if run.method == comparison.baseline or run.task.family != "proprio":
            continue
        if any(run.settings.get(path) != v for path, v in fixed.items()):
            continue
        label = next(
            (
                name
                for name in comparison.on(run.task, comparison.labels)
                if run in comparison.cells[run.task, name].runs
            ),
            None,
        )
        if label is not None:
            rest = {path: value for path, value in run.settings.items() if path not in free and path != "env.repeat"}
            groups.setdefault(repr(sorted(rest.items())), {}).setdefault(label, run)
    chosen = max(groups.values(), key=len, default={})
    return dict(sorted(chosen.items(), key=lambda pair: _told(varied, pair[1])))


def _told(varied: str, run: Run) -> tuple[str, ...]:
    """What a panel says of a variant: the settings that it varies."""
    if varied:
        value = run.settings[varied]
        return (f"{varied.rpartition('.')[2]} {value:g}" if isinstance(value, float) else str(value),)
    return (f"posterior {run.settings['penalty.posterior']:g},", f"prior {run.settings['penalty.prior']:g}")


def paper_figures(comparison: Comparison) -> list[Illustration]:
    """Figures 2, 3, 4, 6, 7 and 8 of paper 1, those of which there are runs; tasks of our own after Figure 6."""
    proprio = comparison.tasks("proprio")
    quadruped = [task for task in proprio if task.name in QUADRUPED]
    others = comparison.tasks("other")
    both = comparison.tasks("both")
    pixels = [task for task in comparison.tasks("pixels") if comparison.on(task, _cold(comparison))]
    cold, warm = _cold(comparison), [label for label in comparison.labels if "warm_start" in label]
    warmed = [task for task in comparison.tasks() if comparison.on(task, warm)]
    found = [
        aggregate(comparison, "proprio", "figure-2", "Figure 2. Aggregate, proprioception"),
        by_task(comparison, quadruped, "figure-3", "Figure 3. Quadruped"),
        aggregate(comparison, "pixels", "figure-4", "Figure 4. Aggregate, pixels"),
        by_task(
            comparison,
            [task for task in proprio if task not in quadruped],
            "figure-6",
            "Figure 6. Tasks, proprioception",
        ),
        by_task(comparison, others, "other-tasks", "Other tasks"),
        by_task(comparison, pixels, "figure-7", "Figure 7. Tasks, pixels", cold),
        by_task(comparison, both, "both", "Tasks, pixels and proprioception"),
        by_task(comparison, warmed, "figure-8", "Figure 8. Encoder and decoder warm-started", warm),
    ]
    return [illustration for illustration in found if illustration is not None]


def _cold(comparison: Comparison) -> list[str]:
    return [label for label in comparison.main if "warm_start" not in label]
