"""Experiments by name, from other packages and by module:OBJECT; what conducting one writes; results of long ago."""

import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

from sobolev import plugins
from sobolev.config.codec import decode, encode
from sobolev.errors import UserError
from sobolev.experiments import Experiment, Results, Say, registry
from sobolev.experiments.conduct import conduct
from sobolev.system.atomic_files import with_nan

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "experiment"


@dataclass(frozen=True)
class Settings:
    """One setting beside the folder."""

    out: Path = Path("somewhere")
    """folder"""
    size: int = 2
    """how much"""


def run(settings: Settings, say: Say) -> Results:
    say("one line")
    return {"numbers": {"size": settings.size, "array": np.arange(settings.size), "one": jnp.float32(0.5)}}


def draw(settings: Settings, results: Results) -> dict[str, Figure]:
    figure = Figure()
    figure.subplots().plot(results["numbers"]["array"])
    return {"curve": figure}


def check(settings: Settings) -> None:
    if settings.size > 9:
        raise UserError("too large")


EXPERIMENT = Experiment("About it.", Settings(), run, draw, lambda settings, results: ["the end"], check)


class Bare:
    """Settings that are no dataclass."""

    out = Path("somewhere")


BARE: Any = replace(EXPERIMENT, settings=Bare())


def test_every_experiment_of_ours_is_found_by_its_name() -> None:
    for name, entry in registry.EXPERIMENTS.items():
        experiment = registry.find(name)
        assert experiment.about.count("\n\n") == 1 and entry.about
        assert isinstance(experiment.settings.out, Path)
    assert list(registry.listed()) == list(registry.EXPERIMENTS)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("contractoin", "unknown study 'contractoin': did you mean contraction?"),
        ("nowhere.study:EXPERIMENT", "there is no module 'nowhere' for nowhere.study:EXPERIMENT: install"),
        ("tests.experiments.nowhere:EXPERIMENT", "there is no module 'tests.experiments.nowhere'"),
        ("tests.experiments.test_registry:EXPERIMEN", "did you mean EXPERIMENT?"),
        ("tests.experiments.test_registry:", "choose from EXPERIMENT"),
        ("tests.experiments.test_registry:ROOT", "of type PosixPath: it must be a sobolev.experiments.api.Experiment"),
        ("tests.experiments.test_registry:BARE", "must be a dataclass with a field 'out'"),
        (":EXPERIMENT", "has no module: give module:OBJECT"),
    ],
)
def test_unknown_experiments(name: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        registry.find(name)
    assert message in str(error.value)


def test_a_module_that_lacks_another_is_not_called_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "incomplete_study.py").write_text("import nowhere_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="nowhere_at_all"):
        registry.find("incomplete_study:EXPERIMENT")


def test_packages_register_experiments(monkeypatch: pytest.MonkeyPatch) -> None:
    def register(*names: str) -> None:
        points = [EntryPoint(name, f"{__name__}:EXPERIMENT", registry.KNOWN.group) for name in names]
        monkeypatch.setattr(plugins, "entry_points", lambda group: EntryPoints(points).select(group=group))

    register("theirs")
    assert registry.find("theirs") is EXPERIMENT
    assert registry.listed()["theirs"] == f"from {__name__}"
    register("theirs", "theirs")
    with pytest.raises(UserError, match="several packages have a study 'theirs'"):
        registry.find("theirs")
    register("tabular")  # ours keep their names
    assert registry.find("tabular") is not EXPERIMENT and list(registry.listed()) == list(registry.EXPERIMENTS)


def test_conducting_writes_numbers_figures_and_what_made_them(tmp_path: Path) -> None:
    said: list[str] = []
    settings = Settings(tmp_path / "out", 3)
    lines = conduct(EXPERIMENT, settings, "the command", said.append)
    names = ("numbers.json", "curve.png", "curve.pdf")
    assert lines == ["the end", *(f"written: {tmp_path}/out/{name}" for name in names)] and said == ["one line"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(names)
    written = json.loads((tmp_path / "out" / "numbers.json").read_text())
    assert list(written)[:3] == ["command", "settings", "versions"] and written["command"] == "the command"
    assert written["settings"] == {"out": str(tmp_path / "out"), "size": 3}
    assert (written["size"], written["array"], written["one"]) == (3, [0, 1, 2], 0.5)


def test_nothing_is_written_of_what_cannot_be_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="too large"):
        conduct(EXPERIMENT, Settings(tmp_path / "out", 10), "")
    assert not (tmp_path / "out").exists()
    for record, error in (({"command": 1}, ValueError), ({"what": object()}, TypeError)):
        wrong = replace(EXPERIMENT, run=lambda settings, say, record=record: {"numbers": record})
        with pytest.raises(error):
            conduct(wrong, Settings(tmp_path / "out"), "")
        assert list((tmp_path / "out").iterdir()) == []


def study(folder: Path, *arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`sobolev study …`, run in a folder; modules in `path` count as installed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), *([str(path)] if path else [])])}
    code = "import sys; sys.path.remove(''); from sobolev.__main__ import main; main()"
    command = [sys.executable, "-c", code, "study", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.long
def test_the_example_runs_from_its_folder(tmp_path: Path) -> None:
    """Outside of any package, found in the working directory."""
    (tmp_path / "probe_noise.py").write_text((EXAMPLE / "probe_noise.py").read_text())
    arguments = ["probe_noise:EXPERIMENT", "--states", "1", "16", "--estimates", "50"]
    ran = study(tmp_path, *arguments)
    assert ran.returncode == 0, ran.stderr
    out = tmp_path / "results" / "probe-noise"
    assert {path.name for path in out.iterdir()} == {f"probe-noise.{kind}" for kind in ("json", "png", "pdf")}
    written = json.loads((out / "probe-noise.json").read_text())
    assert shlex.split(written["command"]) == ["sobolev", "study", *arguments]
    assert written["settings"]["states"] == [1, 16]
    for one, many in (written["rows"], written["joint"]):
        assert one > 2 * many > 0  # four times, expected of 16 states
    assert "one probe varies" in ran.stdout and "written: results/probe-noise/probe-noise.png" in ran.stdout


def test_the_example_is_a_name_once_it_is_installed(tmp_path: Path) -> None:
    """A folder as pip leaves it: the module, and what it says of itself."""
    (tmp_path / "probe_noise.py").write_text((EXAMPLE / "probe_noise.py").read_text())
    info = tmp_path / "probe_noise-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: probe-noise\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[sobolev.experiments]\nprobe-noise = probe_noise:EXPERIMENT\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert "probe-noise  from probe-noise" in study(elsewhere, "--help", path=tmp_path).stdout
    shown = study(elsewhere, "probe-noise", "--help", path=tmp_path)
    assert "usage: sobolev study probe-noise" in shown.stdout and "--estimates" in shown.stdout
    wrong = study(elsewhere, "probe-noise", "--estimates", "1", path=tmp_path)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1) and "--estimates 2 or more" in wrong.stderr


