"""What a seed is judged by, against calculations by hand."""

import numpy as np
import pytest

from sobolev.reports.analysis.measures import AREA, FINAL, MEASURES, Cell, Span, final_episodes
from sobolev.reports.results.runs import Final
from sobolev.reports.results.scores import Series


def cell(*seeds: tuple[list[float], list[float]], finals: dict[int, Final] | None = None) -> Cell:
    series = {seed: Series(np.array(xs, float), np.array(ys, float)) for seed, (xs, ys) in enumerate(seeds)}
    return Cell((), series, {}, finals or {})


def area(xs: list[float], ys: list[float], start: float, end: float) -> float:
    return AREA.of(cell((xs, ys)), Span(start, end))[0]


def test_the_area_is_the_mean_height_of_the_curve() -> None:
    # trapezoids 10 × (0 + 4) / 2 = 20 and 30 × (4 + 8) / 2 = 180, over 40 steps
    assert area([0, 10, 40], [0, 4, 8], 0, 40) == pytest.approx(200 / 40)
    # of a constant it is the constant, whatever the grid
    assert area([0, 1, 2, 100], [7, 7, 7, 7], 0, 100) == pytest.approx(7)


def test_the_area_ends_where_the_span_does() -> None:
    # up to 20, where the curve is at 4 + 10 × 4 / 30 = 16 / 3: 20 and 10 × (4 + 16 / 3) / 2, over 20 steps
    assert area([0, 10, 40], [0, 4, 8], 0, 20) == pytest.approx((20 + 10 * (4 + 16 / 3) / 2) / 20)
    # from 5, where it is at 2: 5 × (2 + 4) / 2 and 180, over 35 steps
    assert area([0, 10, 40], [0, 4, 8], 5, 40) == pytest.approx((15 + 180) / 35)
    assert area([0, 10], [2, 6], 10, 10) == 6


def test_of_two_equal_ends_the_earlier_rise_has_the_larger_area() -> None:
    early, late = ([0.0, 10.0, 100.0], [0.0, 90.0, 100.0]), ([0.0, 90.0, 100.0], [0.0, 10.0, 100.0])
    values, span = cell(early, late), Span(0.0, 100.0)
    assert FINAL.of(values, span) == {0: 100, 1: 100}
    # 10 × 45 + 90 × 95 against 90 × 5 + 10 × 55
    assert AREA.of(values, span) == {0: pytest.approx(90.0), 1: pytest.approx(10.0)}


def test_the_final_return_is_that_of_the_evaluation_after_training_where_all_seeds_have_one_there() -> None:
    seeds = [([0.0, 100.0], [0.0, 1.0]), ([0.0, 100.0], [0.0, 2.0])]
    finals = {0: Final(10.0, 20, 101), 1: Final(20.0, 30, 100)}
    assert FINAL.of(cell(*seeds, finals=finals), Span(0.0, 100.0)) == {0: 10, 1: 20}
    assert final_episodes(cell(*seeds, finals=finals), Span(0.0, 100.0)) == 20
    for fewer in ({0: finals[0]}, {0: finals[0], 1: finals[1]._replace(env_steps=90)}):
        assert FINAL.of(cell(*seeds, finals=fewer), Span(0.0, 100.0)) == {0: 1, 1: 2}
        assert final_episodes(cell(*seeds, finals=fewer), Span(0.0, 100.0)) is None
    assert FINAL.of(cell(*seeds), Span(0.0, 50.0)) == {0: 0, 1: 0}


@pytest.mark.parametrize("measure", MEASURES)
def test_every_measure_gives_a_number_for_each_seed_in_their_order(measure) -> None:
    seeds = [([0.0, 100.0], [0.0, float(n)]) for n in range(3)]
    assert list(measure.of(cell(*seeds), Span(0.0, 100.0))) == [0, 1, 2]
