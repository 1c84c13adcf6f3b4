"""What an environment gives: what is taken, what is refused, and what the sentence says."""

import re

import numpy as np
import pytest

from sobolev.envs import Environment, Step, VectorEnv, Workers, make
from sobolev.envs.specs import ArraySpec, Spaces, build_spaces
from sobolev.envs.wrappers.checks import Checked, check_spaces, entry, flag, number
from sobolev.errors import UserError
from tests.envs import odd_environments as odd

ZERO = np.zeros(2, np.float32)
FLOAT, BYTE = np.dtype(np.float32), np.dtype(np.uint8)


def play(environment: Environment, steps: int = odd.LENGTH) -> list[Step]:
    return [environment.reset(7), *(environment.step(ZERO) for _ in range(steps))]


def refused(task: str, said: str, where: str) -> None:
    """Playing ends with one sentence that has what was given, the environment, and where to find it."""
    with pytest.raises(UserError, match=said) as caught:
        play(make(task))
    text = str(caught.value)
    assert task in text and where in text and "\n" not in text and type(caught.value) is UserError


@pytest.mark.parametrize("moment", ["reset", "step"])
@pytest.mark.parametrize("name", odd.OBSERVATIONS)
def test_observations_that_are_not_of_their_space(name: str, moment: str):
    where = {"reset": "in reset(), of the episode with seed 7", "step": "after 3 actions of the episode with seed 7"}
    refused(odd.register(f"observation:{name}", moment), odd.OBSERVATIONS[name][1].replace("+", r"\+"), where[moment])


@pytest.mark.parametrize("name", odd.REWARDS)
def test_rewards_that_are_no_finite_numbers(name: str):
    refused(odd.register(f"reward:{name}"), "the reward of .*" + odd.REWARDS[name][1], "after 3 actions")


@pytest.mark.parametrize("name", odd.FLAGS)
def test_flags_that_are_no_booleans(name: str):
    refused(odd.register(f"flag:{name}"), "'truncated' of .*" + odd.FLAGS[name][1], "after 3 actions")


@pytest.mark.parametrize("name", ["4", "6", "none", "info"])
def test_steps_that_are_no_five_values(name: str):
    refused(
        odd.register(f"arity:{name}"), r"step\(\) of .*return.*\(observation, reward, terminated", "after 3 actions"
    )


@pytest.mark.parametrize("moment", ["reset", "step"])
@pytest.mark.parametrize("name", odd.ACCEPTED)
def test_observations_that_become_float32(name: str, moment: str):
    plain, other = play(make(odd.register(""))), play(make(odd.register(f"accepted:{name}", moment)))
    at = 0 if moment == "reset" else 3
    for i, (ours, theirs) in enumerate(zip(plain, other, strict=True)):
        expected = ours.observation["observation"]
        if i == at:
            expected = np.asarray(odd.ACCEPTED[name](expected)).astype(np.float32)
        found = theirs.observation["observation"]
        assert found.dtype == np.float32 and type(found) is np.ndarray
        np.testing.assert_array_equal(found, expected)


def test_the_seed_of_the_sentence_reproduces_the_fault():
    task = odd.register("reward:nan", "step", 4)
    with Workers(0) as workers:
        environments = VectorEnv(workers, task, 1, [3], 2, 1)
        environments.reset(0)
        with pytest.raises(UserError, match="nan") as caught:
            for _ in range(9):
                environments.send(np.zeros((1, 2, 2), np.float32))
                environments.receive()
    seed, actions = re.findall(r"after (\d+) actions of the episode with seed (\d+)", str(caught.value))[0][::-1]
    again = make(task)
    again.reset(int(seed))
    for _ in range(int(actions) - 1):
        again.step(ZERO)
    with pytest.raises(UserError, match="nan"):
        again.step(ZERO)


def test_a_number_within_a_repeat_is_checked_too():
    with pytest.raises(UserError, match="-1e\\+40"):
        play(make(odd.register("reward:overflow", "step", 1), 3))


def test_sums_over_a_repeat_stay_within_float32():
    class Rich(Plain):
        def step(self, action: np.ndarray) -> Step:
            return super().step(action)._replace(reward=2 * 3e38)

    with pytest.raises(UserError, match="the reward of 't' is 6e\\+38"):
        play(Checked("t", Rich()), 1)


class Plain:
    """An environment of a family of its own."""

    def __init__(self, spaces: Spaces | None = None, observation: object = None):
        self.spaces = spaces or build_spaces({"a": ArraySpec((2,), "float32"), "b": ArraySpec((4,), "uint8")}, 2)
        self.observation = observation or {"a": [1.0, 2.0], "b": np.arange(4)}
        self.action = np.zeros(0)

    def _step(self, first: bool) -> Step:
        return Step(self.observation, 0.0, first, False, False)  # pyright: ignore[reportArgumentType]

    def reset(self, seed: int) -> Step:
        return self._step(True)

    def step(self, action: np.ndarray) -> Step:
        self.action = action
        action *= 0.5
        return self._step(False)

    def render(self, height: int, width: int) -> np.ndarray:
        return np.zeros((height, width, 4), np.uint8)

    def close(self) -> None:
        pass


