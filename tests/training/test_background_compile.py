"""What is compiled in the background is what is called, and is compiled once."""

import re
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.envs import VectorEnv, Workers
from sobolev.training.background_compile import Ahead
from sobolev.training.program import Program
from tests import tiny

SEEDS = (2,)
OURS = re.compile(r"\b(step|act|learn|learn_many|inspect)\b")
"""Names of a program's functions, as XLA is told."""


@pytest.fixture
def compiled():
    """Counts compilations by the function's name."""
    names: Counter[str] = Counter()
    listening = True

    def listen(event: str, duration_secs: float, **about: str | int) -> None:
        if listening and event == "/jax/core/compile/backend_compile_duration":
            names[str(about["fun_name"])] += 1

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield names
    listening = False


def test_a_call_takes_what_was_compiled_before(compiled):
    ahead, shape = Ahead(), jax.ShapeDtypeStruct((3,), jnp.float32)
    function = jax.jit(lambda x: jnp.cos(x) @ jnp.sin(x))
    for _ in range(2):
        ahead.start({"dot": (function, (shape,))})
    ahead.wait("dot")
    result = function(np.arange(3, dtype=np.float32))
    x = np.arange(3)
    np.testing.assert_allclose(result, np.cos(x) @ np.sin(x), rtol=1e-5)
    assert compiled["jit(<lambda>)"] + compiled["jit__lambda"] + compiled["<lambda>"] == 1, compiled
    assert ahead.temporary_bytes("dot") >= 0 and ahead.temporary_bytes("unknown") == 0


def test_what_fails_there_comes_up_where_it_is_called():
    def wrong(x):
        raise ValueError("no such layer")

    ahead = Ahead()
    ahead.start({"wrong": (jax.jit(wrong), (jax.ShapeDtypeStruct((), jnp.float32),))})
    with pytest.raises(ValueError, match="no such layer"):
        ahead.wait("wrong")


def test_arguments_are_asked_for_in_their_turn():
    ahead, shape, order = Ahead(), jax.ShapeDtypeStruct((3,), jnp.float32), []

    def function(name):
        return jax.jit(lambda x: order.append(name) or x + 1)

    ahead.start({"first": (function("first"), (shape,)), "second": (function("second"), lambda: (shape,))})
    ahead.wait("second")
    assert order == ["first", "second"]


@pytest.mark.long
def test_a_run_calls_what_was_compiled_ahead(compiled):
    """Once everything is compiled, with the shapes of a run, the run's calls compile nothing."""
    capacity, played = tiny.CAPACITY, tiny.ENVIRONMENTS
    with tiny.quickly(), Workers(0) as workers:
        program = Program(tiny.agent(), SEEDS)  # not the one of other tests, which may have compiled everything
        envs = VectorEnv(workers, tiny.TASK, 1, SEEDS, tiny.ENVIRONMENTS, 0)
        evaluation = VectorEnv(workers, tiny.TASK, 1, SEEDS, played, 1)
        program.compile_ahead(tiny.ENVIRONMENTS, capacity, played, learns=True)
        state, replay = program.initial_state(), tiny.filled(program, SEEDS)
        carry, transition = program.initial_carry(tiny.ENVIRONMENTS), envs.reset(0)
        watching = program.initial_carry(played)
        assert all(program.compiled_bytes(name) > 0 for name in ("learn", "act", "step"))
        before = Counter(compiled)
        _, state, carry, replay = program.step(state, carry, replay, transition, 0)
        state, replay, report = program.learn(state, replay, 0)
        assert program.inspect(state, report, 1)
        program.act(state, watching, evaluation.reset(0), "evaluate", (0, 0))
    # what is measured for the log is compiled while the first update runs
    (inspect,) = [name for name in compiled if "inspect" in name]
    assert compiled[inspect] == 1 and {name for name in compiled - before if OURS.search(name)} <= {inspect}, compiled
