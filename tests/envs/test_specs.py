import numpy as np
import pytest

from sobolev.envs.specs import ActionScale, ArraySpec, build_spaces
from sobolev.errors import UserError


def test_spaces_are_sorted_hashable_and_looked_up_by_key():
    one = build_spaces({"b": ArraySpec((), "float32"), "a": ArraySpec((2, 3), "uint8")}, 4)
    other = build_spaces({"a": ArraySpec((2, 3), "uint8"), "b": ArraySpec((), "float32")}, 4)
    assert one == other and hash(one) == hash(other)
    assert one.keys == ("a", "b")
    assert one.spec("a") == ArraySpec((2, 3), "uint8")
    with pytest.raises(KeyError):
        one.spec("c")


def test_actions_are_clipped_and_rescaled():
    scale = ActionScale("t", np.array([-1.0, 0.0, -0.8]), np.array([1.0, 4.0, 1.1]))
    np.testing.assert_allclose(
        scale(np.array([0.3, 0.5, 0.0], np.float32)), [float(np.float32(0.3)), 3.0, 0.15], rtol=1e-15
    )
    np.testing.assert_array_equal(scale(np.array([7, 7, 7], np.float32)), [1.0, 4.0, 1.1])
    np.testing.assert_array_equal(scale(np.array([-7, -7, -7], np.float32)), [-1.0, 0.0, -0.8])


@pytest.mark.parametrize("limit", [np.inf, 1e10])
def test_limits_must_be_finite(limit: float):
    with pytest.raises(UserError, match="'t' is not bounded"):
        ActionScale("t", np.array([-1.0, -limit]), np.ones(2))
