"""Statistics of few seeds on many tasks (Agarwal et al., 2021), with stratified bootstrap intervals.

If all tasks have the same number of seeds, the interquartile mean, optimality gap, probability of improvement and
performance profiles equal those of the rliable library. Otherwise tasks still have equal weight, since the weight of a
score is 1 / (tasks × seeds of its task).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

RESAMPLES = 5000
COVERAGE = 0.95

Values = Float[np.ndarray, "*resamples tasks seeds"]
Value = Float[np.ndarray, "*resamples"] | np.floating
"""A statistic of each resample, or of the scores themselves."""


class Scores(NamedTuple):
    """Final scores of a method, normalised; weights sum to one, and are 0 where a task has fewer seeds than others."""

    values: Values
    weights: Values


class Interval(NamedTuple):
    """A statistic and its 95% percentile interval."""

    value: float
    low: float
    high: float


Statistic = Callable[..., Any]
"""A function of one or more `Scores`, which keeps their leading axes."""


def weighted(scores: Sequence[Sequence[float]]) -> Scores:
    """Creates scores from a list of the seeds' scores per task. Raises ValueError if a task has none."""
    if not scores or not all(len(seeds) for seeds in scores):
        raise ValueError("every task needs a score")
    values = np.zeros((len(scores), max(map(len, scores))))
    weights = np.zeros_like(values)
    for task, seeds in enumerate(scores):
        values[task, : len(seeds)] = seeds
        weights[task, : len(seeds)] = 1 / (len(scores) * len(seeds))
    return Scores(values, weights)


def mean(scores: Scores) -> Value:
    """Returns the mean over tasks of the mean over seeds."""
    return (scores.values * scores.weights).sum((-2, -1))


def interquartile_mean(scores: Scores) -> Value:
    """Returns the mean of the scores between the quartiles, over all tasks and seeds together.

    Of N scores, the N // 4 smallest and largest are left out; with unequal weights, that share of the weight.
    """
    values, weights = (part.reshape(*part.shape[:-2], -1) for part in scores)
    order = np.argsort(values, -1)
    values, weights = np.take_along_axis(values, order, -1), np.take_along_axis(weights, order, -1)
    number = np.count_nonzero(weights, -1)[..., None]
    cut = number // 4 / number
    upper = np.cumsum(weights, -1)
    kept = np.clip(np.minimum(upper, 1 - cut) - np.maximum(upper - weights, cut), 0, None)
    return (values * kept).sum(-1) / kept.sum(-1)


def optimality_gap(scores: Scores, target: float = 1.0) -> Value:
    """Returns the mean difference of the scores to the target; scores above the target count as the target."""
    return target - mean(Scores(np.minimum(scores.values, target), scores.weights))


def probability_of_improvement(ours: Scores, theirs: Scores) -> Value:
    """Returns the mean over tasks of the probability that a seed of ours beats one of theirs; ties count half.

    The tasks must be the same, in the same order. The numbers of seeds may differ.
    """
    a, b = ours.values[..., :, None], theirs.values[..., None, :]
    wins = (a > b) + 0.5 * (a == b)
    tasks = ours.values.shape[-2]
    return tasks * (wins * ours.weights[..., :, None] * theirs.weights[..., None, :]).sum((-3, -2, -1))


def normalised_gain(ours: Scores, theirs: Scores) -> Value:
    """Returns the aggregate of arXiv 2605.23089: the mean over tasks of the ratio of our mean over seeds to theirs,
    minus 1.

    The tasks must be the same, in the same order. Infinite if their mean is not above 0 on a task.
    """
    a, b = ours.values.shape[-2] * _task_sums(ours), ours.values.shape[-2] * _task_sums(theirs)
    ratios = np.divide(a, b, out=np.full(np.broadcast_shapes(a.shape, b.shape), np.inf), where=b > 0)
    return ratios.mean(-1) - 1


def _task_sums(scores: Scores) -> Float[np.ndarray, "*resamples tasks"]:
    return (scores.values * scores.weights).sum(-1)


NAMED: dict[str, Statistic] = {
    "interquartile mean": interquartile_mean,
    "mean": mean,
    "optimality gap": optimality_gap,
}
"""The statistics of one method, by their names in a report."""


