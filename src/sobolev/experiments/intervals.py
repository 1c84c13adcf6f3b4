"""95% intervals of a mean over seeds."""

import numpy as np
from jaxtyping import Float

NORMAL = 1.959964
"""The 97.5% quantile of the normal distribution."""


def half_width(values: Float[np.ndarray, "seeds *rest"], quantile: float) -> np.ndarray | np.floating:
    """Returns half the width of the interval of the mean over the first axis: quantile × standard error.

    `quantile` is `NORMAL` for many seeds, `student(len(values))` for few.
    """
    return quantile * values.std(0, ddof=1) / np.sqrt(len(values))


def student(number: int) -> float:
    """Returns the 97.5% quantile of Student's t for the mean of `number` values, at least two."""
    from scipy import stats

    return float(stats.t.ppf(0.975, number - 1))
