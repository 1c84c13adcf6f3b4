"""Every program in benchmarks/ says what it takes; three of them go all their way with a tiny agent."""

import ast
import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import pytest

import sobolev
from sobolev.config import TrainConfig, configure
from tests import tiny
from tests.benchmarks.scripts import FOLDER, load
from tests.quick_runs import quick_runs

SOURCE, ROOT = Path(sobolev.__file__).parents[1], FOLDER.parent


@pytest.fixture(autouse=True)
def _no_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOBOLEV_RESTART", "0")


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("[a-z]*.py")))
def test_help(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit) as ended:
        load(name).main()
    assert ended.value.code == 0 and f"usage: {name}.py" in capsys.readouterr().out


@pytest.mark.long
def test_updates_are_timed_and_broken_down(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    updates, agent = load("updates"), tiny.config().agent
    monkeypatch.setattr(updates, "config_of", lambda size, chosen: agent)
    monkeypatch.setattr(sys, "argv", ["updates.py", "--penalty", "--breakdown", "--repeats", "2"])
    with tiny.quickly():
        updates.main()
    said = capsys.readouterr().out
    assert re.search(r"1m, 1 seed\(s\), .*: \d+\.\d{3} s per update; update / 1024\^3 product \d", said)
    shares = dict(re.findall(r"^  (\D+?) +\d+\.\d ms +(\d+\.\d)%$", said, re.M))
    assert set(shares) == {*load("_breakdown").PARTS, "unattributed"}
    assert sum(map(float, shares.values())) == pytest.approx(100, abs=0.5)
    assert all(float(share) > 0 for share in shares.values()), shares


@pytest.mark.long
def test_a_run_is_started_until_its_first_update(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (tiny.quick_environment() | {"PYTHONPATH": f"{SOURCE}:{ROOT}"}).items():
        monkeypatch.setenv(name, value)
    task, *flags = tiny.flags()
    monkeypatch.setattr(sys, "argv", ["startup.py", "--task", task, "--repeats", "1", "--flags", *flags])
    load("startup").main()
    cold, warm = capsys.readouterr().out.splitlines()
    for line, cache in ((cold, "cold"), (warm, "warm")):
        assert line.startswith(f"12m, {cache} compilation cache: first evaluation after ")
        seconds = [float(number) for number in re.findall(r"after (\d+\.\d) s", line)]
        assert len(seconds) == 3 and 0 < seconds[0] <= seconds[1] <= seconds[2]
        assert int(line.rpartition("it holds ")[2].removesuffix(" MB")) > 0


@pytest.mark.long
def test_the_evaluation_of_a_whole_run_is_one_after_it_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few iterations there are: the one before training waits for its program."""
    whole_run = load("whole_run")
    clock = whole_run.Clock()

    def tiny_run(task: str, *, size: str, settings: dict[str, Any]) -> TrainConfig[Any]:
        del task, size
        return configure(tiny.TASK, settings=tiny.SETTINGS | {"env.repeat": 2, "log.every": 1} | settings)

    monkeypatch.setattr(whole_run, "configure", tiny_run)
    monkeypatch.setattr(whole_run, "Clock", lambda: clock)
    monkeypatch.setattr("sobolev.system.jax_setup.configure", lambda compilation_cache: None)
    with quick_runs():
        seconds, _ = whole_run.measure("1m", 1)
    _, *between, last = [counted["evaluation"] for counted in clock.seconds]
    assert seconds["evaluation"] == last > 5 * max(between)
    assert all(taken > 0 for taken in seconds.values())


def test_the_parts_of_an_update_are_files_and_functions_that_there_are() -> None:
    """A rename would move a part's time into another one without a word."""
    patterns = [pattern for patterns in load("_breakdown").PARTS.values() for pattern in patterns]
    files = {str(path.relative_to(SOURCE)): path for path in (SOURCE / "sobolev").rglob("*.py")}
    assert len(patterns) > 10
    for pattern in patterns:
        file, colon, function = pattern.partition(":")
        if not colon:
            name = file.strip("/").replace("/", ".")
            assert importlib.util.find_spec(name) is not None, pattern
            continue
        [path] = [path for name, path in files.items() if f"/{name}".endswith(f"/{file}")]
        assert any(name.startswith(function) for name in functions(ast.parse(path.read_text()))), pattern


def functions(tree: ast.AST, within: str = "") -> list[str]:
    """The qualified names of the functions of a module or class."""
    found: list[str] = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef):
            found.append(within + node.name)
        if isinstance(node, ast.ClassDef):
            found += functions(node, f"{within}{node.name}.")
    return found
