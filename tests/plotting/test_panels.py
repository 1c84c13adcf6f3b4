"""Figures of curves, where they are easy to get wrong."""

import json
from pathlib import Path

import pytest

from sobolev.plotting.panels import Line, Panel, draw, draw_run


@pytest.mark.parametrize("steps", [[0], [0, 5000]])
def test_a_run_of_one_evaluation_has_a_curve_too(steps: list[int], tmp_path: Path):
    """A range of no width would be a warning, which is an error here."""
    score = {"task": "dmc_walker_walk", "method": "gpld", "seed": 0, "xs": steps, "ys": [10.0 for _ in steps]}
    (tmp_path / "scores.json").write_text(json.dumps([score]))
    draw_run(tmp_path, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 1000


def test_titles_of_two_lines_lie_within_their_own_panels():
    """Each panel is cut out for the page; in the whole it would stand on the panel above, or in the legend."""
    panels = [Panel(title, lambda ax: None) for title in ("one", "two\nlines", "three")]
    picture = draw(panels, [Line("a", "#000000")], columns=1)
    height = picture.pixels.shape[0]
    for ax, (left, top, right, bottom) in zip(picture.figure.axes, picture.boxes, strict=True):
        title = ax.title.get_window_extent()
        assert left <= title.x0 and title.x1 <= right
        assert bottom >= height - title.y0 and height - title.y1 >= top
