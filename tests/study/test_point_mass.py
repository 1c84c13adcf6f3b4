"""The study of the point mass: its cells differ in the method alone, its controller is right, and one tiny pass."""

import json
from pathlib import Path

import numpy as np
import pytest

from sobolev.commands.study import main
from sobolev.config import resolved
from sobolev.config.codec import settings
from sobolev.errors import UserError
from sobolev.study import point_mass as study
from tests import tiny

CONFIG = study.PointMassConfig()
SHARED = (
    "steps seeds batch_size updates_per_step env.number actor.network.units critic.network.units critic.discount "
    "critic.rate actor.delay exploration.noise exploration.random_steps optimizer.actor optimizer.critic"
)


def test_cells_share_networks_batch_and_updates():
    cells = [resolved(study.cell(CONFIG, method, 4), "cpu") for method in study.VARIANTS]
    for path in SHARED.split():
        assert len({settings(cell)[path][1] for cell in cells}) == 1, path
    assert {settings(cell)["batch_size"][1] for cell in cells} == {64}
    kinds = {name: settings(cell).get("discrepancy.kind") for name, cell in zip(study.VARIANTS, cells, strict=True)}
    assert {name: kind[1] for name, kind in kinds.items() if kind} == {
        "dsdpg": "msmmd",
        "dsdpg-mmd": "mmd",
        "mmd": "mmd",
        "iqn": "quantile",
    }


def test_the_controller_goes_to_the_goal():
    """Its returns cluster by the worth of the goal, and one location leaves nothing to chance but the time of it."""
    found = study.reference(3, 60)
    returns, goals = np.array(found["returns"]), np.array(found["goals"])
    means = [returns[goals == k].mean() for k in range(3)]
    assert means[0] > means[1] > means[2] > 15
    ends = np.array([path[-1] for path in found["paths"]])
    assert np.hypot(*(ends[goals == 0] - [1, 0]).T).max() < 0.3


def test_the_mean_over_training_weighs_by_steps():
    record = {"method": "td3", "locations": 2, "returns": [9.0, 4.0]}
    record["curve"] = {"steps": [0, 10, 40], "returns": [[0.0, 2.0, 2.0], [4.0, 4.0, 4.0]]}
    assert study.over_training(record) == [1.75, 4.0]
    final, training = "\n".join(study.lines([record], [{"locations": 2, "returns": [8.0]}])).split("\n\n")
    assert "6.5 ± 2.5" in final and "2.9 ± 1.1" in training and "8.0" in final and "controller" in training


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--locations 2 1", "--locations must increase"),
        ("--locations 0 1", "takes 1 to 64"),
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
    told = capsys.readouterr().out
    assert "N = 1" in told and "controller" in told and "point-mass.png" in told
    found = json.loads((tmp_path / "point-mass.json").read_text())
    assert [(record["method"], record["locations"]) for record in found["records"]] == [("td3", 1), ("td3", 3)]
    assert all(len(record["returns"]) == 2 for record in found["records"])
    assert (tmp_path / "point-mass.png").stat().st_size > 10_000 and (tmp_path / "point-mass.pdf").exists()
    before = (tmp_path / "runs" / "td3-1" / "metrics.jsonl").read_text()
    assert main(["point-mass", *words.split()]) == 0  # what is complete is not made again
    assert (tmp_path / "runs" / "td3-1" / "metrics.jsonl").read_text() == before
    assert json.loads((tmp_path / "point-mass.json").read_text())["records"] == found["records"]