def test_every_family_is_checked():
    step = play(Checked("t", Plain()), 1)[1]
    assert step.observation["a"].dtype == np.float32 and step.observation["b"].dtype == np.uint8
    for observation, said in (
        ({"a": [1.0, 2.0]}, "lacks the entry 'b'"),
        ({"a": [1.0, 2.0], "b": np.arange(4), "c": 1}, "has 'c', which is not in its space"),
        ([1.0, 2.0], "its space is a Dict"),
        ({"a": [1.0, 2.0], "b": np.arange(254, 258)}, "but its space says bytes"),
        ({"a": [1.0, 2.0], "b": np.arange(-1, 3)}, "but its space says bytes"),
        ({"a": [1.0, 2.0], "b": np.zeros(4)}, "holds float64 .* but its space says bytes"),
    ):
        with pytest.raises(UserError, match=said):
            Checked("t", Plain(observation=observation)).reset(0)
    with pytest.raises(UserError, match=r"gave uint8\[5, 6, 4\]"):
        Checked("t", Plain()).render(5, 6)


def test_entries_without_a_number_are_left_out():
    """As in goal environments whose own observation is empty: there is nothing in them to learn from."""
    spaces = build_spaces({"goal": ArraySpec((2,), "float32"), "observation": ArraySpec((0,), "float32")}, 2)
    checked = Checked("t", Plain(spaces, {"goal": [1, 2], "observation": []}))
    assert checked.spaces.keys == ("goal",) and set(checked.reset(0).observation) == {"goal"}
    with pytest.raises(UserError, match="lacks the entry 'observation'"):
        Checked("t", Plain(spaces, {"goal": [1, 2]})).reset(0)


def test_an_action_that_is_not_finite_is_the_agents():
    environment = Checked("t", Plain())
    environment.reset(3)
    with pytest.raises(UserError, match="the agent's action for 't' is .*nan.*1 action of the episode with seed 3"):
        environment.step(np.array([0, np.nan], np.float32))


def test_the_callers_action_is_left_alone():
    plain, action = Plain(), np.ones(2, np.float32)
    play(Checked("t", plain), 0)
    environment = Checked("t", plain)
    environment.reset(0)
    environment.step(action)
    np.testing.assert_array_equal(action, [1, 1])
    np.testing.assert_array_equal(plain.action, [0.5, 0.5])


def test_observations_are_arrays_of_ones_own():
    plain = Plain(observation={"a": np.ones(2, np.float32), "b": np.ones(4, np.uint8)})
    kept = Checked("t", plain).reset(0).observation
    for value in plain.observation.values():  # pyright: ignore[reportAttributeAccessIssue]
        value[:] = 9
    assert (kept["a"] == 1).all() and (kept["b"] == 1).all()


def test_what_numpy_is_told_to_do_does_not_matter():
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(entry("t", "x", (1,), FLOAT, np.array([1e-300])), [0])
        with pytest.raises(UserError, match="which float32 does not have"):
            entry("t", "x", (1,), FLOAT, np.array([1e39]))


def test_numbers_and_flags_of_any_type():
    for reward in (1, 1.0, True, np.float16(1), np.int8(1), np.ones(()), np.ones(1), np.ones((1, 1)), np.bool_(True)):
        assert number("t", reward) == 1.0 and type(number("t", reward)) is float
    assert number("t", np.float32(0.1)) == float(np.float32(0.1))
    assert number("t", float(np.finfo(np.float32).max)) == float(np.finfo(np.float32).max)
    for given in (True, np.bool_(True), np.ones((), bool), np.ones(1, bool)):
        assert flag("t", "terminated", given) is True
    assert entry("t", "x", (), BYTE, True) == 1


def test_arrays_of_jax_are_taken():
    import jax.numpy as jnp

    assert number("t", jnp.float32(2)) == 2.0 and flag("t", "last", jnp.array(True)) is True
    np.testing.assert_array_equal(entry("t", "x", (2,), FLOAT, jnp.array([1.0, 2.0])), np.array([1, 2], np.float32))


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((3, 64, 64), "channels first"),
        ((1, 84, 84), "channels first"),
        ((16, 64, 64), "channels first"),
        ((12, 48, 64), "channels first"),
        ((4, 64, 64, 3), "a stack of images"),
        ((64, 64), "a gray image without an axis"),
    ],
)
def test_images_that_are_laid_out_otherwise_are_said_for_what_they_are(shape: tuple[int, ...], said: str):
    with pytest.raises(UserError, match=f"'eye' of 't' is uint8.*{said}"):
        check_spaces("t", build_spaces({"eye": ArraySpec(shape, "uint8")}, 1))


@pytest.mark.parametrize(
    "shape", [(64, 64, 3), (48, 64, 12), (64, 64, 64), (16, 16, 32), (1, 1, 3), (84, 84, 1), (128,), (8, 8), ()]
)
def test_images_and_bytes_that_are_fine(shape: tuple[int, ...]):
    check_spaces("t", build_spaces({"eye": ArraySpec(shape, "uint8")}, 1))


def test_spaces_without_numbers():
    with pytest.raises(UserError, match="no dimensions"):
        check_spaces("t", build_spaces({"a": ArraySpec((1,), "float32")}, 0))
    for entries in ({}, {"a": ArraySpec((0,), "float32")}):
        with pytest.raises(UserError, match="has no observations"):
            check_spaces("t", build_spaces(entries, 1))
