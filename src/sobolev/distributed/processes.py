"""Several processes that train one model: every device holds networks and replay whole, and a part of each batch.

All processes run the same program in step (JAX's multi-process runtime). The first one leads: the environments live in
it, and what they give is sent to the others, byte for byte; it decides when to stop, and it alone writes into the run's
folder. So replay, random keys and networks are the same in all of them at every step, and a checkpoint is that of a
single process.
"""

import os
import pickle
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from sobolev.config import TrainConfig
from sobolev.config.train import DevicesConfig
from sobolev.envs import Transition, VectorEnv
from sobolev.envs.specs import Spaces
from sobolev.envs.vector import Records
from sobolev.errors import UserError
from sobolev.system.signals import Interrupted

T = TypeVar("T")

PATIENCE = 30
"""Seconds that processes wait for each other at the end."""


def join(config: DevicesConfig) -> None:
    """Take this process's place among the others, before jax is used: as flags say, else as SLURM's srun does.

    Does nothing where there are no others. `config` is that of a valid run.
    """
    told = (config.coordinator, config.processes, config.process)
    by_srun = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1 and "SLURM_PROCID" in os.environ
    if jax.distributed.is_initialized() or (told == (None, None, None) and not (config.data > 1 and by_srun)):
        return
    # jax takes a SLURM task's number on its machine for that of its GPU, which may be the only one that it is shown
    alone = len(os.environ.get("CUDA_VISIBLE_DEVICES", ",").split(",")) == 1
    jax.distributed.initialize(*told, [0] if alone else None, shutdown_timeout_seconds=PATIENCE)


def leads() -> bool:
    """Whether this process has the environments and writes."""
    return jax.process_index() == 0


def alone() -> bool:
    """Whether there are no others."""
    return jax.process_count() == 1


def agreed(value: int) -> int:
    """The leader's value, in all processes."""
    if alone():
        return value
    return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def check_same(iteration: int) -> None:
    """UserError, in all processes, where the checkpoints that they begin with are of different iterations."""
    found = _everyones(iteration)
    if len(found) > 1:
        told = " and ".join(map(str, sorted(found)))
        raise UserError(f"the processes see checkpoints of iterations {told}: they need a folder that all can read")


def in_turn(call: Callable[[], T]) -> T:
    """What a call gives, made by the leader first, then by the others, which thus find what it wrote.

    A UserError in one process is one in all of them.
    """
    if alone():
        return call()
    results: list[T] = []
    error, failed = None, False
    for turn in (True, False):
        if leads() == turn and not failed:
            try:
                results.append(call())
            except UserError as caught:
                error = caught
        failed = 1 in _everyones(int(error is not None))
    if failed:
        raise error or UserError("another of the processes cannot go on, and says why")
    return results[0]


@contextmanager
def own_folder(run: Path) -> Iterator[Path]:
    """The folder in which this process writes its log: the run's for the leader, one that vanishes for the others."""
    if leads():
        yield run
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)


def _everyones(value: int) -> set[int]:
    """The values of all processes, in all of them."""
    if alone():
        return {value}
    return set(np.ravel(multihost_utils.process_allgather(np.int32(value))).tolist())


def _sent(data: bytes | None) -> bytes:
    """The leader's bytes, in all processes."""
    size = agreed(len(data or b""))
    mine = np.frombuffer(data, np.uint8) if data is not None else np.zeros(size, np.uint8)
    return np.asarray(multihost_utils.broadcast_one_to_all(mine)).tobytes()


class SharedEnv:
    """A `VectorEnv` of the leader as all processes see it: each calls the same functions at the same time."""

    def __init__(self, envs: VectorEnv | None, shape: tuple[int, int]):
        """`envs` is None in all processes but the leader."""
        self.envs, self.shape = envs, shape

    @property
    def spaces(self) -> Spaces:
        """Shapes of one environment."""
        return self._shared(lambda envs: envs.spaces)

    def reset(self, episode: int, first: int = 0) -> Transition:
        """As VectorEnv's."""
        return self._shared(lambda envs: envs.reset(episode, first))

    def send(self, actions: np.ndarray) -> None:
        """As VectorEnv's."""
        if self.envs is not None:
            self.envs.send(actions)

    def receive(self) -> Transition:
        """As VectorEnv's."""
        return self._shared(lambda envs: envs.receive())

    def records(self) -> Records:
        """As VectorEnv's, in the leader alone, which writes them down."""
        assert self.envs is not None, "the leader alone writes"
        return self.envs.records()

    def restore(self, records: Records, check: Transition | None = None) -> Transition:
        """As VectorEnv's."""
        return self._shared(lambda envs: envs.restore(records, check))

    def _shared(self, call: Callable[[VectorEnv], Any]) -> Any:
        """What the leader's call gives, in all processes; an error in it is raised in all of them too."""
        if self.envs is None:
            result = pickle.loads(_sent(None))
        else:
            try:
                result = call(self.envs)
            except (UserError, Interrupted) as error:
                result = error
            _sent(pickle.dumps(result))
        if isinstance(result, UserError | Interrupted):
            raise result
        return result


Envs: TypeAlias = VectorEnv | SharedEnv
"""The environments of a run, of one process or of several."""


def shared(envs: VectorEnv) -> Envs:
    """The leader's environments, as all processes use them."""
    return envs if jax.process_count() == 1 else SharedEnv(envs, envs.shape)


def followed(config: TrainConfig, number: int) -> Envs:
    """The leader's environments, `number` for each seed, in another process."""
    return SharedEnv(None, (len(config.seeds), number))
