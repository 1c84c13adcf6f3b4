"""Figures of panels, where they are easy to get wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from sobolev.plotting.colors import COLORS
from sobolev.plotting.panels import Curve, Line, Panel, curves, draw
from sobolev.reports.figures.run_curve import draw_run


def share_of(color: str, pixels: np.ndarray) -> float:
    """The share of an image's pixels that have a colour, nearly."""
    away = np.abs(pixels[..., :3] / 255.0 - to_rgb(color)).max(-1)
    return float((away < 0.05).mean())


@pytest.mark.parametrize(("steps", "where"), [([0], 0.0), ([0, 5000], 0.7)])
def test_a_run_of_one_evaluation_has_a_curve_too(steps: list[int], where: float, tmp_path: Path) -> None:
    """A point, or a line over the whole width, in the method's colour. A range of no width would be a warning."""
    score = {"task": "dmc_walker_walk", "method": "gpld", "seed": 0, "xs": steps, "ys": [10.0 for _ in steps]}
    (tmp_path / "scores.json").write_text(json.dumps([score]))
    draw_run(tmp_path, tmp_path / "curve.png")
    with Image.open(tmp_path / "curve.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    below = pixels[pixels.shape[0] // 5 :]  # the legend has the colour too
    colored = np.abs(below / 255.0 - to_rgb(COLORS["gpld"])).max(-1) < 0.05
    columns = np.flatnonzero(colored.any(0))
    assert columns.size and (columns[-1] - columns[0]) / pixels.shape[1] >= where


def test_a_panel_shows_its_curves_within_their_end() -> None:
    steps = np.array([0.0, 50.0, 100.0])
    curve = Curve(steps, steps, steps - 1, steps + 1, seeds=3)
    lines = [Line("a", "#ff0000"), Line("b", "#0000ff", dashed=True)]
    picture = draw([curves("title", {lines[0]: curve, lines[1]: curve}, end=50.0)], lines)
    (ax,) = picture.figure.axes
    assert [line.get_xdata().tolist() for line in ax.lines] == [[0.0, 50.0]] * 2  # pyright: ignore
    assert [line.get_color() for line in ax.lines] == ["#ff0000", "#0000ff"]
    assert ax.get_xlim() == (0.0, 50.0) and ax.get_title() == "title"
    assert picture.panels[0].about == "title: return over env steps of a, b"


def test_a_panel_cut_out_is_that_part_of_the_whole(tmp_path: Path) -> None:
    """Each panel has a background of its own."""
    backgrounds = ["#ff0000", "#00ff00", "#0000ff"]
    panels = [Panel(name, lambda ax, color=name: ax.set_facecolor(color)) for name in backgrounds]
    picture = draw(panels, columns=2)
    for index, color in enumerate(backgrounds):
        (tmp_path / "panel.png").write_bytes(picture.png(index))
        with Image.open(tmp_path / "panel.png") as image:
            assert image.size == picture.size
            shares = {other: share_of(other, np.asarray(image.convert("RGB"))) for other in backgrounds}
        assert shares.pop(color) > 0.4 and set(shares.values()) == {0.0}


def test_titles_of_two_lines_lie_within_their_own_panels():
    """Each panel is cut out for the page; in the whole it would stand on the panel above, or in the legend."""
    panels = [Panel(title, lambda ax: None) for title in ("one", "two\nlines", "three")]
    picture = draw(panels, [Line("a", "#000000")], columns=1)
    height = picture.pixels.shape[0]
    for ax, (left, top, right, bottom) in zip(picture.figure.axes, picture.boxes, strict=True):
        title = ax.title.get_window_extent()
        assert left <= title.x0 and title.x1 <= right
        assert bottom >= height - title.y0 and height - title.y1 >= top
