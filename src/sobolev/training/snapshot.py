"""The state of a run, how it is saved in a checkpoint, and how it is restored from one."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from sobolev.agents.api import AnyAgent, Carry, Chooses, Snapshots, State
from sobolev.checkpoints import ranges
from sobolev.checkpoints.files import Damaged, NotSaved, load_arrays, room_errors, write_arrays
from sobolev.checkpoints.pytree_io import check_spaces, flatten, forms, unflatten
from sobolev.checkpoints.ranges import Range
from sobolev.checkpoints.slots import Checkpoints, Loaded
from sobolev.distributed.processes import Envs
from sobolev.distributed.sharding import local
from sobolev.envs import Records, Transition
from sobolev.errors import UserError
from sobolev.replay import HostReplay, Like, Replay, read_ring, write_ring
from sobolev.training.program import Program, Stored
from sobolev.training.schedule import Plan

SEED_RING = 2
"""The axis of time in a replay buffer [seeds, environments, capacity, …]."""
FINITE = ("agent/", "carry/", "transition/")
"""Prefixes of the arrays of a checkpoint that must be finite for the run to continue."""


Measured: TypeAlias = dict[str, Array | np.ndarray]
"""Metrics by name, as arrays of JAX or, from a checkpoint, of NumPy."""


@dataclass
class Snapshot:
    """The state of a run between two iterations, or within one that a signal interrupted.

    The state of the environments is in their records (see `VectorEnv`).
    """

    iteration: int
    updates: int
    state: State
    carry: Carry
    replay: Stored
    transition: Transition
    returns: np.ndarray
    """returns so far of the running episodes, float64[seeds, environments]"""
    lengths: np.ndarray
    """their numbers of agent steps, including the first observation"""
    pending: list[Measured]
    """metrics [seeds] of the updates since metrics were last written, an entry for each"""
    missing: int = 0
    """number of steps that replay lacks because a damaged checkpoint had lost them: `iteration` minus `added`"""
    forgone: int = 0
    """number of updates that were due while replay, having lost steps, held too few; they are never made"""
    measured: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])
    """the results of `inspect` [seeds] for the next line of metrics"""
    sent: np.ndarray | None = None
    """actions whose results have not been received, if the iteration was interrupted; it resumes there"""
    due: bool = False
    """whether metrics, an evaluation or kept weights may still be due after the newest iteration"""

    @property
    def finished(self) -> int:
        """Number of iterations that are entirely finished."""
        return max(0, self.iteration - int(self.sent is not None or self.due))

    @property
    def added(self) -> int:
        """Number of steps that were added to each environment's replay (`Replay.count`)."""
        return self.iteration - self.missing

    def updates_due(self, plan: Plan) -> int:
        """Number of updates to make now.

        While replay has fewer steps than the first update needs, because a damaged checkpoint lost them, the updates
        that are due are never made; they are counted in `forgone`.
        """
        due = plan.updates_due(self.iteration) - self.updates - self.forgone
        if self.missing and self.added <= plan.warmup:
            self.forgone += due
            return 0
        return due


def begin(program: Program, envs: Envs, capacity: int, where: str = "device") -> Snapshot:
    """The initial state of a run: fresh agents, empty replay, first observations."""
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
        due=True,
    )


def save(checkpoints: Checkpoints, snapshot: Snapshot, envs: Envs, meta: dict[str, Any]) -> None:
    """Writes a checkpoint: steps that were added to replay since the last one are appended, the rest is written anew.

    Raises NotSaved if the disk has no space, or the folder is not writable.
    """
    replay, count, missing = snapshot.replay, snapshot.iteration, snapshot.missing
    kept = min(snapshot.added, replay.steps["first"].shape[SEED_RING])
    latents = read_ring(local(replay.latents), snapshot.added - kept, snapshot.added, SEED_RING)
    # replay has all steps since the last save: those that are missing were lost before
    there = [*checkpoints.held(), (checkpoints.next_step(), count)] if missing else [(0, count)]
    oldest = min((start for start, _ in ranges.newest(ranges.joined(there), kept)), default=count)
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
        "measured": snapshot.measured,
    } | ({} if snapshot.sent is None else {"sent": snapshot.sent})
    first = checkpoints.next_step(oldest) - missing
    steps = read_ring(local(replay.steps), first, snapshot.added, SEED_RING)
    meta = meta | {"updates": snapshot.updates, "finished": snapshot.finished, "due": snapshot.due}
    meta = meta | {"missing": missing, "forgone": snapshot.forgone}
    checkpoints.save(snapshot.iteration, flatten(tree), flatten(steps), meta, keep_from=oldest)


