"""Seeds side by side are the seeds alone, on one device and on several; updates are made in place."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from sobolev.checkpoints.slots import Checkpoints
from sobolev.distributed.sharding import Layout, shards
from sobolev.envs import VectorEnv, Workers
from sobolev.training import snapshot
from sobolev.training.seed_functions import SeedFunctions
from tests import tiny
from tests.agents import family

SEEDS = (0, 1, 2)
CAPACITY = tiny.CAPACITY
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _quick():
    with tiny.quickly():
        yield


def of_last_seed(tree):
    return jax.tree.map(lambda leaf: np.asarray(leaf)[-1:], tree)


def assert_close(ours, theirs, rtol, atol):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), ours, theirs)


def test_initial_parameters_do_not_depend_on_the_company():
    alone, together = (tiny.program(tiny.agent(), seeds).initial_state() for seeds in ((2,), SEEDS))
    jax.tree.map(np.testing.assert_array_equal, of_last_seed(together), alone)
    kernels = np.asarray(together.model.world.rssm.gates.kernel)
    assert not np.array_equal(kernels[0], kernels[1])


@pytest.mark.parametrize("method", ["gpld", *family.METHODS])
def test_no_number_of_a_fresh_agent_is_weak(method):
    """An update would be compiled twice: for it, and for its successor."""
    agent = tiny.agent() if method == "gpld" else family.program(method).agent
    raw = jax.eval_shape(agent.init, jax.random.key(0))
    made = jax.eval_shape(SeedFunctions(agent, (0,), Layout(1)).initial, 0)
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(made))
    assert jax.tree.structure(raw) == jax.tree.structure(made)
    if method == "dsdpg":
        assert any(leaf.weak_type for leaf in jax.tree.leaves(raw)), "it is what this test is about"


def test_environments_do_not_depend_on_the_company():
    with Workers(0) as workers:
        alone, together = (VectorEnv(workers, tiny.TASK, 1, seeds, 2, 0) for seeds in ((2,), SEEDS))
        rng = np.random.default_rng(0)
        steps = [(together.reset(0), alone.reset(0))]
        for _ in range(30):
            action = rng.normal(size=(3, 2, 1)).astype(np.float32)
            together.send(action)
            alone.send(action[-1:])
            steps.append((together.receive(), alone.receive()))
    for all_seeds, one in steps:
        jax.tree.map(np.testing.assert_array_equal, of_last_seed(all_seeds), one)
    assert any(one["last"].any() for _, one in steps)


@pytest.mark.long
def test_updates_do_not_depend_on_the_company():
    """Four updates on the same data: the same windows, and parameters up to the order of additions."""
    results = []
    for seeds in ((2,), SEEDS):
        tiny.compiled_learn(seeds)
        program = tiny.program(tiny.agent(), seeds)
        state, replay, reports = program.initial_state(), tiny.filled(program, seeds), []
        for update in range(4):
            state, replay, report = program.learn(state, replay, update)
            reports.append(report)
        latents = jax.tree.map(lambda ring: ring[:, :, :400], replay.latents)
        results.append((of_last_seed(state), of_last_seed(latents), of_last_seed(reports), int(replay.taken)))
    (state, latents, reports, taken), (others_state, others_latents, others_reports, others_taken) = results
    assert taken == others_taken == 16
    for ours, theirs in zip(reports, others_reports, strict=True):
        jax.tree.map(np.testing.assert_array_equal, ours.batch.start, theirs.batch.start)
        jax.tree.map(np.testing.assert_array_equal, ours.batch.steps, theirs.batch.steps)
        assert_close(ours.metrics, theirs.metrics, 1e-3, 1e-4)
    assert_close(state.model, others_state.model, 1e-3, 1e-5)
    np.testing.assert_array_equal(latents["stoch"], others_latents["stoch"])
    deter, others = (x["deter"].view(np.float16).astype(np.float32) for x in (latents, others_latents))
    np.testing.assert_allclose(deter, others, atol=2e-3)


@pytest.mark.long
@pytest.mark.parametrize("seeds", [(2,), SEEDS], ids=str)
def test_an_update_does_not_copy_the_replay(seeds):
    """The compiled update needs less than a tenth of the replay's memory beside it, and gives the replay back."""
    analysis = tiny.compiled_learn(seeds).memory_analysis()
    replay = tiny.program(tiny.agent(), seeds).initial_replay(tiny.ENVIRONMENTS, tiny.CAPACITY)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(replay))
    assert size > 15e6 * len(seeds)
    assert 0 < analysis.temp_size_in_bytes < 0.1 * size
    assert analysis.alias_size_in_bytes >= size
    assert analysis.output_size_in_bytes - analysis.alias_size_in_bytes < 0.1 * size


def test_seeds_are_spread_over_as_many_devices_as_divide_them():
    pairs = [(5, 8), (4, 3), (6, 4), (3, 2), (1, 8), (8, 8)]
    assert [shards(seeds, devices) for seeds, devices in pairs] == [5, 2, 3, 1, 1, 8]


@pytest.mark.long
def test_seeds_on_several_devices_are_the_seeds_on_one(tmp_path):
    """A checkpoint of one device goes on with two updates and a step on three, and comes back to one."""
    tiny.compiled_learn(SEEDS)
    program = tiny.program(tiny.agent(), SEEDS)
    with Workers(0) as workers:
        envs = VectorEnv(workers, tiny.TASK, 1, SEEDS, tiny.ENVIRONMENTS, 0)
        now = dataclasses.replace(
            snapshot.begin(program, envs, CAPACITY), replay=tiny.filled(program, SEEDS), iteration=400
        )
        snapshot.save(Checkpoints(tmp_path / "one"), now, envs, {"env_steps": 0})
        several(tmp_path)
        for _ in range(2):
            now.state, now.replay, _ = program.learn(now.state, now.replay, now.updates)
            now.updates += 1
        step = program.step(now.state, now.carry, now.replay, now.transition, now.iteration)
        checkpoints = Checkpoints(tmp_path / "several")
        loaded = checkpoints.load("check")
        assert loaded is not None and (loaded.iteration, loaded.meta["updates"]) == (401, 2)
        theirs = snapshot.restore(checkpoints, loaded, program, envs, CAPACITY)
    action, state, carry, replay = step
    assert int(theirs.replay.count) == int(replay.count) == 401
    jax.tree.map(np.testing.assert_array_equal, theirs.replay.taken, replay.taken)
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a[:, :, :400], b[:, :, :400]), theirs.replay.steps, replay.steps
    )
    np.testing.assert_array_equal(theirs.replay.latents["stoch"][:, :, :401], replay.latents["stoch"][:, :, :401])
    np.testing.assert_allclose(theirs.replay.steps["action"][:, :, 400], action, atol=1e-4)
    assert_close(theirs.state.model, state.model, 1e-3, 1e-5)
    assert_close(theirs.carry, carry, 1e-3, 1e-4)


def several(folder: Path) -> None:
    """What sharded.py does with the checkpoint in FOLDER/one, in FOLDER/several."""
    environment = os.environ | tiny.quick_environment(len(SEEDS)) | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    command = [
        sys.executable,
        str(Path(__file__).parents[1] / "distributed" / "sharded.py"),
        str(folder / "one"),
        str(folder / "several"),
    ]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
