"""Colours of methods, known and unknown."""

from sobolev.config.registry import OURS
from sobolev.plotting.colors import COLORS, GREY, OTHERS, colors


def test_every_method_of_the_package_has_a_colour_of_its_own() -> None:
    assert set(COLORS) >= set(OURS)
    every = [*COLORS.values(), *OTHERS, GREY]
    assert len(set(every)) == len(every)


def test_a_method_of_another_package_has_the_same_colour_in_all_figures() -> None:
    alone = colors(["mine"])["mine"]
    assert alone in OTHERS
    assert colors(["gpld", "mine", "dreamer"]) == {"gpld": COLORS["gpld"], "mine": alone, "dreamer": COLORS["dreamer"]}


def test_labels_have_different_colours_as_long_as_there_are_some() -> None:
    labels = [f"gpld rho={number}" for number in range(len(OTHERS))]
    assert len(set(colors(labels).values())) == len(labels)
    more = colors([*labels, "gpld", "one", "more"])
    assert len(more) == len(labels) + 3 and set(more.values()) == {*OTHERS, COLORS["gpld"]}