def kept(agent: AnyAgent, state: State) -> PyTree:
    """The part of a state that a snapshot keeps: what a `Snapshots` says, all of it for other agents."""
    return agent.snapshot(state) if isinstance(agent, Snapshots) else state


def keep_weights(run: Path, agent: AnyAgent, state: State, env_steps: int) -> None:
    """Writes a copy of the networks of all seeds that is never overwritten: RUN/snapshots/<env steps>.safetensors.

    It is what `kept` returns. Raises NotSaved if the disk has no space, or the folder is not writable.
    """
    path = run / "snapshots" / f"{env_steps:09d}.safetensors"
    _write(path, flatten(kept(agent, state)), "a copy of the networks")


def keep_failure(run: Path, seed: int, update: int, arrays: dict[str, np.ndarray]) -> str:
    """Writes the batch of a failed update to RUN/failure; returns where it is, or why it is not, for messages."""
    path = run / "failure" / f"seed-{seed}-update-{update}.safetensors"
    try:
        _write(path, arrays, "its batch")
    except NotSaved as error:
        return error.what
    return f"the batch is in {path}"


def _write(path: Path, arrays: dict[str, np.ndarray], what: str) -> None:
    with room_errors(path.parent, sum(array.nbytes for array in arrays.values()), what):
        path.parent.mkdir(exist_ok=True)
        write_arrays(path, arrays)


def kept_weights(run: Path) -> dict[int, Path]:
    """The copies that `keep_weights` wrote, by env steps, in increasing order."""
    return {int(path.stem): path for path in sorted((run / "snapshots").glob("*.safetensors")) if path.stem.isdigit()}


def read_weights(path: Path, agent: AnyAgent, state: State) -> State:
    """`state` with what a snapshot keeps. Raises UserError if the file is damaged or does not fit."""
    try:
        arrays = load_arrays(path)
    except Damaged as error:
        raise UserError(f"{path.parent}: {error}; delete the file to go on without it") from error
    part = kept(agent, state)
    names = forms(part)
    # Version 0.2 wrote the networks' names without the field of the state that has them.
    older = {name: f"model/{name}" for name in arrays if name not in names and f"model/{name}" in names}
    arrays = {older.get(name, name): x for name, x in arrays.items()}
    unflatten(part, arrays)  # raises UserError if the arrays do not fit
    return unflatten(state, flatten(state) | arrays)


def restore(
    checkpoints: Checkpoints, loaded: Loaded, program: Program, envs: Envs, capacity: int, where: str = "device"
) -> Snapshot:
    """The state of a run at the checkpoint that was loaded, equal to the bit.

    The capacity of replay and its place (`where`) may have changed. Damaged steps are left out of replay. The step that
    follows them is marked as the first of an episode, as after an interrupted episode, so that nothing is learned
    across the gap. Raises UserError if the checkpoint does not fit the environment or the program, or if an
    environment is not deterministic.
    """
    count, arrays, number = loaded.iteration, loaded.state, envs.shape[1]
    cure = "take the environment it was made with, or start over with --fresh"
    check_spaces(arrays, program.agent.spaces, "the environment", cure)
    forms = jax.eval_shape(lambda: program.initial_replay(number, capacity))
    rows = min((len(x) for name, x in arrays.items() if name.startswith("latents/")), default=count)
    like = {
        "agent": program.state_shapes(),
        "carry": jax.eval_shape(lambda: program.initial_carry(number)),
        "latents": jax.tree.map(lambda ring: _host(ring, rows), forms.latents),
        "taken": np.zeros((), np.int32),
        "transition": envs.reset(0),
        "returns": np.zeros(envs.shape),
        "lengths": np.zeros(envs.shape, np.int64),
    }
    records, pending = _below("records/", arrays), _below("pending/", arrays)
    parts = ("records/", "pending/", "measured/", "sent")
    tree = unflatten(like, {name: x for name, x in arrays.items() if not name.startswith(parts)})
    kept = _kept(loaded, min(rows, capacity), capacity)
    steps, latents = jax.tree.map(lambda form: np.zeros(form.shape, form.dtype), (forms.steps, forms.latents))
    there = kept.mask()
    write_ring(latents, jax.tree.map(lambda x: x[rows - len(there) :][there], tree["latents"]), kept.begin, SEED_RING)
    _write_steps(steps, checkpoints, kept)
    taken = tree["taken"]
    if kept.had != kept.whole:
        length = program.agent.windows[1] if isinstance(program.agent, Chooses) else 0
        taken = _taken(kept, int(taken), number, length + 1)
    replay = filled(steps, latents, kept.end, taken, where)
    del steps, latents
    transition = envs.restore(cast(Records, records), tree["transition"])
    if not kept.whole or kept.whole[-1][1] < count:
        transition["first"] = np.ones_like(transition["first"])
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
        missing=count - kept.end,
        forgone=loaded.meta["forgone"],
        measured=_below("measured/", arrays),
        sent=arrays.get("sent"),
        due=loaded.meta["due"],
    )


