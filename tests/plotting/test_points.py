"""What `draw_points` draws of several numbers."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from sobolev.plotting.points import draw_points, mean_and_deviation, median_and_range

NUMBERS = np.array([1.0, 2.0, 9.0])


def test_summaries_by_hand():
    assert mean_and_deviation(NUMBERS) == pytest.approx((4.0, 4.0 - np.sqrt(38 / 3), 4.0 + np.sqrt(38 / 3)))
    assert median_and_range(NUMBERS) == (2.0, 1.0, 9.0)


@pytest.mark.parametrize("summarize", [mean_and_deviation, median_and_range])
def test_bars_end_where_the_summary_says(summarize):
    ax = Figure().subplots()
    draw_points(ax, [1, 2], {"a": {1: NUMBERS, 2: 2 * NUMBERS}}, {"a": "#000000"}, summarize)
    (bars,) = ax.containers
    middles, _, (segments,) = bars
    ends = [np.asarray(segment)[:, 1] for segment in segments.get_segments()]
    wanted = [summarize(NUMBERS), summarize(2 * NUMBERS)]
    np.testing.assert_allclose(np.asarray(middles.get_ydata()), [summary.middle for summary in wanted])
    np.testing.assert_allclose(ends, [[summary.low, summary.high] for summary in wanted])
    points = [np.asarray(line.get_ydata()) for line in ax.lines if line.get_marker() == "."]
    np.testing.assert_allclose(points, [NUMBERS, 2 * NUMBERS])
