"""Returns of training episodes, beside those published by DreamerV3's authors."""

from sobolev.plotting.colors import GREY, colors
from sobolev.plotting.panels import Curve, Line, curves, draw
from sobolev.reports.analysis.comparison import Comparison
from sobolev.reports.page.content import Illustration, Material
from sobolev.reports.results import published
from sobolev.reports.results.scores import binned, mean_curve


def beside_published(material: Material) -> list[Illustration]:
    """Returns a figure for every kind of observations with published returns, if those are to be shown."""
    kinds = published.FILES if material.with_published else ()
    figures = [of_observations(material.comparison, observations) for observations in kinds]
    return [figure for figure in figures if figure is not None]


def of_observations(comparison: Comparison, observations: str) -> Illustration | None:
    """Returns a figure of the training returns on the published tasks; None if there are none."""
    theirs = published.curves(observations)
    tasks = [task for task in comparison.tasks(observations) if task.name in theirs]
    own = colors(comparison.labels)
    lines = {label: Line(f"{label}, training episodes", own[label]) for label in comparison.main}
    grey = Line("published DreamerV3, training episodes", GREY, dashed=True)
    panels, used = [], {}
    for task in tasks:
        drawn: dict[Line, Curve] = {}
        for label in comparison.on(task):
            episodes = list(comparison.cells[task, label].episodes.values())
            if episodes:
                drawn[lines[label]] = used[label] = mean_curve(binned(episodes))
        if drawn:
            end = max(curve.steps[-1] for curve in drawn.values())
            panels.append(curves(task.name, {**drawn, grey: mean_curve(theirs[task.name])}, end=float(end)))
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
