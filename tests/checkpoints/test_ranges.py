"""Ranges of steps, against sets of numbers."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sobolev.checkpoints.ranges import Range, before, common, joined, length, newest, told, true_ranges, without

RANGES = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=6)


def numbers(ranges: list[Range]) -> list[int]:
    """The steps, in the order in which the ranges have them."""
    return [step for start, stop in ranges for step in range(start, stop)]


@given(RANGES, RANGES, st.integers(0, 40), st.integers(0, 31))
def test_as_sets_of_numbers(ones: list[Range], others: list[Range], count: int, step: int) -> None:
    ours, theirs, whole = set(numbers(ones)), set(numbers(others)), joined(ones)
    assert numbers(whole) == sorted(ours)
    assert all(a[1] < b[0] for a, b in zip(whole, whole[1:], strict=False)), "as few as can be"
    assert numbers(common(ones, others)) == sorted(ours & theirs)
    assert numbers(without(ones, others)) == sorted(ours - theirs)
    assert length(whole) == len(ours)
    assert numbers(newest(whole, count)) == sorted(ours)[max(0, len(ours) - count) :]
    assert before(whole, step) == len([number for number in ours if number < step])


@given(st.lists(st.booleans(), max_size=20), st.integers(0, 5))
def test_of_a_mask(mask: list[bool], offset: int) -> None:
    assert numbers(true_ranges(np.array(mask, bool), offset)) == [i + offset for i, there in enumerate(mask) if there]


def test_in_words() -> None:
    assert told([(7, 8)]) == "step 7"
    assert told([(3, 6), (9, 10)]) == "steps 3 to 5 and 9"
    assert told([(2 * i, 2 * i + 1) for i in range(6)]) == "steps 0, 2, 4 and 3 more ranges"
