"""The study of the point mass: its runs differ in the method alone, its controller is right, and one tiny pass."""

import json
from pathlib import Path

import numpy as np
import pytest

from sobolev.cli.study import main
from sobolev.config import resolved
from sobolev.config.codec import settings
from sobolev.errors import UserError
from sobolev.experiments.point_mass import experiment, figures, runs
from sobolev.experiments.point_mass.controller import reference
from sobolev.plotting.colors import COLORS
from tests import tiny
from tests.experiments import drawn

CONFIG = runs.PointMassConfig()
SHARED = (
    "steps seeds batch_size updates_per_step env.number actor.network.units critic.network.units critic.discount "
    "critic.rate actor.delay exploration.noise exploration.random_steps optimizer.actor optimizer.critic"
)


def test_runs_share_networks_batch_and_updates():
    configs = [resolved(runs.train_config(CONFIG, method, 4), "cpu") for method in runs.VARIANTS]
    for path in SHARED.split():
        assert len({settings(config)[path][1] for config in configs}) == 1, path
    assert {settings(config)["batch_size"][1] for config in configs} == {64}
    kinds = {
        name: settings(config).get("discrepancy.kind") for name, config in zip(runs.VARIANTS, configs, strict=True)
    }
    assert {name: kind[1] for name, kind in kinds.items() if kind} == {
        "dsdpg": "msmmd",
        "dsdpg-mmd": "mmd",
        "mmd": "mmd",
        "iqn": "quantile",
    }


def test_the_controller_goes_to_the_goal():
    """Its returns cluster by the worth of the goal, and one location leaves nothing to chance but the time of it."""
    found = reference(3, 60)
    returns, goals = np.array(found["returns"]), np.array(found["goals"])
    means = [returns[goals == k].mean() for k in range(3)]
    assert means[0] > means[1] > means[2] > 15
    ends = np.array([path[-1] for path in found["paths"]])
    assert np.hypot(*(ends[goals == 0] - [1, 0]).T).max() < 0.3


def test_the_mean_over_training_weighs_by_steps():
    record = {"method": "td3", "locations": 2, "returns": [9.0, 4.0]}
    record["curve"] = {"steps": [0, 10, 40], "returns": [[0.0, 2.0, 2.0], [4.0, 4.0, 4.0]]}
    assert runs.returns_while_training(record) == [1.75, 4.0]
    results = {"point-mass": {"records": [record], "controller": [{"locations": 2, "returns": [8.0]}]}}
    final, training = "\n".join(experiment.summary(CONFIG, results)).split("\n\n")
    assert "6.5 ± 2.5" in final and "2.9 ± 1.1" in training and "8.0" in final and "controller" in training


def test_the_figure_shows_returns_over_the_controllers():
    curve = {"steps": [0, 10], "returns": [[0.0, 4.0], [2.0, 4.0]]}
    record = {"method": "mage", "locations": 2, "returns": [9.0, 3.0], "curve": curve}
    figure = figures.draw([record], [{"locations": 2, "returns": [8.0, 4.0]}], "a note")
    place, distributions, during, end = figure.axes
    assert place.get_title() == "toy:point-mass-2" and len(place.lines) == 2 + figures.SHOWN
    (filled,) = distributions.collections
    assert np.asarray(filled.get_paths()[0].vertices)[:, 1].max() == pytest.approx(0.85)
    for ax, seeds in ((during, [2 / 6, 3 / 6]), (end, [9 / 6, 3 / 6])):
        points = ax.lines[-2]
        assert points.get_color() == COLORS["mage"]
        np.testing.assert_allclose(drawn.y(points), seeds)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--locations 2 1", "--locations must increase"),
        ("--locations 0 1", "from 1 on"),
        ("--locations 1 65", "takes 1 to 64"),
        ("--methods dsdpg tr3", "unknown method 'tr3': did you mean td3"),
        ("--steps 0", "--steps is 0"),
        ("--episodes 0", "--episodes is 0"),
    ],
)
def test_mistakes(words: str, message: str):
    with pytest.raises(UserError, match=message):
        main(["point-mass", *words.split()])


def test_a_tiny_pass_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = f"--out {tmp_path} --locations 1 3 --methods td3 --seeds 0 1 --steps 560 --updates-per-step 1 --episodes 2"
    with tiny.quickly():
        assert main(["point-mass", *words.split()]) == 0
    printed = capsys.readouterr().out
    assert "N = 1" in printed and "controller" in printed and "point-mass.png" in printed
    written = json.loads((tmp_path / "point-mass.json").read_text())
    assert [(record["method"], record["locations"]) for record in written["records"]] == [("td3", 1), ("td3", 3)]
    assert all(len(record["returns"]) == 2 for record in written["records"])
    assert [sorted(record) for record in written["controller"]] == [["goals", "locations", "returns"]] * 2
    assert {path.name for path in tmp_path.iterdir()} == {"runs", *(f"point-mass.{k}" for k in ("json", "png", "pdf"))}
    before = (tmp_path / "runs" / "td3-1" / "metrics.jsonl").read_text()
    assert main(["point-mass", *words.split()]) == 0  # what is complete is not made again
    assert (tmp_path / "runs" / "td3-1" / "metrics.jsonl").read_text() == before
    assert json.loads((tmp_path / "point-mass.json").read_text())["records"] == written["records"]