class Kept(NamedTuple):
    """The steps of replay that a checkpoint restores, by their numbers in the run."""

    had: list[Range]
    """the steps that replay held when it was saved"""
    whole: list[Range]
    """those of them that are not damaged, which follow one another in the restored replay"""
    added: int
    """`Replay.count` when it was saved"""

    @property
    def begin(self) -> int:
        """The number of the first restored step in replay.

        If steps are lost, numbering starts again at 0: a ring must hold all steps up to its count or its capacity.
        """
        return self.added - ranges.length(self.whole) if self.had == self.whole else 0

    @property
    def end(self) -> int:
        """The number after that of the last restored step in replay, its `Replay.count`."""
        return self.begin + ranges.length(self.whole)

    def place(self, step: int) -> int:
        """The number in replay of the step with number `step` in the run."""
        return self.begin + ranges.before(self.whole, step)

    def mask(self) -> np.ndarray:
        """Which of the steps in `had` are not damaged, bool[steps]."""
        there = np.zeros(ranges.length(self.had), bool)
        for start, stop in self.whole:
            there[ranges.before(self.had, start) : ranges.before(self.had, stop)] = True
        return there


def _kept(loaded: Loaded, stored: int, capacity: int) -> Kept:
    """The steps that a replay of that capacity restores from a checkpoint with latents of the last `stored` steps."""
    added = loaded.iteration - loaded.meta["missing"]
    needed = min(added, capacity)
    had = ranges.newest(loaded.had, min(needed, stored))
    if ranges.length(had) < needed:
        raise UserError(
            f"the checkpoint holds {ranges.length(had)} steps of each environment, but {needed} are needed: take the "
            "--replay.capacity that it was made with"
        )
    return Kept(had, ranges.common(had, loaded.whole), added)


def _write_steps(rings: dict[str, PyTree], checkpoints: Checkpoints, kept: Kept) -> None:
    """Writes the steps of a checkpoint into the rings; those that follow a gap are marked as first steps."""
    for start, piece in checkpoints.pieces():
        length = len(next(iter(piece.values())))
        values = unflatten(jax.tree.map(lambda ring, n=length: _host(ring, n), rings), piece)
        for a, b in ranges.common(kept.whole, [(start, start + length)]):
            part = jax.tree.map(lambda x, a=a - start, b=b - start: x[a:b], values)
            write_ring(rings, part, kept.place(a), SEED_RING)
    first = rings["first"]
    for start, _ in kept.whole[1:]:
        first[:, :, kept.place(start) % first.shape[SEED_RING]] = True


def _taken(kept: Kept, taken: int, environments: int, length: int) -> np.ndarray:
    """`Replay.taken` if steps are lost: the online queue continues after the windows that it had returned."""
    given = -(-taken // environments) * length - (kept.added - ranges.length(kept.had))
    left = int(kept.mask()[: max(0, given)].sum())
    return np.asarray(environments * -(-left // length), np.int32)


def stacked(metrics: list[Measured]) -> dict[str, np.ndarray]:
    """Metrics of several updates by name: [updates, seeds]."""
    return {name: np.stack([np.asarray(entry[name]) for entry in metrics]) for name in (metrics[0] if metrics else ())}


def _below(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): x for name, x in arrays.items() if name.startswith(prefix)}


def filled(steps: dict[str, PyTree], latents: PyTree, count: int, taken: np.ndarray, where: str) -> Stored:
    """A replay with the content of rings [seeds, environments, capacity, …] of NumPy; `where`: see `ReplayConfig`."""
    counters = np.asarray(count, np.int32), np.asarray(taken, np.int32)
    if where == "host":
        return HostReplay(steps, _on_device(latents), *counters)
    return Replay(_on_device(steps), _on_device(latents), *_on_device(counters))


def _on_device(tree: PyTree) -> PyTree:
    """Copies as JAX arrays, which own their memory, as donation requires."""
    return jax.tree.map(lambda array: jnp.array(array, copy=True), tree)


def _host(ring: Like, steps: int) -> np.ndarray:
    """An array of zeros for `steps` steps of a ring [seeds, environments, capacity, …], with time in front."""
    return np.zeros((steps, *ring.shape[:SEED_RING], *ring.shape[SEED_RING + 1 :]), ring.dtype)
