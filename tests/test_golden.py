"""Short runs give the numbers that they gave before, within what compilers and processors round differently."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests import golden, tiny

KEPT = json.loads(golden.KEPT.read_text())


@pytest.fixture(autouse=True)
def programs_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Which the cache has then; a larger replay gives the same numbers."""
    tiny.share_programs(monkeypatch)
    tiny.large_replay(monkeypatch)
    with tiny.quickly():
        yield


def test_every_method_is_kept() -> None:
    assert tuple(KEPT) == golden.METHODS


QUICK = ("gpld",)
"""Whose numbers are compared with the short tests too."""


@pytest.mark.parametrize(
    "method", [name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in golden.METHODS]
)
def test_numbers_are_those_that_were_kept(method: str) -> None:
    found, kept = golden.measure(method), KEPT[method]
    assert len(found["losses"]) == len(kept["losses"]) > 0
    for new, old in zip(found["losses"], kept["losses"], strict=True):
        _close(new, old)
    _close(found["parameters"], kept["parameters"])
    for name, (xs, ys) in kept["returns"].items():
        assert found["returns"][name][0] == xs
        np.testing.assert_allclose(found["returns"][name][1], ys, rtol=1e-3, atol=1e-3)


def _close(new: dict[str, Any], old: dict[str, Any]) -> None:
    assert set(new) >= set(old), "a number that was kept is not measured any more"
    for name, value in old.items():
        np.testing.assert_allclose(new[name], value, rtol=1e-2, atol=1e-4, err_msg=name)
