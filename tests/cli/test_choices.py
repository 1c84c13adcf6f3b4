"""What installed packages add to the help of `sobolev train`: tasks, methods, regularizers and log sinks."""

import sys
import types
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from sobolev import plugins
from sobolev.cli import train
from sobolev.config import configure
from sobolev.config.registry import OURS
from sobolev.envs import check_task
from sobolev.envs.catalog import FAMILIES, to_try
from sobolev.envs.family import Family
from sobolev.errors import UserError
from sobolev.training import run_messages

Help = Callable[..., str]


def broken() -> list[str]:
    raise RuntimeError("no tasks\ntoday")


def family(*tasks: str, **others: object) -> Family:
    """A family that creates no environments."""
    return Family(lambda name, repeat, kicks: 1 / 0, tasks=lambda: tasks, **others)  # pyright: ignore


@pytest.fixture(autouse=True)
def package(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module that registers one of everything, and objects that cannot be loaded."""
    module = types.ModuleType("their_package")
    only = {"only": next(iter(OURS["td3"].presets.values()))}
    method = replace(OURS["td3"], name="theirs", about="a method of theirs", presets=only)
    vars(module).update(METHOD=method, FAMILY=family("hold", "reach"), BROKEN=replace(family(), tasks=broken))
    monkeypatch.setitem(sys.modules, "their_package", module)
    points = [
        EntryPoint("theirs", "their_package:METHOD", "sobolev.methods"),
        EntryPoint("lost", "no_such_package:METHOD", "sobolev.methods"),
        EntryPoint("hinge", "no_such_package:HINGE", "sobolev.regularizers"),
        EntryPoint("graph", "no_such_package:SINK", "sobolev.sinks"),
        EntryPoint("line", "their_package:FAMILY", "sobolev.environments"),
    ]
    monkeypatch.setattr(plugins, "entry_points", lambda group: EntryPoints(points).select(group=group))
    return module


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Help:
    """Returns the help of a command line, with single spaces, and without the lines of tyro's boxes."""
    monkeypatch.setenv("COLUMNS", "200")

    def shown(*words: str) -> str:
        with pytest.raises(SystemExit):
            train.main(list(words))
        return " ".join(capsys.readouterr().out.replace("│", " ").split())

    return shown


@pytest.mark.parametrize("word", ["--help", "--help-all"])
def test_help_names_what_packages_add(word: str, shown: Help) -> None:
    """Of regularizers and environments without loading them: these cannot be."""
    text = shown(word)
    assert "theirs a method of theirs (from their_package)" in text
    assert "lost cannot be loaded from no_such_package: there is no module 'no_such_package'" in text
    assert (
        "Regularizers: jacobian, finite-difference, jacobian-norm, spectral, noise, hinge (from no_such_package)."
        in text
    )
    assert "their_package line:NAME" in text
    assert ("Sinks for --log.sinks: graph (from no_such_package)." in text) == (word == "--help-all")


@pytest.mark.parametrize("reference", ["theirs", "their_package:METHOD"])
def test_help_of_another_packages_method_shows_its_own_presets(reference: str, shown: Help) -> None:
    short, full = shown("--help", "--method", reference), shown("--help-all", "--method", reference)
    assert "--preset NAME only [only]" in short and "laptop" not in short
    assert "Presets of theirs: only." in full and f"{reference} a method of theirs" in full


def test_help_says_which_parts_a_method_has(shown: Help) -> None:
    assert "Parts for --warm-start: none, td3 takes no networks of another run." in shown(
        "--help-all", "--method", "td3"
    )
    text = shown("--help-all", "--method", "dreamer")
    parts = "encoder, decoder, rssm, reward, cont, actor, critic; by default encoder and decoder."
    assert f"Parts for --warm-start: {parts}" in text and "Regularizers:" not in text
    assert "gpld and dreamer have" not in text


def test_a_method_without_the_papers_preset_is_not_measured_by_it() -> None:
    for method, told in (("theirs", False), ("td3", True)):
        config = configure("walker-walk", method=method, preset=None if method == "theirs" else "laptop")
        assert bool(run_messages.protocol(config)) == told
    config = configure("walker-walk", method="theirs")
    assert run_messages.advice(replace(config, preset="paper")) is None  # there is no preset laptop to advise


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("line:hodl", None),  # the family has no check: `make` says that there is no such task
        ("line-hold", "unknown task 'line-hold': did you mean line:hold?"),
        ("lime:reach", "unknown task 'lime:reach': did you mean line:reach?"),
        ("line", "'line' is a family of tasks: give one of them, as in line:hold"),
        ("line:", "'line' is a family of tasks: give one of them, as in line:hold"),
        ("toy", "'toy' is a family of tasks: give one of them, as in toy:point-mass"),
        ("their_package.envs:hold", "their_package.envs:FAMILY:hold if it is the task"),
        ("their_package.envs:", "their_package.envs: is not a whole task, which is MODULE:FAMILY:NAME"),
        ("Ant-v5", "unknown task 'Ant-v5': did you mean gym:Ant-v5?"),
    ],
)
def test_unknown_tasks_get_the_nearest_of_all_families(task: str, message: str | None) -> None:
    if message is None:
        return check_task(task)
    with pytest.raises(UserError) as caught:
        check_task(task)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("reference", ["their_package:BROKEN", "no_such_package:FAMILY"])
def test_a_broken_family_is_named_and_left_out(reference: str, monkeypatch: pytest.MonkeyPatch) -> None:
    points = [EntryPoint("hole", reference, "sobolev.environments")]
    monkeypatch.setattr(plugins, "entry_points", lambda group: EntryPoints(points).select(group=group))
    with pytest.raises(UserError) as caught:
        check_task("walker-wlak")
    sentence = str(caught.value)
    assert sentence.startswith(
        "unknown task 'walker-wlak': did you mean walker-walk?; the tasks of 'hole' are not known"
    )
    assert "\n" not in sentence
    with pytest.raises(UserError, match="'hole' is a family of tasks: give one of them, as in hole:NAME"):
        check_task("hole")


def test_a_new_family_of_ours_is_one_line(monkeypatch: pytest.MonkeyPatch, shown: Help) -> None:
    monkeypatch.setitem(FAMILIES.ours, "maze", family("small", "large", "open", "dark", "huge"))  # pyright: ignore
    assert ("maze", ["maze:small", "maze:large", "maze:open", "maze:dark"]) in to_try()
    assert "maze maze:small, maze:large, maze:open, maze:dark" in shown("--help")
    with pytest.raises(UserError, match="did you mean maze:huge?"):
        check_task("mase:huge")
