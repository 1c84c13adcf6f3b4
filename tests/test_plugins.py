"""Objects by name: ours, those that packages register, and any other by its place."""

import sys
import types
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from sobolev import plugins
from sobolev.errors import UserError
from sobolev.plugins import Registry

NUMBERS = Registry("number", int, {"one": 1, "two": 2}, "sobolev.numbers")


@pytest.fixture(autouse=True)
def package(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module with numbers, which two packages register under one name."""
    module = types.ModuleType("my_numbers")
    vars(module).update(SEVEN=7, WORD="eight")
    monkeypatch.setitem(sys.modules, "my_numbers", module)
    monkeypatch.setitem(sys.modules, "empty_numbers", types.ModuleType("empty_numbers"))
    points = [
        EntryPoint("seven", "my_numbers:SEVEN", "sobolev.numbers"),
        EntryPoint("both", "my_numbers:SEVEN", "sobolev.numbers"),
        EntryPoint("both", "your_numbers:SEVEN", "sobolev.numbers"),
        EntryPoint("two", "my_numbers:SEVEN", "sobolev.numbers"),
    ]
    monkeypatch.setattr(plugins, "entry_points", lambda group: EntryPoints(points).select(group=group))
    return module


def test_objects_are_found_by_name_and_by_place() -> None:
    assert [NUMBERS.find(name) for name in ("one", "two", "seven", "my_numbers:SEVEN")] == [1, 2, 7, 7]
    assert NUMBERS.names() == ["one", "two", "both", "seven"]


def test_lists_name_the_packages_and_survive_a_broken_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert NUMBERS.origins() == {"both": "my_numbers and your_numbers", "seven": "my_numbers"}
    assert NUMBERS.attempt("seven") == (7, "")
    assert NUMBERS.attempt("my_numbers:WORD")[1].startswith("my_numbers:WORD is of type str")
    monkeypatch.setattr(plugins.importlib, "import_module", lambda name: 1 / 0)
    assert NUMBERS.attempt("seven") == (None, "ZeroDivisionError: division by zero")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sevn", "unknown number 'sevn': did you mean seven?"),
        (
            "both",
            "several packages have a number 'both': give one of my_numbers:SEVEN (my_numbers), your",
        ),
        ("my_numbers:SEVNE", "unknown number of my_numbers 'SEVNE': did you mean SEVEN?"),
        ("my_numbers:", "unknown number of my_numbers '': choose from SEVEN"),
        (
            "empty_numbers:NINE",
            "unknown number of empty_numbers 'NINE': it has none; give one of one, two, both, seven, or MODULE:NAME",
        ),
        (
            "empty_numbers:",
            "empty_numbers has no number: give one of one, two, both, seven, or MODULE:NAME of a",
        ),
        ("my_numbers:WORD", "my_numbers:WORD is of type str: it must be a builtins.int"),
        ("no_numbers.module:ONE", "there is no module 'no_numbers' for no_numbers.module:ONE"),
        (":ONE", "':ONE' has no module"),
        (".numbers:ONE", "'.numbers:ONE' has no module"),
    ],
)
def test_mistakes(name: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        NUMBERS.find(name)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_module_that_lacks_another_says_so_itself(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_numbers.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        NUMBERS.find("broken_numbers:ONE")
