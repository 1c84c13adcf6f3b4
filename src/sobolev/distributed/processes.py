"""Trains one model in several processes. Every device holds all networks, all of replay, and a part of each batch.

All processes run the same program in lockstep (JAX's multi-process runtime). The first process is the leader: it steps
the environments and sends their results to the others, it decides when to stop, and only it writes into the run's
folder. Replay, random keys and networks are therefore identical in all processes at every step, and checkpoints are the
same as those of a single process.
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
"""Seconds for which processes wait for each other at the end."""


def join(config: DevicesConfig) -> None:
    """Connects this process to the others, as the flags or else SLURM's srun say. Call it before jax is used.

    Does nothing if there is only one process. `config` belongs to a valid run.
    """
    told = (config.coordinator, config.processes, config.process)
    by_srun = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1 and "SLURM_PROCID" in os.environ
    if jax.distributed.is_initialized() or (told == (None, None, None) and not (config.data > 1 and by_srun)):
        return
    # jax uses the number of a SLURM task on its machine as that of its GPU, but the task may see one GPU only
    alone = len(os.environ.get("CUDA_VISIBLE_DEVICES", ",").split(",")) == 1
    jax.distributed.initialize(*told, [0] if alone else None, shutdown_timeout_seconds=PATIENCE)


def leads() -> bool:
    """Returns whether this process is the leader, which steps the environments and writes."""
    return jax.process_index() == 0


def alone() -> bool:
    """Returns whether there is only one process."""
    return jax.process_count() == 1


def agreed(value: int) -> int:
    """Returns the leader's value in all processes."""
    if alone():
        return value
    return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def check_same(iteration: int) -> None:
    """Raises UserError in all processes if they start from checkpoints of different iterations."""
    found = _everyones(iteration)
    if len(found) > 1:
        told = " and ".join(map(str, sorted(found)))
        raise UserError(f"the processes see checkpoints of iterations {told}: they need a folder that all can read")


def in_turn(call: Callable[[], T]) -> T:
    """Calls a function in the leader first, then in the others, which find what the leader wrote. Returns its result.

    A UserError in one process raises one in all of them.
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
        raise error or UserError("another process cannot continue; its output says why")
    return results[0]


@contextmanager
def own_folder(run: Path) -> Iterator[Path]:
    """Yields the folder for the logs of this process: the run's for the leader, a temporary one for the others."""
    if leads():
        yield run
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)


def _everyones(value: int) -> set[int]:
    """Returns the values of all processes, in all of them."""
    if alone():
        return {value}
    return set(np.ravel(multihost_utils.process_allgather(np.int32(value))).tolist())


def _sent(data: bytes | None) -> bytes:
    """Returns the leader's bytes in all processes."""
    size = agreed(len(data or b""))
    mine = np.frombuffer(data, np.uint8) if data is not None else np.zeros(size, np.uint8)
    return np.asarray(multihost_utils.broadcast_one_to_all(mine)).tobytes()


class SharedEnv:
    """A `VectorEnv` of the leader, for all processes. All of them call the same methods at the same time."""

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
        """As VectorEnv's, in the leader only, which writes them to the checkpoint."""
        assert self.envs is not None, "only the leader writes"
        return self.envs.records()

    def restore(self, records: Records, check: Transition | None = None) -> Transition:
        """As VectorEnv's."""
        return self._shared(lambda envs: envs.restore(records, check))

    def _shared(self, call: Callable[[VectorEnv], Any]) -> Any:
        """Returns the result of the leader's call in all processes; an error in it is raised in all of them."""
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
    """Wraps the leader's environments for use by all processes; a single process uses them as they are."""
    return envs if jax.process_count() == 1 else SharedEnv(envs, envs.shape)


def followed(config: TrainConfig, number: int) -> Envs:
    """Returns the leader's environments, `number` per seed, for a process that is not the leader."""
    return SharedEnv(None, (len(config.seeds), number))
