"""Environments of every way to register one, in this process and in workers."""

import os
import subprocess
import sys
import threading

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Tuple

from sobolev.envs import VectorEnv, Workers, make
from sobolev.errors import UserError
from tests.envs import odd_environments as odd

SCRIPT = """
import sys
sys.path[:0] = {path!r}
import functools
import gymnasium
import numpy as np
from gymnasium.spaces import Box

class Mine(gymnasium.Env):
    observation_space, action_space = Box(-9, 9, (3,), np.float32), Box(-1, 1, (1,), np.float32)
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.np_random.uniform(-1, 1, 3).astype(np.float32), {{}}
    def step(self, action):
        return np.zeros(3, np.float32), 1.0, False, False, {{}}

def function(**kwargs):
    return Mine(**kwargs)

if __name__ == "__main__":
    from sobolev.envs import VectorEnv, Workers
    gymnasium.register("Mine-v0", entry_point={entry}, max_episode_steps=5)
    for count in (0, 1):
        with Workers(count) as workers:
            environments = VectorEnv(workers, "gym:Mine-v0", 1, [0], 1, 0)
            print(environments.reset(0)["observation"]["observation"].tolist())
"""


@pytest.mark.parametrize(
    "entry",
    ["Mine", '"__main__:Mine"', '"__main__:function"', "function", "lambda: Mine()", "functools.partial(Mine)"]
    + ['"nested.inside.there:There"'],
)
def test_entry_points_of_a_script_work_in_workers(entry: str, tmp_path):
    there = tmp_path / "nested" / "inside"
    there.mkdir(parents=True)
    path = [*sys.path, str(tmp_path)]
    (tmp_path / "script.py").write_text(SCRIPT.format(path=path, entry=entry))
    (there / "there.py").write_text("from script import Mine\nclass There(Mine): pass\n")
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True)
    here, in_worker = done.stdout.splitlines() or pytest.fail(done.stderr)
    assert here == in_worker and here.startswith("[[[") and not done.stderr


def test_an_entry_that_cannot_be_sent_is_said_and_works_here():
    lock = threading.Lock()
    odd.put("Locked-v0", lambda: odd.Odd() if lock else None)
    with Workers(1) as workers, pytest.raises(UserError, match="'gym:Locked-v0' cannot be sent .*lock.*workers 0"):
        VectorEnv(workers, "gym:Locked-v0", 1, [0], 1, 0)
    with Workers(0) as workers:
        assert VectorEnv(workers, "gym:Locked-v0", 1, [0], 1, 0).reset(0)["first"].all()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import no_such_package", "needs the package 'no_such_package', which is not installed"),
        ("raise SystemExit('no licence')", r"ended the program \(sys.exit\) while '.*' was imported: no licence"),
        ("1 / 0", "failed while '.*' was imported: ZeroDivisionError"),
        ("def f(:", "failed while '.*' was imported: SyntaxError"),
    ],
)
def test_modules_that_cannot_be_imported(code: str, said: str, tmp_path, monkeypatch: pytest.MonkeyPatch):
    name = f"broken_{abs(hash(code))}"
    (tmp_path / f"{name}.py").write_text(code + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match=said) as caught:
        make(f"gym:{name}:Any-v0")
    assert f"gym:{name}:Any-v0" in str(caught.value)


def test_what_gymnasium_misses_is_said():
    odd.put("Missing-v0", "no_such_package.inside:Env")
    with pytest.raises(UserError, match="'gym:Missing-v0' needs the package 'no_such_package'"):
        make("gym:Missing-v0")
    gymnasium.registry.pop("Entry-v0", None)
    gymnasium.register("Entry-v0", vector_entry_point="somewhere:Vector")
    with pytest.raises(UserError, match="cannot make 'gym:Entry-v0': .*entry_point is not specified"):
        make("gym:Entry-v0")


def test_a_module_that_prints_leaves_stdout_alone(tmp_path):
    (tmp_path / "loud.py").write_text(
        "print('hello')\nimport gymnasium\nfrom tests.envs.odd_environments import Odd\n"
        "gymnasium.register('Loud-v0', Odd)\n"
    )
    code = f"import sys; sys.path[:] = {[*sys.path, str(tmp_path)]!r}\nfrom sobolev.envs import check_task\n"
    code += "check_task('gym:loud:Loud-v0'); print('said')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ))
    assert done.stdout == "said\n" and done.stderr == "hello\n"


class Spaced(odd.Odd):
    """Gives samples of its observation space."""

    def __init__(self, observation: gymnasium.Space, action: gymnasium.Space):
        super().__init__()
        self.observation_space, self.action_space = observation, action

    def _observe(self) -> np.ndarray:
        self.observation_space.seed(0)
        return self.observation_space.sample()


FINE = Box(-1, 1, (2,), np.float32)


def spaced(observation: gymnasium.Space, action: gymnasium.Space = FINE) -> str:
    return odd.put("Spaced-v0", Spaced, observation=observation, action=action)


@pytest.mark.parametrize(
    "observation",
    [
        Discrete(3),
        MultiDiscrete([2, 3]),
        Tuple((FINE, FINE)),
        Dict({"a": Dict({"b": FINE})}),
        Box(0, 255, (2,), np.int32),
        Box(0, 1, (2,), np.bool_),  # pyright: ignore[reportArgumentType, reportCallIssue]
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_advice_for_other_observations_is_true(observation: gymnasium.Space):
    with pytest.raises(UserError, match="'gym:Spaced-v0' is .*so wrap the environment") as caught:
        make(spaced(observation))
    env: gymnasium.Env = Spaced(observation, FINE)
    for name in ("FlattenObservation", "DtypeObservation"):
        if name in str(caught.value):
            wrapper = getattr(gymnasium.wrappers, name)
            env = wrapper(env, np.float32) if name == "DtypeObservation" else wrapper(env)
    wrapped = make(odd.put("Wrapped-v0", lambda: env))
    assert wrapped.reset(0).observation["observation"].dtype == np.float32


@pytest.mark.parametrize(
    ("action", "said"),
    [
        (Discrete(3), "needs continuous actions"),
        (MultiDiscrete([2, 3]), "needs continuous actions"),
        (Tuple((FINE, FINE)), "needs continuous actions"),
        (Dict({"a": FINE}), "needs continuous actions"),
        (Box(-3, 3, (2,), np.int64), "needs continuous actions"),
        (Box(0, np.inf, (1,), np.float32), "is not bounded"),
        (Box(-1, 1, (0,), np.float32), "has no dimensions"),
        (None, "is None"),
    ],
    ids=str,
)
def test_other_actions_are_refused(action: gymnasium.Space, said: str):
    with pytest.raises(UserError, match=f"the action space of 'gym:Spaced-v0'.* {said}") as caught:
        make(spaced(FINE, action))
    assert "\n" not in str(caught.value)


def test_keys_of_any_type():
    entries = {0: FINE, 1: Box(0, 255, (), np.uint8), "a/b": FINE, "Größe": FINE, "": FINE, (2, 3): FINE}
    environment = make(spaced(Dict(entries)))  # pyright: ignore[reportArgumentType]
    assert environment.spaces.keys == ("", "(2, 3)", "0", "1", "Größe", "a/b")
    step = environment.step(environment.reset(0).observation["0"])
    assert set(step.observation) == set(environment.spaces.keys)
    with pytest.raises(UserError, match="two observations called '1'"):
        make(spaced(Dict({1: FINE, "1": FINE})))  # pyright: ignore[reportArgumentType]
