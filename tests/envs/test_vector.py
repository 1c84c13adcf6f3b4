import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np
import pytest

from sobolev.envs import Transition, VectorEnv, WorkerError, Workers
from sobolev.envs.processes.server import episode_seed
from sobolev.errors import UserError
from tests.envs.children import children

_COUNTER = "gym:toy_environments:Counter-v0"


def _actions(environments: VectorEnv, number: int) -> np.ndarray:
    shape = (number, *environments.shape, environments.spaces.action)
    return np.random.default_rng(0).uniform(-1.2, 1.2, shape).astype(np.float32)


def _run(environments: VectorEnv, actions: Sequence[np.ndarray] | np.ndarray) -> list[Transition]:
    transitions = []
    for action in actions:
        environments.send(action)
        transitions.append(environments.receive())
    return transitions


def _equal(one: Transition, other: Transition, pick: slice = slice(None)) -> bool:
    """Whether the picked seeds of `one` are all of `other`, to the bit and the dtype."""
    pairs = [(one["observation"][key], other["observation"][key]) for key in one["observation"]]
    pairs += [(one["reward"], other["reward"]), (one["terminal"], other["terminal"])]
    pairs += [(one["first"], other["first"]), (one["last"], other["last"])]
    return all(a[pick].dtype == b.dtype and np.array_equal(a[pick], b) for a, b in pairs)


@pytest.mark.parametrize("task", [_COUNTER, "cartpole-swingup"])
def test_workers_do_not_change_what_is_computed(task: str):
    streams = []
    for count in (0, 2):
        with Workers(count) as workers:
            environments = VectorEnv(workers, task, None, [0, 3], 3, 0)
            streams.append([environments.reset(0), *_run(environments, _actions(environments, 20))])
    assert all(_equal(one, other) for one, other in zip(*streams, strict=True))


def test_seed_two_of_three_equals_seed_two_alone():
    with Workers(0) as workers:
        three, alone = VectorEnv(workers, _COUNTER, 1, [0, 1, 2], 2, 0), VectorEnv(workers, _COUNTER, 1, [2], 2, 0)
        assert _equal(three.reset(0), alone.reset(0), slice(2, 3))
        actions = _actions(three, 20)
        pairs = zip(_run(three, actions), _run(alone, actions[:, 2:]), strict=True)
        assert all(_equal(one, other, slice(2, 3)) for one, other in pairs)


def test_shapes_and_dtypes():
    with Workers(1) as workers:
        environments = VectorEnv(workers, "walker-walk", None, [0, 1], 2, 0)
        transition = environments.reset(0)
        assert transition["observation"]["height"].shape == (2, 2)
        assert transition["observation"]["orientations"].shape == (2, 2, 14)
        assert transition["reward"].dtype == np.float32 and transition["first"].dtype == bool
        assert transition["first"].all() and not transition["last"].any() and not transition["reward"].any()


def test_a_reset_follows_a_last_step_and_ignores_the_action():
    with Workers(0) as workers:
        environments = VectorEnv(workers, _COUNTER, 1, [0], 2, 0)
        environments.reset(4)
        transitions = _run(environments, np.ones((9, 1, 2, 4), np.float32))
        assert [bool(t["last"].all()) for t in transitions] == [False] * 6 + [True] + [False] * 2
        assert transitions[6]["terminal"].all() and not transitions[6]["first"].any()
        assert transitions[7]["first"].all() and not transitions[7]["reward"].any()
        assert not transitions[7]["observation"]["action"].any()
        records = environments.records()
        assert (records["episode"] == 5).all() and (records["length"] == 1).all()
        fifth = VectorEnv(workers, _COUNTER, 1, [0], 2, 0).reset(5)
        assert _equal(transitions[7], fifth)


def test_episodes_are_seeded_by_seed_kind_environment_and_episode():
    with Workers(0) as workers:
        noise = []
        for kind in (0, 1):
            environments = VectorEnv(workers, _COUNTER, 1, [0, 1], 2, kind)
            noise += [environments.reset(episode)["observation"]["noise"].reshape(4, 2) for episode in (0, 1)]
    assert len(np.unique(np.concatenate(noise), axis=0)) == 16
    import gymnasium

    single = gymnasium.make(_COUNTER.removeprefix("gym:"))
    wanted = single.reset(seed=episode_seed(1, 0, 1, 0))[0]["noise"]
    np.testing.assert_array_equal(noise[0][3], wanted)


def test_transitions_are_arrays_of_their_own():
    with Workers(0) as workers:
        environments = VectorEnv(workers, _COUNTER, 1, [0], 1, 0)
        first = environments.reset(0)
        kept = first["observation"]["noise"].copy()
        _run(environments, _actions(environments, 1))
        np.testing.assert_array_equal(first["observation"]["noise"], kept)


