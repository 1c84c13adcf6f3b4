"""An environment may do anything at any moment: what steps it goes on, or ends with a sentence, and leaves nothing."""

import pathlib
import tempfile
import time

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from sobolev.envs import VectorEnv, WorkerError, Workers
from sobolev.errors import UserError
from tests.envs import odd_environments as odd
from tests.envs.children import children

MOMENTS = ("make", "reset", "step", "render", "close")
WHAT = (
    *(f"code:{name}" for name in odd.CODE if name != "interrupt"),
    *(f"print:{name}" for name in odd.PRINTS),
    *(f"observation:{name}" for name in odd.OBSERVATIONS),
    *(f"accepted:{name}" for name in odd.ACCEPTED),
    *(f"reward:{name}" for name in odd.REWARDS),
    *(f"flag:{name}" for name in odd.FLAGS),
    *(f"arity:{name}" for name in ("4", "6", "none", "info")),
)
DEADLY = tuple(f"deadly:{name}" for name in odd.DEADLY)


class Anything(RuleBasedStateMachine):
    """Two streams of one environment, which is armed to do something the next time that it comes to some moment."""

    count, what = 0, WHAT

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.file = pathlib.Path(self.folder.name) / "armed"
        self.task = odd.put(f"Armed-{self.count}-v0", odd.Armed, file=str(self.file))
        self.before, self.workers, self.begun = children(), Workers(self.count), set[int]()
        self.armed = ""
        self.open()

    def open(self) -> None:
        """New environments, which may fail in being made."""
        self.environments, self.started = VectorEnv(self.workers, self.task, 1, [0], 2, 0), False
        self.begun |= children() - self.before
        self.attempt(lambda: self.environments.spaces)

    def attempt(self, call, *arguments) -> bool:
        """Whether it went well; else it was a sentence that tells of what was armed, and there are new environments."""
        try:
            call(*arguments)
            return True
        except UserError as error:
            text = str(error)
            assert self.armed and not self.file.exists(), text
            assert self.task in text and "Traceback" not in text
            assert "/sobolev/envs/" not in text and len(text.split("\n")[0]) < 800
            if "worker" in text:
                assert isinstance(error, WorkerError)
                self.workers.close()
                self.workers = Workers(self.count)
        self.armed = ""
        self.open()
        return False

    @rule(data=st.data(), moment=st.sampled_from(MOMENTS))
    def arm(self, data: st.DataObject, moment: str) -> None:
        self.armed = data.draw(st.sampled_from(self.what))
        self.file.write_text(f"{moment} {self.armed}")

    @rule(episode=st.integers(0, 3))
    def reset(self, episode: int) -> None:
        self.started = self.attempt(self.environments.reset, episode)

    @precondition(lambda self: self.started)
    @rule(steps=st.integers(1, 8))
    def step(self, steps: int) -> None:
        for _ in range(steps):
            actions = np.ones((1, 2, 2), np.float32)
            self.environments.send(actions)
            np.testing.assert_array_equal(actions, 1)
            if not self.attempt(self.receive):
                return

    def receive(self) -> None:
        transition = self.environments.receive()
        seen = transition["observation"]["observation"]
        assert seen.shape == (1, 2, 3) and seen.dtype == np.float32 and np.isfinite(seen).all()
        assert np.isfinite(transition["reward"]).all()

    @precondition(lambda self: self.started)
    @rule(stream=st.integers(0, 1))
    def render(self, stream: int) -> None:
        self.attempt(lambda: self.environments.render(0, stream, 8, 8).shape)

    @precondition(lambda self: self.started)
    @rule()
    def restore(self) -> None:
        self.attempt(lambda: self.environments.restore(self.environments.records()))

    @rule()
    def close(self) -> None:
        if self.attempt(self.environments.close):
            self.open()

    def teardown(self) -> None:
        if not hasattr(self, "workers"):
            return
        self.file.unlink(missing_ok=True)
        begun = time.monotonic()
        self.workers.close()
        assert time.monotonic() - begun < 10
        assert len(self.begun) >= self.count and not self.begun & children()
        self.folder.cleanup()


class InWorkers(Anything):
    """The same in processes, which it may kill."""

    count, what = 2, (*WHAT, "code:interrupt", *DEADLY, *DEADLY, *DEADLY)


@pytest.mark.long
def test_anything_in_this_process():
    run_state_machine_as_test(Anything, settings=settings(max_examples=60, stateful_step_count=30, deadline=None))


@pytest.mark.long
def test_anything_in_workers():
    run_state_machine_as_test(InWorkers, settings=settings(max_examples=6, stateful_step_count=25, deadline=None))
