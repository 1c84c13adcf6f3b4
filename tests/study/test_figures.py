"""Figures of curves, where they are easy to get wrong."""

import json
from pathlib import Path

import pytest

from sobolev.study.figures import draw_run


@pytest.mark.parametrize("steps", [[0], [0, 5000]])
def test_a_run_of_one_evaluation_has_a_curve_too(steps: list[int], tmp_path: Path):
    """A range of no width would be a warning, which is an error here."""
    score = {"task": "dmc_walker_walk", "method": "gpld", "seed": 0, "xs": steps, "ys": [10.0 for _ in steps]}
    (tmp_path / "scores.json").write_text(json.dumps([score]))
    draw_run(tmp_path, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 1000