@pytest.mark.parametrize("task", [_COUNTER, "finger-spin"])
@pytest.mark.parametrize("count", [0, 2])
def test_restore_is_exact_at_any_step(task: str, count: int):
    with Workers(count) as workers:
        environments = VectorEnv(workers, task, None, [0, 1], 2, 0)
        restored = VectorEnv(workers, task, None, [0, 1], 2, 0)
        current, actions = environments.reset(0), _actions(environments, 24)
        kept = []
        for action in actions:  # for the counter that is thrice over the end of an episode, the last step included
            kept.append((environments.records(), current))
            current = _run(environments, [action])[0]
        for at in (0, 1, 6, 7, 8, 9, 15, 23) if task == _COUNTER else (0, 5, 23):
            records, wanted = kept[at]
            assert _equal(restored.restore(records, wanted), wanted)
            after = _run(restored, actions[at : at + 3])
            wanted_after = [transition for _, transition in kept[at + 1 : at + 4]]
            assert all(_equal(one, other) for one, other in zip(after, wanted_after, strict=False))
            again = restored.records()
            assert again["action"].shape == (again["length"].sum(), environments.spaces.action)


def test_restore_across_the_end_of_a_long_episode():
    with Workers(2) as workers:
        environments = VectorEnv(workers, "cartpole-swingup", 2, [0], 2, 0)
        environments.reset(0)
        actions = _actions(environments, 520)
        current = _run(environments, actions[:500])[-1]
        assert current["last"].all() and not current["terminal"].any()
        end, records = current, environments.records()
        assert (records["length"] == 500).all()
        after = _run(environments, actions[500:])
        assert after[0]["first"].all()
        restored = VectorEnv(workers, "cartpole-swingup", 2, [0], 2, 0)
        assert _equal(restored.restore(environments.records(), after[-1]), after[-1])
        assert _equal(restored.restore(records, end), end)
        assert all(_equal(a, b) for a, b in zip(_run(restored, actions[500:]), after, strict=True))


@pytest.mark.parametrize("name", ["Chance", "Length"])
def test_an_environment_that_does_not_repeat_itself_is_found_out(name: str):
    with Workers(0) as workers:
        environments = VectorEnv(workers, f"gym:toy_environments:{name}-v0", 1, [5], 40, 0)
        environments.reset(0)
        current = _run(environments, _actions(environments, 20))[-1]
        with pytest.raises(UserError, match=r"environment \d+ of seed 5 .* cannot be resumed"):
            environments.restore(environments.records(), current)


def test_records_of_other_shapes_are_refused():
    with Workers(0) as workers:
        one, two = VectorEnv(workers, _COUNTER, 1, [0], 1, 0), VectorEnv(workers, _COUNTER, 1, [0], 2, 0)
        one.reset(0)
        with pytest.raises(UserError, match=r"saved environments are \(1, 1\)"):
            two.restore(one.records())


def test_the_record_holds_only_the_running_episode():
    with Workers(0) as workers:
        environments = VectorEnv(workers, _COUNTER, 1, [0], 1, 0)
        environments.reset(0)
        for action in _actions(environments, 100):
            _run(environments, [action])
            assert environments.records()["length"].max() <= 7


def test_use_in_the_wrong_order_is_refused():
    with Workers(0) as workers:
        environments = VectorEnv(workers, _COUNTER, 1, [0], 1, 0)
        action = np.zeros((1, 1, 4), np.float32)
        with pytest.raises(RuntimeError, match="reset first"):
            environments.send(action)
        environments.reset(0)
        with pytest.raises(RuntimeError, match="nothing was sent"):
            environments.receive()
        with pytest.raises(ValueError, match="actions have shape"):
            environments.send(action[0])
        environments.send(action)
        for call in (lambda: environments.send(action), lambda: environments.reset(0)):
            with pytest.raises(RuntimeError, match="receive first"):
                call()


def test_records_are_of_the_newest_step_that_was_received():
    """So that a step that never ends can be taken again."""
    with Workers(0) as workers:
        environments = VectorEnv(workers, _COUNTER, 1, [0], 2, 0)
        environments.reset(0)
        actions = _actions(environments, 9)
        for action in actions:  # the seventh ends an episode
            before = environments.records()
            environments.send(action)
            under_way = environments.records()
            assert all(np.array_equal(under_way[name], before[name]) for name in before)
            environments.receive()
        assert environments.records()["length"].tolist() == [[1, 1]]


def test_environments_may_be_numbered_from_another_number_on():
    """Ten of them in two rounds of five begin and go on as ten."""
    with Workers(0) as workers:
        ten, five = VectorEnv(workers, _COUNTER, 1, [0, 1], 10, 2), VectorEnv(workers, _COUNTER, 1, [0, 1], 5, 2)
        actions = _actions(ten, 10)
        wanted = [ten.reset(3), *_run(ten, actions)]
        for first in (0, 5):
            part = slice(first, first + 5)
            found = [five.reset(3, first), *_run(five, actions[:, :, part])]
            for one, whole in zip(found, wanted, strict=True):
                np.testing.assert_array_equal(one["observation"]["noise"], whole["observation"]["noise"][:, part])


