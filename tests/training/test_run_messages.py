"""What a run says of the memory that it takes."""

import mmap
import re
from pathlib import Path

import jax

from sobolev.agents.dreamer.agent import Dreamer
from sobolev.agents.dreamer.config import SIZES, DreamerConfig
from sobolev.config import configure, resolved
from sobolev.envs import VectorEnv, Workers
from sobolev.envs.specs import ArraySpec, Spaces
from sobolev.training import run_messages, snapshot
from sobolev.training.program import Program
from sobolev.training.requirements import Needs
from sobolev.training.schedule import Plan
from tests import tiny

SHAPES = {"height": (), "orientations": (14,), "velocity": (9,)}
WALKER = Spaces(tuple((name, ArraySpec(shape, "float32")) for name, shape in SHAPES.items()), 6)
SEEN = ("proprio", "pixels")
UNITS = {"bytes": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}


def test_a_replayed_step_of_the_12m_agent_takes_less_than_5_kilobytes():
    program = Program(Dreamer(DreamerConfig(model=SIZES["12m"], precision="float32"), WALKER), (0,))
    replay = jax.eval_shape(lambda: program.initial_replay(16, 1000))
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(replay))
    assert 4096 < size / 16_000 <= 5000


def test_the_advice_is_for_what_the_agent_sees():
    advice = {seen: str(run_messages.advice(configure("walker-run", settings={"observations": seen}))) for seen in SEEN}
    assert "`sobolev train walker-run --method gpld --preset laptop` learns within the hour" in advice["proprio"]
    assert "`sobolev train walker-run --observations pixels --method gpld --preset laptop` learns" in advice["pixels"]
    assert run_messages.advice(configure("walker-run", preset="laptop")) is None


def test_small_steps_of_replay_are_in_bytes():
    config = resolved(configure("toy:point-mass", method="td3"), "cpu")
    needs = Needs(steps=19_000_000, latents=0, agent=10, stored=1_000_000, devices=1)
    line = run_messages.plan(config, Plan.of(config), Path("run"), 0, needs)[1]
    assert "replay 19.0 MB (19 bytes a step), on disk at most 19.0 MB; in run" in line


def test_the_memory_that_is_announced_is_the_sum_of_its_parts():
    program = tiny.program(tiny.agent(), (2,))
    with Workers(0) as workers:
        now = snapshot.begin(program, VectorEnv(workers, tiny.TASK, 1, (2,), 2, 0), tiny.CAPACITY)
        line = run_messages.memory(now, 300_000_000)
    printed = re.findall(r"([\d.]+) (bytes|[kMG]B)", line)
    sizes = [float(number) * UNITS[unit] for number, unit in printed]
    # Each number is rounded by itself, to a tenth of its unit.
    rounding = sum(0.05 * UNITS[unit] for _, unit in printed)
    assert len(sizes) == 5 and abs(sizes[0] - sum(sizes[1:])) <= 1.001 * rounding
    assert sizes[1] == round(run_messages.size(now.replay), -5) and sizes[3] == 300e6
    assert sizes[0] >= run_messages.resident()


def test_resident_memory_grows_with_what_is_touched():
    size, before = 64_000_000, run_messages.resident()
    with mmap.mmap(-1, size) as new:  # an array may lie where this process has freed one
        assert run_messages.resident() - before < 0.1 * size
        new.write(bytes(size))
        assert run_messages.resident() - before > 0.9 * size
