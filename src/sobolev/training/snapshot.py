"""Everything that changes in a run, and how it becomes a checkpoint and comes back from one."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from sobolev.envs import Transition
from sobolev.errors import UserError
from sobolev.replay import HostReplay, Replay, read_ring, write_ring
from sobolev.training.agent import Carry, State
from sobolev.training.checkpoint import Checkpoints, Loaded
from sobolev.training.devices import local
from sobolev.training.program import Program, Stored
from sobolev.training.storage import Damaged, load_arrays, room_errors, write_arrays
from sobolev.training.together import Envs
from sobolev.training.trees import flatten, unflatten

SEED_RING = 2
"""The axis of time in a replay buffer [seeds, environments, capacity, …]."""


@dataclass
class Snapshot:
    """A run between two iterations. The environments' own state is their records (see `VectorEnv`)."""

    iteration: int
    updates: int
    state: State
    carry: Carry
    replay: Stored
    transition: Transition
    returns: np.ndarray
    """returns so far of the running episodes, float64[seeds, environments]"""
    lengths: np.ndarray
    """their agent steps, the first observation included"""
    pending: list[dict[str, Any]]
    """metrics [seeds] of the updates since metrics were last written, one entry per call of `learn`"""


def begin(program: Program, envs: Envs, capacity: int, where: str = "device") -> Snapshot:
    """A run that has done nothing: fresh agents, empty replay, first observations."""
    transition, (_, number) = envs.reset(0), envs.shape
    return Snapshot(
        iteration=0,
        updates=0,
        state=program.initial_state(),
        carry=program.initial_carry(number),
        replay=program.initial_replay(number, capacity, where),
        transition=transition,
        returns=np.zeros(envs.shape),
        lengths=np.ones(envs.shape, np.int64),
        pending=[],
    )


def save(checkpoints: Checkpoints, snapshot: Snapshot, envs: Envs, meta: dict[str, Any]) -> None:
    """Writes a checkpoint: steps of replay since the last one are appended, all else is written whole.

    Raises UserError where the disk has no room.
    """
    replay, count = snapshot.replay, snapshot.iteration
    capacity = replay.steps["first"].shape[SEED_RING]
    oldest = max(0, count - capacity)
    latents = read_ring(local(replay.latents), oldest, count, SEED_RING)
    tree = {
        "agent": snapshot.state,
        "carry": snapshot.carry,
        "latents": latents,
        "taken": replay.taken,
        "transition": snapshot.transition,
        "records": envs.records(),
        "returns": snapshot.returns,
        "lengths": snapshot.lengths,
        "pending": stacked(snapshot.pending),
    }
    steps = read_ring(local(replay.steps), checkpoints.next_step(oldest), count, SEED_RING)
    meta = meta | {"updates": snapshot.updates}
    checkpoints.save(snapshot.iteration, flatten(tree), flatten(steps), meta, keep_from=oldest)


def keep_weights(run: Path, state: State, env_steps: int) -> None:
    """Writes a copy of the networks of all seeds that is never overwritten: RUN/snapshots/<env steps>.safetensors.

    Raises UserError where the disk has no room.
    """
    path = run / "snapshots" / f"{env_steps:09d}.safetensors"
    path.parent.mkdir(exist_ok=True)
    arrays = flatten(state.model) | flatten(_constraint(state))
    with room_errors(path.parent, sum(array.nbytes for array in arrays.values())):
        write_arrays(path, arrays)


def kept_weights(run: Path) -> dict[int, Path]:
    """The copies that `keep_weights` wrote, by env steps, in order."""
    return {int(path.stem): path for path in sorted((run / "snapshots").glob("*.safetensors")) if path.stem.isdigit()}


def read_weights(path: Path, state: State) -> State:
    """`state` with the networks of a kept copy. Raises UserError where the file is damaged or does not fit."""
    try:
        arrays = load_arrays(path)
    except Damaged as error:
        raise UserError(f"{path.parent}: {error}; delete the file to go on without it") from error
    beside = _constraint(state)
    named = {name: x for name, x in arrays.items() if name in flatten(beside)}
    networks = unflatten(state.model, {name: x for name, x in arrays.items() if name not in named})
    found = [networks, *unflatten(beside, named).values()]
    return eqx.tree_at(lambda state: [getattr(state, name) for name in ("model", *beside)], state, found)


