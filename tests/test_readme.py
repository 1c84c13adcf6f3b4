"""What the README says can be typed, can be typed."""

import re
import shlex
import sys
import types
from pathlib import Path

import gymnasium
import pytest

from sobolev._version import __version__
from sobolev.cli import COMMANDS, sweep
from sobolev.cli.train import config_from
from sobolev.config import resolved
from sobolev.training import loop
from tests import tiny
from tests.quick_runs import quick_runs

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = {kind: re.findall(rf"```{kind}\n(.*?)```", README, re.S) for kind in ("bash", "python")}
LINES = [shlex.split(line, comments=True) for block in BLOCKS["bash"] for line in block.splitlines()]
IN_TEXT = [shlex.split(words) for words in re.findall(r"`(sobolev [^`]*)`", README)]
"""Commands in the tables and sentences."""


@pytest.fixture
def own_task(monkeypatch):
    """The module that the README's user has written."""
    module = types.ModuleType("my_package.my_module")
    monkeypatch.setitem(sys.modules, "my_package", types.ModuleType("my_package"))
    monkeypatch.setitem(sys.modules, "my_package.my_module", module)
    gymnasium.register("MyTask-v0", "tests.spring:Spring", disable_env_checker=True)
    yield
    del gymnasium.registry["MyTask-v0"]


def test_train_commands(own_task):
    commands = [line[2:] for line in [*LINES, *IN_TEXT] if line[:2] == ["sobolev", "train"] and "--help" not in line]
    assert ["cartpole-swingup", "--preset", "laptop"] in commands and len(commands) >= 2
    for arguments in commands:
        assert resolved(config_from(arguments), "cpu").task == arguments[0]


def test_sweep_commands():
    commands = [line[2:] for line in [*LINES, *IN_TEXT] if line[:2] == ["sobolev", "sweep"]]
    assert commands
    for arguments in commands:
        assert sweep.plan(arguments)[2]


def test_every_line_names_something_that_exists():
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M)
    for program, name, *_ in [*LINES, *IN_TEXT]:
        if program == "make":
            assert name in targets
        elif program == "sobolev":
            assert name in COMMANDS
        else:
            assert (program, name) == ("pip", "install")


def test_the_wheel_has_this_version():
    (named,) = set(re.findall(r"sobolev-([0-9.]+)-py3", README))
    assert named == __version__ and f"version = {{{__version__}}}" in README


def test_it_fits_a_screen():
    assert len(README.splitlines()) < 100 and len(README.split()) < 700


def test_every_command_is_in_the_table():
    table = (ROOT / "docs" / "commands.md").read_text()
    assert set(re.findall(r"^\| `sobolev ([a-z]+)", table, re.M)) == set(COMMANDS)


def test_linked_files_exist():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    for link in links:
        assert link.startswith("https://") or (ROOT / link).exists(), link


def test_python_on_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = Path("runs/demo")
    run.mkdir(parents=True)
    config = tiny.config(steps=4, evaluation__episodes=0)
    from sobolev.config import to_json

    (run / "config.json").write_text(to_json(config))
    with quick_runs(None):
        assert loop.train(config, run) == 0
        for block in BLOCKS["python"]:
            names: dict = {}
            exec(block, names)
            assert names["step"].last and names["action"].shape == (1,)
