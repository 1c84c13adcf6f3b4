"""The whole report of a sweep of the paper's size, made up: what is in it, and how it looks."""

import csv
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sobolev.errors import UserError
from sobolev.reports.analysis.compare import compare
from sobolev.reports.figures import ablations
from sobolev.reports.figures.sensitivity import figure_9
from sobolev.reports.page.content import Material
from sobolev.reports.page.export import check_output
from sobolev.reports.registry import REGISTRY, SECTIONS, of_paper
from sobolev.reports.report import report, sensitivity_files, unfinished
from sobolev.reports.results import published
from sobolev.reports.results.runs import find, load
from sobolev.reports.tables import variants
from tests.reports import browser, made_up

TASKS = [*published.table_3()["gpld"], "quadruped-run", "quadruped-walk"]


NUMBERS = {"sensitivity": 0.1, "jacobian_norm": 2.0}
MOVED = [
    {"task": "walker-walk", "label": label, "seed": seed, "env_steps": 1000, "posterior": NUMBERS, "prior": NUMBERS}
    for label in ("dreamer", "gpld")
    for seed in (0, 1)
]
"""What `sobolev sensitivity` writes of two runs."""


class Made(NamedTuple):
    """A sweep and its report."""

    runs: Path
    output: Path


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """20 tasks × 2 methods × 5 seeds over a million env steps, an evaluation every 5000."""
    root = tmp_path_factory.mktemp("large")
    runs = made_up.sweep(root / "runs", TASKS, seeds=(0, 1, 2, 3, 4), end=1_000_000, seconds=3600.0)
    report([runs], root / "report", with_published=True, command="sobolev report runs --published")
    return Made(runs, root / "report")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Variants, a task outside DeepMind Control, a video, runs of different length and number of seeds; no baseline
    of one task."""
    root = tmp_path_factory.mktemp("small & odd")
    runs = made_up.sweep(root / "runs", ["walker-walk", "hopper-hop"], seconds=100.0)
    for rho in (0.25, 1.0):
        made_up.run(runs / f"rho-{rho}", seeds=(0, 1, 2), penalty__rho=rho, seconds=100 + 20 * rho)
    made_up.run(runs / "none", "hopper-hop", seeds=(0, 1), penalty__schedule="none", evaluated=False)
    made_up.run(runs / "short", "cheetah-run", "dreamer", end=50_000)
    made_up.run(runs / "long", "cheetah-run", every=4000)
    made_up.run(runs / "ant", "gym:Ant-v5", seeds=(7,), level=2000.0)
    (runs / "ant" / "episode.mp4").write_bytes(b"")
    (runs / "sensitivity").mkdir()
    made_up.write(runs / "sensitivity", "sensitivity.json", {"command": "sobolev sensitivity …", "records": MOVED})
    report([runs], root / "report", command="sobolev report <runs>")
    return Made(runs, root / "report")


def rows(made: Made, table: str) -> list[list[str]]:
    with (made.output / "tables" / f"{table}.csv").open() as file:
        return list(csv.reader(file))


def names(folder: Path, suffix: str) -> set[str]:
    return {path.stem for path in folder.iterdir() if path.suffix == suffix}


@pytest.mark.long
def test_artefacts_carry_the_papers_numbers(large: Made, small: Made) -> None:
    figures = {"figure-2", "figure-3", "figure-6", "published-proprio"}
    figures |= {"statistics-proprio", "statistics-area-proprio"}
    assert names(large.output / "figures", ".png") == names(large.output / "figures", ".pdf") == figures
    assert {"table-1", "table-3", "table-4", "statistics-proprio", "runs"} <= names(large.output / "tables", ".csv")
    assert {"figure-5a", "figure-5d", "other-tasks"} <= names(small.output / "figures", ".png")
    told = {row[0].lower().replace(" ", "-"): row[1] for row in rows(small, "artefacts")[1:]}
    assert set(told) == set(of_paper())
    assert {name for name, there in told.items() if there == "yes"} == {
        *("table-1", "table-3", "table-4", "figure-2", "figure-5a", "figure-5d", "figure-6", "figure-9")
    }


@pytest.mark.long
def test_tables_put_the_papers_numbers_beside_ours(large: Made) -> None:
    head, *body = rows(large, "table-3")
    assert head == ["task", "dreamer", "gpld", "gain", "paper dreamer", "paper gpld", "paper gain"]
    assert len(body) == 21 and body[-1][0] == "normalised aggregate" and body[-1][-1] == "+17.7%"
    assert rows(large, "table-1")[-1][-1] == "+34.6%"
    by_task = {row[0]: row for row in body}
    assert by_task["quadruped-run"][4:] == ["", "", ""] and by_task["walker-walk"][4] == "878.3 ± 86.9"
    ours = [float(row[2].split()[0]) / float(row[1].split()[0]) for row in body[:-1]]
    assert float(body[-1][3].strip("%")) == pytest.approx(100 * (sum(ours) / 20 - 1), abs=0.1)


def test_cost_is_against_runs_that_are_alike(small: Made) -> None:
    head, *body = rows(small, "table-4")
    assert head == ["ρ", "λ posterior", "λ prior", "ratio", "seconds more", "runs"]
    assert body == [
        ["0.25", "0.5", "0", "1.05 ± 0.000", "25", "1"],
        ["0.5", "0.5", "0", "1.00 ± 0.000", "0", "2"],
        ["1", "0.5", "0", "1.20 ± 0.000", "100", "1"],
    ]


def test_variants_are_compared_with_the_method_as_it_is(small: Made, large: Made) -> None:
    head, *body = rows(small, "variants-gpld-proprio")
    assert head == ["task", "variant", "score", "gain over gpld", "seeds"]
    by_label = {(task, label): more for task, label, *more in body}
    assert list(by_label) == [
        *(("hopper-hop", label) for label in ("gpld", "gpld schedule=none")),
        *(("walker-walk", label) for label in ("gpld", "gpld rho=0.25", "gpld rho=1")),
    ]
    score, gain, seeds = by_label["walker-walk", "gpld rho=1"]
    usual = by_label["walker-walk", "gpld"]
    ratio = float(score.split()[0]) / float(usual[0].split()[0])
    assert float(gain.strip("%")) == pytest.approx(100 * (ratio - 1), abs=0.1) and seeds == "3"
    assert usual[1:] == ["", "3"] and by_label["hopper-hop", "gpld schedule=none"][2] == "2"
    assert "variants-gpld-proprio" in names(small.output / "figures", ".pdf")
    # nothing of what has no variants, nor of what has them without the method as it is
    assert not any(name.startswith("variants") for name in names(large.output / "tables", ".csv"))


def test_variants_on_several_tasks_have_an_aggregate_over_those_that_the_method_has(tmp_path: Path) -> None:
    tasks = ["walker-walk", "hopper-hop", "cheetah-run"]
    for task in tasks[:2]:
        made_up.run(tmp_path / f"{task}", task)
    for task in tasks:
        made_up.run(tmp_path / f"{task}-1", task, penalty__rho=1.0)
    made_up.run(tmp_path / "low", "walker-walk", penalty__rho=0.25)
    comparison = compare([run for folder in find([tmp_path]) for run in load(folder)])
    table = variants.of_method(comparison, "gpld", "proprio")
    assert table is not None and variants.of_method(comparison, "gpld", "pixels") is None
    (*_, last), (marked,) = table.rows, table.marked
    assert marked == len(table.rows) - 1 == 5 and last[:2] == ("normalised aggregate, 2 tasks", "gpld rho=1")
    gains = [float(str(row[3]).strip("%").replace("−", "-")) for row in table.rows[:-1] if row[1] == "gpld rho=1"]
    assert float(str(last[3]).strip("%").replace("−", "-")) == pytest.approx(sum(gains) / 2, abs=0.11)


def test_what_does_not_fit_is_told(small: Made) -> None:
    notes = (small.output / "report.md").read_text().partition("## Notes")[2]
    for part in (
        "unequal in number on hopper-hop (dreamer 3, gpld 3, gpld schedule=none 2)",
        "cheetah-run is compared at 50,000 env steps, where dreamer ends; others go to 100,000.",
        "Scores of the last evaluation during training",
        "gpld on cheetah-run; gpld schedule=none on hopper-hop",
        "Evaluations at different env steps are joined by straight lines",
    ):
        assert part in notes


def test_markdown_has_the_tables_of_the_page(small: Made) -> None:
    text, page = (small.output / "report.md").read_text(), (small.output / "index.html").read_text()
    for name in names(small.output / "tables", ".csv"):
        head, first, *_ = rows(small, name)
        assert "| " + " | ".join(head) + " |" in text
        assert first[0] in text and first[0] in page
    for link in re.findall(r"\]\(([^<)]+)\)", text):
        assert (small.output / link).exists()


def test_the_page_needs_nothing_but_its_videos(small: Made, large: Made) -> None:
    page = (small.output / "index.html").read_text()
    sources = re.findall(r'src="([^"]{0,30})', page)
    assert sources and all(source.startswith("data:image/png;base64,") for source in sources)
    links = [link for link in re.findall(r'href="([^"]*)"', page) if not link.startswith("#")]
    assert [link for link in links if not (small.output / link.replace("&amp;", "&")).exists()] == []
    assert any(link.endswith("episode.mp4") for link in links) and "http" not in page
    assert "sobolev report &lt;runs&gt;" in page  # what was typed is text, not markup
    assert (large.output / "index.html").stat().st_size < 4_000_000


def test_runs_of_a_sweep_that_are_not_done_are_told(tmp_path: Path) -> None:
    run = {"run": "a", "task": "walker-walk", "state": "done", "error": None}
    runs = [run | {"label": "dreamer"}, run | {"label": "gpld", "state": "failed", "error": "no room"}]
    made_up.write(tmp_path, "sweep-mine.json", {"runs": [*runs, run | {"label": "gpld rho=1", "state": "waiting"}]})
    (note,) = unfinished([tmp_path])
    assert note.startswith("Of 3 runs in ") and "sweep-mine.json, 2 are not done: " in note
    assert note.endswith("gpld on walker-walk is failed: no room; gpld rho=1 on walker-walk is waiting.")
    made_up.write(tmp_path, "sweep-mine.json", {"runs": [runs[0]]})
    assert unfinished([tmp_path]) == []
    made_up.write(tmp_path, "sweep-mine.json", [])
    with pytest.raises(UserError, match="cannot be read as a sweep"):
        unfinished([tmp_path])


def test_a_sweep_inside_a_place_is_told_once(tmp_path: Path) -> None:
    sweep = tmp_path / "runs" / "sweep"
    sweep.mkdir(parents=True)
    run = {"run": "a", "task": "walker-walk", "label": "gpld", "state": "failed", "error": "no room"}
    made_up.write(sweep, "sweep-mine.json", {"runs": [run]})
    for places in ([tmp_path], [sweep, tmp_path], [sweep / ".." / "sweep", sweep]):
        (note,) = unfinished(places)
        assert note.startswith("Of 1 run in ") and note.endswith("gpld on walker-walk is failed: no room.")


def test_every_file_of_sensitivity_has_a_figure(tmp_path: Path, small: Made) -> None:
    places = [tmp_path / "a" / "sensitivity", tmp_path / "b" / "sensitivity", tmp_path / "2", tmp_path / "c" / "2"]
    for place in places:
        place.mkdir(parents=True)
        made_up.write(place, "sensitivity.json", {"command": f"sobolev sensitivity {place}", "records": MOVED})
    comparison = compare(load(small.runs / "ant"))
    files = tuple(sensitivity_files([*places, tmp_path]))
    found = figure_9(Material(comparison, False, tmp_path, files))
    assert [figure.name for figure in found] == ["figure-9", "figure-9-2", "figure-9-2-2", "figure-9-2-3"]
    assert all(str(place) in figure.caption for place, figure in zip(places, found, strict=True))


def test_a_file_that_is_not_of_sensitivity_is_told(tmp_path: Path) -> None:
    run = made_up.run(tmp_path / "run", end=10_000)
    made_up.write(run, "sensitivity.json", {"records": []})
    with pytest.raises(UserError, match="is not what sobolev sensitivity writes"):
        report([run], tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_a_report_replaces_an_earlier_one_and_nothing_else(small: Made, tmp_path: Path) -> None:
    output = tmp_path / "report"
    shutil.copytree(small.output, output)
    for own in ("mine.txt", "mine.png"):
        (output / "figures" / own).write_text("")
    report([small.runs / "ant"], output)
    assert names(output / "figures", ".png") == {"other-tasks", "mine"}
    assert "no runs of dreamer" in (output / "report.md").read_text()
    assert (output / "figures" / "mine.txt").exists()
    other = tmp_path / "thesis"
    other.mkdir()
    check_output(other)
    (other / "index.html").write_text("<html>mine</html>")
    with pytest.raises(UserError, match="holds other things than a report: choose another --output"):
        report([small.runs / "ant"], other)


@pytest.mark.skipif(bool(browser.missing()), reason=f"needs {browser.missing()}: apt install chromium chromium-driver")
def test_the_page_looks_right(large: Made, small: Made, tmp_path: Path) -> None:
    """Every image loads and nothing overflows, on a desk and on a phone."""
    with browser.browser(tmp_path / "profile") as driver:
        for made in (large, small):
            for width in (1280, 400):
                browser.show(driver, made.output / "index.html", width)
                seen: dict[str, Any] = driver.execute_script(
                    "const page = document.documentElement, images = [...document.images];"
                    "return {inner: page.clientWidth, scroll: page.scrollWidth, images: images.length,"
                    " broken: images.filter(image => !image.complete || image.naturalWidth === 0).length}"
                )
                assert seen["inner"] == width and seen["scroll"] <= width
                assert seen["images"] >= 8 and seen["broken"] == 0
                assert driver.execute_script(browser.OVERFLOWING) == []


def test_parts_have_names_of_their_own_in_sections_that_there_are(small: Made, large: Made) -> None:
    assert {entry.section for entry in REGISTRY} == set(SECTIONS)
    for made in (small, large):
        text = (made.output / "report.md").read_text()
        titles = re.findall(r"^### (.*)$", text, re.MULTILINE)
        assert len(set(titles)) == len(titles)
        sections = re.findall(r"^## (.*)$", text, re.MULTILINE)
        assert [title for title in SECTIONS.values() if title in sections] == sections[:-1]
    assert list(of_paper())[:4] == ["table-1", "table-3", "table-4", "figure-2"]


def test_sample_efficiency_and_differences_follow_from_the_numbers_of_each_seed(large: Made) -> None:
    head, *body = rows(large, "seeds")
    assert head == ["task", "method", "seed", "env steps", "final return", "area under the curve"]
    assert len(body) == 20 * 2 * 5
    for column, name in ((4, "table-3"), (5, "area-proprio")):
        numbers = {(r[0], r[1], r[2]): float(r[column]) for r in body}
        own = {r[0]: r for r in rows(large, name)[1:]}
        mean = sum(numbers["walker-walk", "gpld", str(seed)] for seed in range(5)) / 5
        assert float(own["walker-walk"][2].split()[0]) == pytest.approx(mean, abs=0.06)
        measure = "final" if column == 4 else "area"
        differences = {r[0]: r for r in rows(large, f"differences-{measure}-proprio")[1:]}
        pairs = [numbers["walker-walk", "gpld", str(s)] - numbers["walker-walk", "dreamer", str(s)] for s in range(5)]
        row = differences["walker-walk"]
        assert float(row[2].replace("−", "-")) == pytest.approx(sum(pairs) / 5, abs=0.06) and row[5] == "5"
        assert differences["mean over 20 tasks"][5] == "100"


def test_both_aggregates_have_intervals(large: Made) -> None:
    body = {tuple(row[:3]): row for row in rows(large, "aggregates-proprio")[1:]}
    scores = [row for row in rows(large, "table-3")[1:] if row[0] != "normalised aggregate"]
    raw = sum(float(row[2].split()[0]) for row in scores) / len(scores)
    assert float(body["final return", "raw", "gpld"][3]) == pytest.approx(raw, abs=0.06)
    assert body["final return", "normalised", "gpld over dreamer"][3] == rows(large, "table-3")[-1][3]
    assert body["area under the curve", "normalised", "gpld over dreamer"][3] == rows(large, "area-proprio")[-1][3]
    for row in body.values():
        value, low, high = (
            float(text.strip("%").replace("−", "-")) for text in (row[3], *row[4].replace("%", "").split(" to "))
        )
        assert low < value < high


def test_variants_that_differ_in_any_setting_make_an_ablation(tmp_path: Path) -> None:
    """Of a method and a setting that no table of the paper names, in the order of its values."""
    for clip in (5.0, 20.0, 10.0):
        made_up.run(tmp_path / f"{clip}", "gym:Hopper-v5", "dsdpg", normalizer__clip=clip)
    made_up.run(tmp_path / "td3", "gym:Hopper-v5", "td3")
    report([tmp_path], tmp_path / "report", baseline="td3")
    assert "ablation-dsdpg-normalizer.clip-other" in names(tmp_path / "report" / "figures", ".png")
    comparison = compare([run for folder in find([tmp_path]) for run in load(folder)], "td3")
    found = ablations.differing(comparison, "other", ("normalizer.clip",), {}, "dsdpg")
    assert [run.settings["normalizer.clip"] for run in found.values()] == [5.0, 10.0, 20.0]
    assert not ablations.differing(comparison, "other", ("discount",), {}, "dsdpg").keys() - {"dsdpg"}


def test_the_cost_of_variants_is_given_by_their_labels(small: Made) -> None:
    head, *body = rows(small, "cost")
    assert head == ["method", "ratio", "seconds more", "runs"]
    assert body == [
        ["gpld", "1.00 ± 0.000", "0", "2"],
        ["gpld rho=0.25", "1.05 ± 0.000", "25", "1"],
        ["gpld rho=1", "1.20 ± 0.000", "100", "1"],
    ]
