"""Updates on a replay in host memory: which windows an update samples, and gathering them while the one before runs."""

from dataclasses import dataclass, field
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.stages import Wrapped

from sobolev import replay as memory
from sobolev.agents.api import Chooses
from sobolev.replay import Choice, HostReplay, Replay, Streamed
from sobolev.training.seed_functions import SeedFunctions


@dataclass(eq=False)
class Streaming:
    """The windows of a run whose agent `Chooses`, gathered in host memory."""

    functions: SeedFunctions
    _choose: Wrapped = field(init=False)

    def __post_init__(self) -> None:
        self._choose = jax.jit(self.functions.choose, static_argnums=(2,))

    @property
    def windows(self) -> tuple[int, int]:
        """How many windows an update samples, and their length beside the context step."""
        return cast(Chooses, self.functions.agent).windows

    def zeros(self, replay: Replay | HostReplay, batch: bool) -> Streamed:
        """The device's part of a replay with these shapes, all zeros, with the steps of a batch or without."""
        number, length = self.windows
        lead = len(self.functions.seeds), number, length + 1
        rings = replay.steps if batch else {}
        steps = jax.tree.map(lambda ring: jnp.zeros((*lead, *ring.shape[3:]), ring.dtype), rings)
        latents = jax.tree.map(lambda ring: jnp.zeros(ring.shape, ring.dtype), replay.latents)
        return Streamed(steps, latents, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    def take(self, replay: HostReplay, update: int) -> tuple[Streamed, HostReplay]:
        """The device's part with the batch of an update, and the replay that `returned` completes after it."""
        return memory.take(replay, self._choice(replay, update, 0), self.windows[1])

    def look_ahead(self, replay: HostReplay, update: int, ahead: int) -> HostReplay:
        """The replay with the batch of a later update gathered, before which `ahead` steps will be added."""
        return memory.look_ahead(replay, self._choice(replay, update, ahead), self.windows[1])

    def _choice(self, replay: HostReplay, update: int, ahead: int) -> Choice:
        """The windows of an update before which `ahead` steps will be added.

        Computed on the host: a device would return them only after the update that it is busy with.
        """
        with jax.default_device(_host()):
            count = np.asarray(replay.count + ahead, np.int32)
            chosen = self._choose(count, replay.taken, replay.shape[1:], np.int32(update))
        return jax.tree.map(np.asarray, chosen)


def _host() -> jax.Device | None:
    """The host as a device, where jax has it beside an accelerator."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return None
