"""Tables against a baseline, whatever it is: its variants, and the paper's numbers beside them."""

from pathlib import Path

import pytest

from sobolev.reports.analysis.compare import compare
from sobolev.reports.page.content import Material
from sobolev.reports.page.table import Table
from sobolev.reports.results.runs import find, load
from sobolev.reports.tables import cost, scores
from tests.reports import made_up


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The baseline and a slow variant of it, a method and variants of that."""
    root = tmp_path_factory.mktemp("runs")
    made_up.run(root / "base", method="dreamer", end=50_000, seconds=1000.0)
    made_up.run(root / "slow", method="dreamer", end=50_000, seconds=3000.0, train_ratio=1024.0)
    made_up.run(root / "own", method="gpld", end=50_000, seconds=1000.0)
    made_up.run(root / "wide", method="gpld", end=50_000, seconds=1500.0, penalty__rho=1.0)
    made_up.run(root / "both", method="gpld", end=50_000, seconds=3600.0, penalty__rho=1.0, train_ratio=1024.0)
    return root


def material(runs: Path, baseline: str, published: bool = False) -> Material:
    """What the tables of a report with this baseline are made from."""
    comparison = compare([run for folder in find([runs]) for run in load(folder)], baseline)
    return Material(comparison, published, runs / "report")


def ratios(tables: list[Table], column: int) -> dict[str, str]:
    """The ratio in each row of the only table."""
    (table,) = tables
    return {" ".join(map(str, row[:column])): str(row[column]).split()[0] for row in table.rows}


def test_variants_of_the_baseline_are_compared_with_it(runs: Path) -> None:
    found = material(runs, "dreamer")
    assert ratios(cost.by_label(found), 1) == {
        **{"dreamer train_ratio=1024": "3.00", "gpld": "1.00", "gpld rho=1": "1.50"},
        "gpld train_ratio=1024 rho=1": "3.60",
    }
    # of what differs in the penalty alone
    assert ratios(cost.table_4(found), 3) == {"0.5 0.5 0": "1.00", "1 0.5 0": "1.50"}


def test_a_variant_can_be_the_baseline(runs: Path) -> None:
    found = material(runs, "dreamer train_ratio=1024")
    assert ratios(cost.by_label(found), 1) == {
        **{"dreamer": "0.33", "gpld": "0.33", "gpld rho=1": "0.50"},
        "gpld train_ratio=1024 rho=1": "1.20",
    }
    assert ratios(cost.table_4(found), 3) == {"1 0.5 0": "1.20"}


def test_the_papers_gain_stands_beside_ours_over_the_same_baseline(runs: Path) -> None:
    for baseline in ("dreamer", "gpld"):
        (table,) = scores.table_3(material(runs, baseline, published=True))
        assert table.columns[-4:] == ("gain", "paper dreamer", "paper gpld", "paper gain")
        by_name = dict(zip(table.columns, map(str, table.rows[0]), strict=True))
        theirs, ours = (float(by_name[f"paper {method}"].split()[0]) for method in ("dreamer", "gpld"))
        ratio = ours / theirs if baseline == "dreamer" else theirs / ours
        assert float(by_name["paper gain"].strip("%").replace("−", "-")) == pytest.approx(100 * ratio - 100, abs=0.06)
        assert table.rows[-1][-1] == by_name["paper gain"]


def test_the_papers_costs_stand_beside_ratios_to_the_papers_baseline_only(runs: Path) -> None:
    (table,) = cost.table_4(material(runs, "dreamer", published=True))
    assert table.columns[-2:] == ("paper ratio", "paper seconds") and len(table.rows) >= 12
    (table,) = cost.table_4(material(runs, "gpld", published=True))
    assert table.columns[-1] == "runs" and len(table.rows) == 2
