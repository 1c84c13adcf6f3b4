"""Updates of one model on four devices, with replay on these and in host memory: see test_together.py."""

from typing import Any

import jax
import numpy as np

from sobolev.agents.dreamer.agent import Dreamer
from sobolev.training import snapshot
from sobolev.training.program import Program
from tests import tiny

SEEDS = (2,)


def main() -> None:
    """Two updates in one call, and one by one with batches out of host memory, are the same."""
    agent = Dreamer(tiny.config().agent, tiny.SPACES)
    program = Program(agent, SEEDS, data=4)

    def replay(where: str) -> Any:
        made = tiny.filled(program, SEEDS)
        steps, latents = jax.tree.map(np.array, (made.steps, made.latents))
        return program.placed_replay(snapshot.filled(steps, latents, 400, np.zeros((), np.int32), where))

    at_once, _, report = program.learn(program.initial_state(), replay("device"), 0, 2)
    one_by_one, host = program.initial_state(), replay("host")
    for update in range(2):
        one_by_one, host, last = program.learn(one_by_one, host, update)
        assert np.all(last.finite)
    batches = ((found.batch.environment, found.batch.start, found.batch.steps) for found in (report, last))
    jax.tree.map(np.testing.assert_array_equal, *batches)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), at_once.model, one_by_one.model)
    assert 0 < program.inspect(at_once, report, 2)["penalty/gradient_norm"][0] < np.inf
    for leaf in jax.tree.leaves((at_once, one_by_one, host.latents, last.batch)):
        assert leaf.is_fully_replicated and len(leaf.devices()) == 4


if __name__ == "__main__":
    main()
