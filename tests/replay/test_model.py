"""Replay against a plain Python model, under any interleaving of its operations."""

from dataclasses import dataclass, field
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sobolev.replay import add, create, sample, write_back

ENVIRONMENTS, LENGTH, BATCH = 2, 3, 4
SIZE = LENGTH + 1

_add = jax.jit(add, donate_argnums=0)
_sample = jax.jit(partial(sample, batch=BATCH, length=LENGTH), donate_argnums=0)
_write_back = jax.jit(write_back, donate_argnums=0)
_create = jax.jit(create, static_argnums=(2, 3))


def empty(capacity):
    step = {
        "observation": {"x": jnp.zeros(2)},
        "first": jnp.zeros((), bool),
        "last": jnp.zeros((), bool),
    }
    latents = {"deter": jnp.zeros(3, jnp.uint16), "stoch": jnp.zeros(2, jnp.uint8)}
    return _create(step, latents, ENVIRONMENTS, capacity)


def latents_of(versions):
    """Different latents for every version number [...]."""
    versions = np.asarray(versions)[..., None]
    return {
        "deter": (versions * 7 + np.arange(3)).astype(np.uint16),
        "stoch": (versions + np.arange(2)).astype(np.uint8),
    }


@dataclass
class Model:
    """Every environment's whole stream, and of each stored step the version of its latents."""

    capacity: int
    first: list = field(default_factory=lambda: [[] for _ in range(ENVIRONMENTS)])
    last: list = field(default_factory=lambda: [[] for _ in range(ENVIRONMENTS)])
    versions: list = field(default_factory=lambda: [[] for _ in range(ENVIRONMENTS)])
    queue: list = field(default_factory=list)
    new_version: int = 0

    @property
    def count(self):
        return len(self.first[0])

    @property
    def oldest(self):
        return max(self.count - self.capacity, 0)

    def next_version(self):
        self.new_version = (self.new_version + 1) % 200
        return self.new_version

    def add(self, first, last, versions):
        for environment in range(ENVIRONMENTS):
            self.first[environment].append(first[environment])
            self.last[environment].append(last[environment])
            self.versions[environment].append(versions[environment])
        if self.count % SIZE == 0:
            self.queue += [(environment, self.count - SIZE) for environment in range(ENVIRONMENTS)]

    def take_online(self):
        self.queue = [item for item in self.queue if item[1] >= self.oldest]
        taken, self.queue = self.queue[:BATCH], self.queue[BATCH:]
        return taken


class ReplayMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.replay = empty(11)
        self.model = Model(11)
        self.sampled = []

    @rule(flags=st.lists(st.booleans(), min_size=4, max_size=4), times=st.integers(1, 6))
    def add(self, flags, times):
        for _ in range(times):
            versions = [self.model.next_version() for _ in range(ENVIRONMENTS)]
            number = np.arange(ENVIRONMENTS)[:, None] * 1000 + self.model.count + np.asarray([0, 0.5])
            step = {
                "observation": {"x": number.astype(np.float32)},
                "first": np.asarray(flags[:2]),
                "last": np.asarray(flags[2:]),
            }
            self.replay = _add(self.replay, step, latents_of(versions))
            self.model.add(flags[:2], flags[2:], versions)

    @precondition(lambda self: self.model.count >= SIZE)
    @rule(seed=st.integers(0, 2**31))
    def sample(self, seed):
        windows, self.replay = _sample(self.replay, jax.random.key(seed))
        windows = jax.tree.map(np.asarray, windows)
        environment, start = windows.environment, windows.start
        online = self.model.take_online()
        assert list(zip(environment, start, strict=True))[: len(online)] == online
        assert np.all((environment >= 0) & (environment < ENVIRONMENTS))
        assert np.all((start >= self.model.oldest) & (start + SIZE <= self.model.count)), "crosses the write head"
        for index in range(BATCH):
            self.check_window(jax.tree.map(lambda leaf, index=index: leaf[index], windows))
        self.sampled = [*self.sampled[-2:], windows]

    def check_window(self, window):
        environment, start = int(window.environment), int(window.start)
        numbers = environment * 1000 + np.arange(start, start + SIZE)
        np.testing.assert_array_equal(window.steps["observation"]["x"], numbers[:, None] + np.asarray([0, 0.5]))
        first = np.asarray(self.model.first[environment][start : start + SIZE])
        last = np.asarray(self.model.last[environment][start : start + SIZE])
        last[:-1] |= first[1:]
        np.testing.assert_array_equal(window.steps["first"], first)
        np.testing.assert_array_equal(window.steps["last"], last)
        wanted = latents_of(self.model.versions[environment][start])
        jax.tree.map(np.testing.assert_array_equal, window.latents, wanted)

    @precondition(lambda self: len(self.sampled) > 0)
    @rule(data=st.data(), where=st.sampled_from([True, True, False]))
    def write_back(self, data, where):
        windows = data.draw(st.sampled_from(self.sampled), label="windows")
        versions = [[self.model.next_version() for _ in range(LENGTH)] for _ in range(BATCH)]
        self.replay = _write_back(self.replay, windows, latents_of(versions), np.asarray(where))
        for environment, start, row in zip(windows.environment, windows.start, versions, strict=True):
            for offset, version in enumerate(row):
                step = int(start) + 1 + offset
                if where and step >= self.model.oldest:
                    self.model.versions[int(environment)][step] = version

    @invariant()
    def holds_what_the_model_holds(self):
        capacity, model = self.model.capacity, self.model
        steps = np.arange(model.oldest, model.count)
        assert int(self.replay.count) == model.count
        stored = jax.tree.map(
            lambda ring: np.asarray(ring)[:, steps % capacity], (self.replay.steps, self.replay.latents)
        )
        np.testing.assert_array_equal(stored[0]["first"], np.asarray(model.first, bool)[:, steps])
        np.testing.assert_array_equal(stored[0]["last"], np.asarray(model.last, bool)[:, steps])
        wanted = latents_of(np.asarray(model.versions, int)[:, steps])
        jax.tree.map(np.testing.assert_array_equal, stored[1], wanted)


TestReplay = ReplayMachine.TestCase
TestReplay.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, database=None, derandomize=True, print_blob=False
)
