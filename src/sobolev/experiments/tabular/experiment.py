"""`sobolev study tabular`."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from sobolev.experiments import checks
from sobolev.experiments.api import Experiment, Results, Say
from sobolev.experiments.tabular import estimates, figures, identities
from sobolev.experiments.tabular.estimates import TabularConfig

ABOUT = """Measure the total-variation error of the smoothed estimate of a finite MDP (arXiv 2605.23089, Section 3.1).

Shows it over the number of transitions, for several strengths (lambda) and neighbourhoods (epsilon), on smooth MDPs and
one with a jump, as mean and 95% interval over seeds. Also compares both sides of equations (3) and (4). Writes tabular
and identities, each as .png, .pdf and .json (all numbers, and the command), into --out."""


def check(config: TabularConfig) -> None:
    """Raises UserError for invalid settings."""
    checks.seeds(config.seeds, fewest=2)
    checks.at_least(config, side=4, plane=2, actions=1)
    checks.increasing("numbers", config.numbers, "100 1000 10000")
    checks.positive(config, "lambdas", "epsilons")


def run(config: TabularConfig, say: Say) -> Results:
    """Returns `cases` (see `estimates.measure`) and the fields of `identities.measure`."""
    return {"tabular": {"cases": estimates.measure(config, say)}, "identities": identities.measure()}


def draw(config: TabularConfig, results: Results) -> dict[str, Figure]:
    """Draws the errors of the estimates, and those of the two identities."""
    note = f"mean and 95% interval over {len(config.seeds)} seeds; {config.actions} actions"
    errors = figures.draw_errors(results["tabular"]["cases"], note)
    return {"tabular": errors, "identities": figures.draw_identities(results["identities"])}


def summary(config: TabularConfig, results: Results) -> Sequence[str]:
    """Returns a sentence per case and per identity."""
    return [*estimates.sentences(results["tabular"]["cases"]), *identities.sentences(results["identities"])]


EXPERIMENT = Experiment(ABOUT, TabularConfig(), run, draw, summary, check)
