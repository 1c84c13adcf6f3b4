"""Sizes in words."""

import pytest

from sobolev.system.sizes import human


@pytest.mark.parametrize(
    ("size", "whole", "tenths"),
    [
        (19, "19 B", "19 B"),
        (999.7, "1 KB", "1.0 KB"),
        (3914, "4 KB", "3.9 KB"),
        (999_600, "1 MB", "999.6 KB"),
        (999_960, "1 MB", "1.0 MB"),
        (19e6, "19 MB", "19.0 MB"),
        (999.6e6, "1.0 GB", "999.6 MB"),
        (1.23e9, "1.2 GB", "1.2 GB"),
    ],
)
def test_no_size_is_shown_as_nothing_or_as_a_thousand(size: float, whole: str, tenths: str) -> None:
    assert (human(size), human(size, tenths=True)) == (whole, tenths)
