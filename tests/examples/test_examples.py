"""The packages in examples/, installed as a user would: they do what is built in, from command line to report."""

import importlib
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sobolev import load_policy
from sobolev.checkpoints.slots import Checkpoints
from sobolev.cli import evaluate, report, sweep, train
from sobolev.cli.parser import parse
from sobolev.config import configure, from_json, resolved, to_json
from sobolev.config.codec import settings
from sobolev.config.registry import METHODS
from sobolev.envs import check_task, default_repeat, make
from sobolev.errors import UserError
from sobolev.experiments.registry import find, listed
from tests import tiny
from tests.quick_runs import quick_runs

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The packages, built and installed without a network, where Python finds them."""
    pytest.importorskip("setuptools", "70.1")  # from then on it builds wheels by itself
    pytest.importorskip("pip")
    target, source = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("source")
    shutil.copytree(EXAMPLES, source / "examples")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    packages = [str(path.parent) for path in (source / "examples").glob("*/pyproject.toml")]
    subprocess.run([*pip, "--target", str(target), *packages], check=True, capture_output=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(target)
        yield target
    for name in ("calm_dreamer", "line_world", "sobolev_hinge", "probe_noise"):
        for module in [known for known in sys.modules if known.partition(".")[0] == name]:
            del sys.modules[module]


def test_the_readme_has_each_package_and_its_line() -> None:
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    built = tomllib.loads((EXAMPLES.parent / "pyproject.toml").read_text())["build-system"]
    folders = [path.parent for path in EXAMPLES.glob("*/pyproject.toml")]
    packages = {folder.name: tomllib.loads((folder / "pyproject.toml").read_text()) for folder in folders}
    assert all(package["build-system"] == built for package in packages.values())
    assert sorted(re.findall(r"`pip install examples/(\w+)`", page)) == sorted(packages) and len(packages) == 4
    (block,) = re.findall(r"^```toml\n(.*?)^```", page, re.M | re.S)
    lines = {}
    for package in packages.values():
        lines |= package["project"]["entry-points"]
    assert tomllib.loads(block)["project"]["entry-points"] == lines
    for command in re.findall(r"`sobolev train ([^`]+)`", page):
        assert train.config_from(shlex.split(command))
    for command in re.findall(r"`sobolev study ([^`]+)`", page):
        name, *arguments = shlex.split(command)
        assert parse(find(name).settings, arguments, prog="sobolev study", description="")


def test_the_experiment_is_a_name_and_a_module() -> None:
    assert listed()["probe-noise"] == "from probe-noise"
    assert find("probe-noise") is find("probe_noise:EXPERIMENT")


def words(task: str, method: str, *others: str) -> list[str]:
    """The command line of a tiny run."""
    return [task, "--method", method, *tiny.flags()[1:], *others]


def test_flags_help_and_config(capsys: pytest.CaptureFixture[str]) -> None:
    assert METHODS.names()[-1] == "calm"
    for reference in ("calm", "calm_dreamer.method:METHOD"):
        config = resolved(train.config_from(["line:hold", "--method", reference, "--calm", "0.5", "--size=1m"]), "cpu")
        assert (config.method, METHODS.find(reference).name, config.agent.calm) == (reference, "calm", 0.5)
        assert config.agent.model.deter == 512 and config.agent.penalty.posterior == 0
        assert from_json(to_json(config)) == config
    assert type(config.agent) is importlib.import_module("calm_dreamer.method").CalmConfig
    for word, flag in (("--help-all", "--radius FLOAT"), ("--help", "--radius")):
        with pytest.raises(SystemExit):
            train.main([word, "--method", "calm"])
        shown = capsys.readouterr().out
        assert (
            flag in shown
            and "calm     DreamerV3 that acts alike in states that are alike" in shown
            and "(from calm-dreamer)" in shown
        )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("line:hold --method calm --clam 0.1", "unknown flag '--clam': did you mean --calm?"),
        ("line:hold --calm 0.1", "unknown flag '--calm'"),
        ("line:hold --method clam", "unknown method 'clam': did you mean calm?"),
        ("line:hold --method calm --radius 0", "--radius is 0.0, but must be above 0"),
        (
            "line:hold --method calm --penalty.posterior 0.1",
            "method calm has no penalty: leave out --penalty.posterior",
        ),
        (
            "line:hold --method calm_dreamer.method:METHDO",
            "unknown method of calm_dreamer.method 'METHDO': did you mean",
        ),
        (
            "line:hold --method calm_dreamer.method:CalmConfig",
            "is of type type: it must be a sobolev.agents.method.Method",
        ),
        ("line:hold --method calm_dramer.method:METHOD", "there is no module 'calm_dramer'"),
        ("line:hodl", "unknown task 'line:hodl': did you mean line:hold?"),
        ("lime:hold", "unknown task 'lime:hold': did you mean line:hold?"),
        ("line_world.family:FAMILY", "line_world.family:FAMILY:NAME if FAMILY is the family"),
        ("line_world.family:FAMILY:hodl", "did you mean line:hold?"),
        ("line_world.family:Line:hold", "must be a sobolev.envs.family.Family"),
    ],
)
def test_mistakes(line: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        resolved(train.config_from(line.split()), "cpu")
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("task", ["line:reach", "line_world.family:FAMILY:reach"])
def test_the_environment(task: str) -> None:
    check_task(task)
    assert default_repeat(task) == 1
    environment = make(task)
    assert environment.reset(3).observation["place"].tolist() == make(task).reset(3).observation["place"].tolist()
    step = environment.reset(0)
    while not step.last:
        step = environment.step(-4 * step.observation["place"][:1] - 8 * step.observation["place"][1:])
    assert step.terminal and step.reward == 1


@pytest.mark.long
def test_from_training_to_the_report(
    tmp_path: Path, installed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that is resumed is the run that was not; then evaluation, the policy, and a sweep's flags and report."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sobolev.system.jax_setup.configure", lambda compilation_cache: None)
    line = words("line:hold", "calm", "--env.workers", "1", "--seeds", "0", "1")
    with quick_runs(None):
        for run, steps in (("resumed", "100"), ("resumed", "160"), ("whole", "160")):
            assert train.main([*line, "--steps", steps, "--run", run]) == 0
        assert evaluate.main(["whole", "--episodes", "2"]) == 0
        policy = load_policy("whole", seed=1)
        assert policy(policy.environment().reset(0).observation).shape == (1,)
    found = [Checkpoints(Path(run) / "checkpoint").load(growing="leave") for run in ("resumed", "whole")]
    assert all(loaded is not None for loaded in found)
    resumed, whole = (loaded.state for loaded in found if loaded)
    for name, array in whole.items():
        np.testing.assert_array_equal(array, resumed[name], err_msg=name)
    scores = json.loads(Path("whole/scores.json").read_text())
    assert {(entry["task"], entry["method"]) for entry in scores} == {("line_hold", "calm")}
    shutil.rmtree("resumed")
    assert report.main(["whole", "--output", "page"]) == 0
    page = next(Path("page").glob("*.html")).read_text()
    assert "calm" in page and "line:hold" in page
    capsys.readouterr()


def test_a_sweep_has_the_methods_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    variants = '[{ method = "dreamer" }, { method = "calm_dreamer.method:METHOD", grid = { calm = [0.1, 0.2] } }]'
    Path("mine.toml").write_text(f'tasks = ["line:hold"]\nseeds = [0]\nvariants = {variants}\n')
    _, suite, cells = sweep.plan(["--radius", "0.1", "mine.toml", "--preset", "laptop"])
    assert [variant.label for variant in suite.variants] == ["dreamer", "calm calm=0.1", "calm calm=0.2"]
    assert [settings(cell.config).get("radius", (0, None))[1] for cell in cells] == [None, 0.1, 0.1]
    assert [cell.folder.parent.name for cell in cells] == ["line-hold"] * 3
    assert [cell.folder.name.rpartition("-")[0] for cell in cells] == ["dreamer-1m", "calm-1m", "calm-1m"]
    assert cells[1].config == configure(
        "line:hold",
        method="calm_dreamer.method:METHOD",
        preset="laptop",
        settings={"calm": 0.1, "radius": 0.1, "seeds": (0,)},
    )