@pytest.mark.parametrize(("seeds", "number"), [([], 1), ([-1], 1), ([0], 0)])
def test_impossible_layouts_are_refused(seeds: list[int], number: int):
    with Workers(0) as workers, pytest.raises(UserError, match="at least one"):
        VectorEnv(workers, _COUNTER, 1, seeds, number, 0)


def test_steps_of_several_groups_may_overlap_in_any_order():
    with Workers(2) as workers:
        one, two = VectorEnv(workers, _COUNTER, 1, [0], 3, 0), VectorEnv(workers, _COUNTER, 1, [0], 1, 1)
        one.reset(0)
        two.reset(0)
        one.send(_actions(one, 1)[0])
        two.send(_actions(two, 1)[0])
        assert two.receive()["observation"]["time"].tolist() == [[1]]
        assert one.receive()["observation"]["time"].tolist() == [[1, 1, 1]]
        one.close()
        assert two.reset(0)["first"].all()


@pytest.mark.parametrize("count", [0, 2])
def test_failures_reach_the_parent(count: int):
    with Workers(count) as workers:
        broken = VectorEnv(workers, "gym:toy_environments:Raise-v0", 1, [0], 2, 0)
        broken.reset(0)
        with pytest.raises(WorkerError, match="ZeroDivisionError: the toy is broken"):
            _run(broken, _actions(broken, 3))
        mistaken = VectorEnv(workers, "gym:toy_environments:Nan-v0", 1, [0], 2, 0)
        mistaken.reset(0)
        with pytest.raises(UserError, match="holds NaN"):
            _run(mistaken, _actions(mistaken, 3))
        refused = VectorEnv(workers, "gym:toy_environments:Action-unbounded-v0", 1, [0], 2, 0)
        for _ in range(2):
            with pytest.raises(UserError, match="not bounded"):
                refused.reset(0)
        fine = VectorEnv(workers, _COUNTER, 1, [0], 2, 0)
        assert fine.reset(0)["first"].all()


def test_the_death_of_a_worker_is_told():
    with Workers(2) as workers:
        environments = VectorEnv(workers, "gym:toy_environments:Die-v0", 1, [0], 2, 0)
        environments.reset(0)
        with pytest.raises(WorkerError, match="killed by SIGKILL"):
            _run(environments, _actions(environments, 3))
        with pytest.raises(WorkerError, match="killed by SIGKILL"):
            environments.reset(0)


_PARENT = """
import os, signal, sys, time
sys.path[:] = {path!r}
import gymnasium
from children import children
from toy_environments import Counter
class Mine(Counter):
    pass
gymnasium.register("Mine-v0", Mine, kwargs=dict(fault="slow", end=10**9))
if __name__ != "__main__":
    print("imported again", flush=True)
from sobolev.envs import VectorEnv, Workers
workers = Workers(2)
environments = VectorEnv(workers, "gym:Mine-v0", 1, [0], 4, 0)
action = environments.reset(0)["observation"]["action"].reshape(1, 4, 4)
print(*children(), flush=True)
{then}
"""


def _parent(tmp_path: str, then: str) -> subprocess.Popen[str]:
    script = f"{tmp_path}/script.py"
    with open(script, "w") as file:
        file.write(_PARENT.format(path=sys.path, then=then))
    return subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
    except NotADirectoryError:
        return False


def test_workers_end_with_a_parent_that_is_killed_in_the_middle_of_a_step(tmp_path):
    parent = _parent(str(tmp_path), "environments.send(action); os.kill(os.getpid(), signal.SIGKILL)")
    said, _ = parent.communicate(timeout=60)  # the environment is one that only the script knows
    workers = [int(pid) for pid in said.split()]  # fails if a worker has imported the script again
    assert len(workers) == 2 and parent.returncode == -9
    deadline = time.monotonic() + 10
    while any(_alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_alive(pid) for pid in workers)


def test_workers_ignore_interrupts_and_leave_when_the_parent_ends(tmp_path):
    then = """
for pid in children():
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(pid, number)
for _ in range(3):
    environments.send(action)
    print("time", environments.receive()["observation"]["time"].tolist(), flush=True)
print(any("jax" in open(f"/proc/{pid}/maps").read() for pid in children()))
workers.close()
"""
    parent = _parent(str(tmp_path), then)
    said, _ = parent.communicate(timeout=60)
    lines = said.splitlines()
    assert lines[1:] == [*(f"time [[{t}.0, {t}.0, {t}.0, {t}.0]]" for t in (1, 2, 3)), "False"]
    assert parent.returncode == 0 and not any(_alive(int(pid)) for pid in lines[0].split())


def test_closing_is_quick_even_while_starting():
    before, start = children(), time.monotonic()
    workers = Workers(2)
    VectorEnv(workers, "walker-walk", None, [0], 2, 0)
    begun = children() - before
    workers.close()
    assert time.monotonic() - start < 12
    assert len(begun) == 2 and not begun & children()
