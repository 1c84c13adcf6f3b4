"""`sobolev report` as it is typed."""

from pathlib import Path

import pytest

from sobolev.__main__ import run as sobolev
from sobolev.errors import UserError
from tests.reports import made_up


def test_a_page_from_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(tmp_path)
    for method in ("dreamer", "gpld"):
        made_up.run(Path("runs") / method, method=method, end=30_000)
    arguments = ["report", "runs/dreamer", "runs/gpld", "--output", "page", "--at", "20000", "--collect", "scores"]
    assert sobolev(arguments) == 0
    said = capsys.readouterr().out
    assert "page: page/index.html" in said and "collected: scores/walker-walk-dreamer-paper" in said
    page = Path("page/index.html").read_text()
    assert "sobolev report runs/dreamer runs/gpld --output page" in page and "Returns at 20,000 env steps" in page


def test_scores_are_collected_inside_the_folder_of_the_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Twice: the copies are neither copied nor compared with their runs. The numbers of `sobolev sensitivity` are where
    it writes them by default."""
    monkeypatch.chdir(tmp_path)
    made_up.run(Path("runs") / "a", method="dreamer", end=10_000)
    Path("results/sensitivity").mkdir(parents=True)
    numbers = {"sensitivity": 0.1, "jacobian_norm": 2.0}
    moved = {"task": "walker-walk", "label": "dreamer", "seed": 0, "env_steps": 1000}
    records = [moved | {"posterior": numbers, "prior": numbers}]
    made_up.write(Path("results/sensitivity"), "sensitivity.json", {"command": "sobolev …", "records": records})
    for _ in range(2):
        assert sobolev(["report", "runs", "results/sensitivity", "--collect", "runs/kept"]) == 0
        assert "collected: runs/kept/walker-walk-dreamer-paper\n" in capsys.readouterr().out
        assert "1 run, 3 seeds of each" in Path("report/report.md").read_text()
    assert Path("report/figures/figure-9.png").exists()
    # what was kept before is compared, where it is all there is
    assert sobolev(["report", "runs/kept", "--collect", "runs/kept"]) == 0
    assert "1 run, 3 seeds of each" in Path("report/report.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "a run is missing, as in sobolev report runs/"),
        (["nowhere"], "nowhere does not exist"),
        (["runs", "--at", "0"], "--at is 0, but must be at least 1"),
        (["runs", "--since", "-1"], "--since is -1, but must be at least 0"),
        (["runs", "--since", "9000", "--at", "9000"], "--since is 9,000, but must be below --at, 9,000"),
        (["runs", "--baseline", "deramer"], "did you mean dreamer"),
        (["runs", "--publish"], "did you mean --published"),
        (["runs", "--output", "file"], "holds other things|cannot be created"),
    ],
)
def test_mistakes_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    made_up.run(Path("runs") / "a", method="dreamer", end=10_000)
    Path("file").write_text("")
    with pytest.raises(UserError, match=message):
        sobolev(["report", *arguments])
    assert not Path("report").exists()