COMMITTED = [
    ("tabular", ["docs/theory/tabular.json", "docs/theory/identities.json"]),
    ("contraction", ["docs/dsdpg/contraction.json"]),
    ("linear", ["docs/dsdpg/linear.json"]),
    ("linear", ["docs/dsdpg/linear-20.json"]),
    ("point-mass", ["results/point-mass/point-mass.json"]),
    ("point-mass", ["results/point-mass/locations.json"]),
    ("world-model", ["results/world-model/cartpole-swingup.json"]),
    ("sensitivity", ["docs/theory/sensitivity.json"]),
    ("sensitivity", ["docs/theory/sensitivity-walker-stand.json"]),
]
"""What studies have left in docs/ and results/: an experiment, and the files of one of its runs."""


def test_every_committed_result_of_a_study_is_drawn_again() -> None:
    """Those that say by which command they were made; in a checkout, those that are about to be committed too."""
    found = [path for folder in ("docs", "results") for path in (ROOT / folder).rglob("*.json")]
    records = {path.relative_to(ROOT).as_posix(): json.loads(path.read_text(encoding="utf-8")) for path in found}
    commands = {path: record.get("command", "") for path, record in records.items() if isinstance(record, dict)}
    made = {path for path, line in commands.items() if line.startswith(("sobolev study", "sobolev sensitivity"))}
    assert made == {path for _, paths in COMMITTED for path in paths}


@pytest.mark.parametrize(("name", "paths"), COMMITTED)
def test_committed_results_can_be_drawn_and_told_again(name: str, paths: list[str]) -> None:
    experiment = registry.find(name)
    records = [json.loads((ROOT / path).read_text()) for path in paths]
    # null is NaN in results, and none in settings
    records = [{name: p if name == "settings" else with_nan(p) for name, p in one.items()} for one in records]
    settings = experiment.settings
    if "settings" in records[0]:  # those of sensitivity were written without
        usual = encode(settings)  # of settings that are newer than the file
        settings = decode(type(settings), usual | records[0]["settings"])
    kept = {"sensitivity-walker-stand": "sensitivity", "locations": "point-mass", "linear-20": "linear"}
    names = [kept.get(stem, stem) for stem in (Path(path).stem for path in paths)]
    results = dict(zip(names, records, strict=True))
    figures, lines = experiment.draw(settings, results), experiment.summary(settings, results)
    assert set(names) <= set(figures)
    least = 1 if names == ["linear"] and len(settings.critics) == 1 else 2  # a line for every critic
    assert len(lines) >= least and all(figure.axes for figure in figures.values())
