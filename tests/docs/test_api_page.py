"""docs/api.md names all of `sobolev` that examples and pages import, and names nothing that is not there."""

import ast
import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sobolev.agents import api

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"\bsobolev(?:\.\w+)+", PAGE)) | {"sobolev"}


def sources() -> Iterator[tuple[str, str]]:
    """Every example, and every code block of a page, the README and the tutorial, with where it is."""
    for path in sorted((ROOT / "examples").rglob("*.py")):
        yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
    for path in (*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"):
        for block in re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.M | re.S):
            yield path.name, block
    for cell in json.loads((ROOT / "docs" / "tutorial.ipynb").read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "code" and not text.startswith(("!", "%")):
            yield "tutorial.ipynb", text


def used(source: str) -> set[str]:
    """The names of `sobolev` that a program imports or reads from a module that it imported."""
    tree, modules, found = ast.parse(source), dict[str, str](), set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "sobolev":
            for alias in node.names:
                found.add(f"{node.module}.{alias.name}")
                modules[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Import):
            for alias in (alias for alias in node.names if alias.name.split(".")[0] == "sobolev"):
                found.add(alias.name)
                modules[alias.asname or "sobolev"] = alias.name if alias.asname else "sobolev"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            name = modules[node.value.id]
            if name == "sobolev" or name.rpartition(".")[2].islower():  # a module, not a class
                found.add(f"{name}.{node.attr}")
    return found


def is_named(name: str) -> bool:
    """Whether the page has a name, or, for a module, something in it."""
    return name in NAMED or any(known.startswith(f"{name}.") for known in NAMED)


def test_every_import_of_examples_and_pages_is_on_the_page() -> None:
    places = [(where, name) for where, source in sources() for name in used(source)]
    assert {where for where, _ in places} >= {"extending.md", "own_regularizer.md", "smoothness.md", "tutorial.ipynb"}
    assert len({where for where, _ in places if where.startswith("examples/")}) == 4
    assert [(where, name) for where, name in places if not is_named(name)] == []


@pytest.mark.parametrize("source", ["import sobolev\nsobolev.hidden(1)", "from sobolev import replay as m\nm.hidden()"])
def test_a_name_that_is_not_on_the_page_is_found(source: str) -> None:
    assert [is_named(name) for name in sorted(used(source))] == [True, False]


@pytest.mark.parametrize("name", sorted(NAMED - {"sobolev"}))
def test_what_the_page_names_is_there(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        found = importlib.import_module("sobolev.training.evaluation").Policy if module.endswith("Policy") else None
        assert hasattr(found or importlib.import_module(module), attribute)


def test_every_protocol_of_agents_is_named_wherever_they_are_listed() -> None:
    extending = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    protocols = {name for name, kind in vars(api).items() if getattr(kind, "_is_protocol", False)} - {
        "Protocol",
        "AnyAgent",
    }
    protocols = {name for name in protocols if getattr(api, name).__module__ == api.__name__}
    assert {"Snapshots", "LongUpdates", "Inspected", "Dreams", "Chooses", "Agent"} == protocols
    assert protocols <= set(api.__all__)
    for name in protocols:
        assert f"sobolev.agents.api.{name}" in NAMED and f"`{name}`" in extending
        assert name == "Agent" or f"`{name}`" in (api.__doc__ or "")
