"""Two updates of a checkpoint's agents, in a process with as many devices as seeds: python sharded.py FROM TO."""

import sys
from pathlib import Path

import jax

from sobolev.checkpoints.slots import Checkpoints
from sobolev.envs import VectorEnv, Workers
from sobolev.training import snapshot
from sobolev.training.program import Program
from tests import tiny
from tests.training.test_program import CAPACITY, SEEDS


def main(source: Path, target: Path) -> None:
    """Restores the checkpoint in one folder on several devices, learns, and saves into another."""
    program = Program(tiny.agent(), SEEDS)
    assert program.layout.spread_over == len(SEEDS)
    checkpoints = Checkpoints(source)
    loaded = checkpoints.load("check")
    assert loaded is not None
    with Workers(0) as workers:
        envs = VectorEnv(workers, tiny.TASK, 1, SEEDS, tiny.ENVIRONMENTS, 0)
        now = snapshot.restore(checkpoints, loaded, program, envs, CAPACITY)
        for leaf in jax.tree.leaves((now.state, now.carry, now.replay.steps)):
            assert len({shard.device for shard in leaf.addressable_shards}) == len(SEEDS)
            assert leaf.addressable_shards[0].data.shape[0] == 1
        compiled = program.trace("update", tiny.ENVIRONMENTS, CAPACITY).lower().compile().as_text()
        assert compiled is not None
        words = ("all-reduce", "all-gather", "all-to-all", "collective-permute")
        assert not any(word in compiled for word in words), "seeds on different devices have nothing to say"
        for _ in range(2):
            now.state, now.replay, _ = program.learn(now.state, now.replay, now.updates)
            now.updates += 1
        action, now.state, now.carry, now.replay = program.step(
            now.state, now.carry, now.replay, now.transition, now.iteration
        )
        envs.send(action)
        now.transition, now.iteration = envs.receive(), now.iteration + 1
        snapshot.save(Checkpoints(target), now, envs, {"env_steps": 0})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