def profile(scores: Scores, thresholds: Sequence[float]) -> Float[np.ndarray, "*resamples thresholds"]:
    """Returns the performance profile: the share of runs that score above each threshold."""
    return np.stack([mean(Scores((scores.values > t).astype(float), scores.weights)) for t in thresholds], -1)


def resample(scores: Scores, tasks: Int[np.ndarray, "resamples tasks"], rng: np.random.Generator) -> Scores:
    """Returns bootstrap resamples of the given tasks. For each task it draws as many seeds as there are, with
    replacement."""
    numbers = np.count_nonzero(scores.weights, -1)[tasks][..., None]
    chosen = (rng.random((*tasks.shape, scores.values.shape[-1])) * numbers).astype(int)
    return Scores(scores.values[tasks[..., None], chosen], scores.weights[tasks])


def distribution(
    statistic: Statistic, *scores: Scores, resamples: int = RESAMPLES, over_tasks: bool = False, seed: int = 0
) -> np.ndarray:
    """Returns the statistic of every bootstrap resample, [resamples, …].

    The bootstrap is stratified: seeds are resampled within their task, independently for each of several `scores`. With
    `over_tasks` the tasks are resampled as well, the same ones for all `scores`; this includes the uncertainty from the
    choice of tasks.
    """
    rng, number = np.random.default_rng(seed), len(scores[0].values)
    tasks = np.broadcast_to(np.arange(number), (resamples, number))
    if over_tasks:
        tasks = rng.integers(number, size=(resamples, number))
    return statistic(*(resample(each, tasks, rng) for each in scores))


def interval(
    statistic: Statistic, *scores: Scores, resamples: int = RESAMPLES, over_tasks: bool = False, seed: int = 0
) -> Interval:
    """Returns a statistic with its 95% percentile interval, from the bootstrap `distribution`."""
    drawn = distribution(statistic, *scores, resamples=resamples, over_tasks=over_tasks, seed=seed)
    return Interval(float(statistic(*scores)), *map(float, bounds(drawn)))


def bounds(resamples: Float[np.ndarray, "resamples *rest"]) -> Float[np.ndarray, "2 *rest"]:
    """Returns the ends of the 95% percentile interval of a `distribution`; between infinities an end is infinite."""
    with np.errstate(invalid="ignore"):
        ends = np.quantile(resamples, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2], axis=0)
    return np.where(np.isnan(ends) & np.isposinf(resamples).any(0), np.inf, ends)


class Paired(NamedTuple):
    """Differences between two methods with the same seeds."""

    differences: Float[np.ndarray, " pairs"]
    """ours minus theirs, for each seed that both have"""
    student: Interval | None
    """their mean with Student's 95% interval; None for a single pair"""
    bootstrap: Interval
    """their mean with its 95% percentile bootstrap interval, pairs drawn with replacement"""


def paired(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Paired | None:
    """Compares the numbers of two methods by seed; None if they have no seed in common."""
    differences = np.array([ours[seed] - theirs[seed] for seed in ours if seed in theirs])
    if not differences.size:
        return None
    student = student_interval(differences) if differences.size > 1 else None
    return Paired(differences, student, interval(mean, weighted([differences.tolist()])))


def student_interval(values: Float[np.ndarray, " values"]) -> Interval:
    """Returns the mean of two or more values with its 95% interval by Student's t."""
    from scipy.stats import t

    center, number = float(values.mean()), len(values)
    half = float(t.ppf((1 + COVERAGE) / 2, number - 1) * values.std(ddof=1) / np.sqrt(number))
    return Interval(center, center - half, center + half)


def mean_over_tasks(
    returns: Sequence[Float[np.ndarray, "_ points"]], resamples: int = 1000, seed: int = 0
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """Returns the mean over tasks of the mean over seeds at each point of a curve, and both ends of its 95% interval.

    The interval is that of `distribution` over seeds. A resample is represented by how often it draws each seed.
    """
    rng, mean = np.random.default_rng(seed), np.mean([task.mean(0) for task in returns], axis=0)
    drawn = [rng.multinomial(len(task), np.full(len(task), 1 / len(task)), resamples) / len(task) for task in returns]
    low, high = bounds(np.concatenate(drawn, 1) @ np.concatenate(list(returns)) / len(returns))
    return mean, low, high