def _constraint(state: State) -> dict[str, Any]:
    """What a regularizer's constraint needs beside the trained networks; {} where there is none."""
    if not jax.tree.leaves(getattr(state, "smoothing", {})):
        return {}
    return {item.name: getattr(state, item.name) for item in fields(state) if item.name in ("smoothing", "updates")}


def restore(
    checkpoints: Checkpoints, loaded: Loaded, program: Program, envs: Envs, capacity: int, where: str = "device"
) -> Snapshot:
    """The run as it was at the checkpoint that was loaded, bit for bit; replay may be longer now, or lie elsewhere.

    Raises UserError where the checkpoint does not fit the program, or an environment is not deterministic.
    """
    count, arrays = loaded.iteration, loaded.state
    number = envs.shape[1]
    forms = jax.eval_shape(lambda: program.initial_replay(number, capacity))
    oldest = max(0, count - capacity)
    if loaded.growing_from > oldest:
        raise UserError(f"the checkpoint holds steps from {loaded.growing_from} on, but {oldest} is needed")
    like = {
        "agent": program.state_shapes(),
        "carry": jax.eval_shape(lambda: program.initial_carry(number)),
        "latents": jax.tree.map(lambda ring: _host(ring, count - oldest), forms.latents),
        "taken": np.zeros((), np.int32),
        "transition": envs.reset(0),
        "returns": np.zeros(envs.shape),
        "lengths": np.zeros(envs.shape, np.int64),
    }
    records, pending = _below("records/", arrays), _below("pending/", arrays)
    tree = unflatten(like, {name: x for name, x in arrays.items() if not name.startswith(("records/", "pending/"))})
    steps, latents = jax.tree.map(lambda form: np.zeros(form.shape, form.dtype), (forms.steps, forms.latents))
    write_ring(latents, tree["latents"], oldest, SEED_RING)
    for start, piece in checkpoints.pieces():
        length = len(next(iter(piece.values())))
        values = unflatten(jax.tree.map(lambda ring, n=length: _host(ring, n), forms.steps), piece)
        skipped = max(0, oldest - start)
        write_ring(steps, jax.tree.map(lambda x, n=skipped: x[n:], values), start + skipped, SEED_RING)
    replay = filled(steps, latents, count, tree["taken"], where)
    del steps, latents
    transition: Any = envs.restore(records, tree["transition"])  # pyright: ignore[reportArgumentType]
    return Snapshot(
        iteration=count,
        updates=loaded.meta["updates"],
        state=program.layout.placed(tree["agent"]),
        carry=program.layout.placed(tree["carry"]),
        replay=program.placed_replay(replay),
        transition=transition,
        returns=tree["returns"],
        lengths=tree["lengths"],
        pending=[dict(zip(pending, values, strict=True)) for values in zip(*pending.values(), strict=True)],
    )


def stacked(metrics: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Metrics of several updates by name: [updates, seeds]."""
    return {name: np.stack([np.asarray(entry[name]) for entry in metrics]) for name in (metrics[0] if metrics else ())}


def _below(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): x for name, x in arrays.items() if name.startswith(prefix)}


def filled(steps: dict[str, Any], latents: Any, count: int, taken: np.ndarray, where: str) -> Stored:
    """A replay of rings [seeds, environments, capacity, …] that lie in host memory; `where`: see `ReplayConfig`."""
    counters = np.asarray(count, np.int32), np.asarray(taken, np.int32)
    if where == "host":
        return HostReplay(steps, _on_device(latents), *counters)
    return Replay(_on_device(steps), _on_device(latents), *_on_device(counters))


def _on_device(tree: Any) -> Any:
    """JAX arrays that own their memory, as donation needs."""
    return jax.tree.map(lambda array: jnp.array(array, copy=True), tree)


def _host(ring: Any, steps: int) -> np.ndarray:
    """A host array for so many steps of a ring [seeds, environments, capacity, …], time first."""
    return np.zeros((steps, *ring.shape[:SEED_RING], *ring.shape[SEED_RING + 1 :]), ring.dtype)
