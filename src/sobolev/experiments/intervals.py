"""95% intervals of a mean over seeds."""

import numpy as np
from jaxtyping import Float

NORMAL = 1.959964
"""The 97.5% quantile of the normal distribution."""


def half_width(values: Float[np.ndarray, "seeds *rest"], quantile: float) -> np.ndarray | np.floating:
    """Half the width of the interval of the mean over the first axis: quantile × standard error.

    `quantile` is `NORMAL` where there are many seeds, `student(len(values))` where there are few.
    """
    return quantile * values.std(0, ddof=1) / np.sqrt(len(values))


def student(number: int) -> float:
    """The 97.5% quantile of Student's t for the mean of so many values, two at least."""
    from scipy import stats

    return float(stats.t.ppf(0.975, number - 1))
