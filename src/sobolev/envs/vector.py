"""`VectorEnv`: many environments, stepped together in worker processes."""

import pickle
from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np

from sobolev.envs.catalog import check_task
from sobolev.envs.failures import WorkerDied, WorkerError, brief
from sobolev.envs.families.gymnasium_registry import registration
from sobolev.envs.processes.memory import Arrays
from sobolev.envs.processes.server import Stream, episode_seed, not_deterministic
from sobolev.envs.processes.workers import Workers
from sobolev.envs.specs import Spaces
from sobolev.envs.wrappers.noise import Noise
from sobolev.envs.wrappers.view import View
from sobolev.errors import UserError

ROUNDING = 2.0
"""Largest mean difference (of 255) between two images that count as equal, since renderers round differently."""

_NOT_BEGUN = "these environments have not begun an episode: reset first"


class Transition(TypedDict):
    """One step of all environments: new arrays with leading axes [seeds, environments]. See `Step` for the fields."""

    observation: dict[str, np.ndarray]
    reward: np.ndarray
    first: np.ndarray
    last: np.ndarray
    terminal: np.ndarray


class Records(TypedDict):
    """What `VectorEnv.restore` needs to return to a step.

    episode: number of the running episode, int64[S, E]. length: number of actions taken in it, int64[S, E]. action:
    these actions, float32[sum of lengths, A], those of one environment after those of another, in row-major order.
    """

    episode: np.ndarray
    length: np.ndarray
    action: np.ndarray


class VectorEnv:
    """Independent environments [S, E]: `number` (E) for each of `seeds` (S), stepped in the processes of `workers`.

    An episode depends on (seed, kind, environment, episode number) only, not on the workers or the other seeds. `kind`
    separates the uses: 0 training, 1 evaluation during training, 2 evaluation afterwards. `repeat`, `view` and `noise`
    are as in `make`. The environments are created in the background; an error in that is raised at the first use.
    Actions of the running episodes are recorded, which takes 4·A bytes per step of each environment.

    Raises UserError for an unknown task, no seeds, a negative seed, or number below 1.
    """

    def __init__(
        self,
        workers: Workers,
        task: str,
        repeat: int | None,
        seeds: Sequence[int],
        number: int,
        kind: int,
        *,
        view: View | None = None,
        noise: Noise | None = None,
    ):
        check_task(task)
        if not seeds or min(seeds) < 0 or number < 1:
            raise UserError(f"seeds {list(seeds)} x {number} environments: give at least one of each, seeds from 0 on")
        self.task, self.shape, self.kind = task, (len(seeds), number), kind
        self._workers, self._group = workers, workers.new_group()
        self._streams = [Stream(s * number + e, seed, e) for s, seed in enumerate(seeds) for e in range(number)]
        shares = np.array_split(np.arange(len(self._streams)), workers.lanes)
        self._shares = {lane: rows for lane, rows in enumerate(shares) if len(rows)}
        sent = task.startswith("gym:") and workers.count > 0
        entry = registration(task.removeprefix("gym:")) if sent else None
        how = (self._group, task, repeat, view or View(), noise, kind)
        self._opening: int | Exception | None = workers.post(
            {
                lane: pickle.dumps(("open", (*how, [self._streams[i] for i in rows], entry)))
                for lane, rows in self._shares.items()
            }
        )
        self._step_request = dict.fromkeys(self._shares, pickle.dumps(("call", (self._group, "step"))))
        self._rows = np.arange(len(self._streams))
        self._pending: int | None = None
        self._sent: tuple[np.ndarray, np.ndarray] | None = None
        self._started, self._first = False, 0
        self._episode = np.zeros(len(self._streams), np.int64)
        self._length = np.zeros(len(self._streams), np.int64)

    @property
    def spaces(self) -> Spaces:
        """The spaces of one environment. Waits until the environments are created."""
        self._ready()
        return self._spaces

    def reset(self, episode: int, first: int = 0) -> Transition:
        """Begins an episode, given its number, in all environments; environment e plays that of number `first` + e."""
        self._check(started=False)
        self._first = first
        self._episode[:], self._length[:] = episode, 0
        self._call({lane: ("reset", episode, first) for lane in self._shares})
        return self._current()

    def send(self, actions: np.ndarray) -> None:
        """Starts a step with actions [S, E, A] and returns at once. An environment whose episode is over ignores its
        action and begins the next episode (Gymnasium's autoreset mode NEXT_STEP)."""
        self._check(started=True)
        if actions.shape != (*self.shape, self._spaces.action):
            raise ValueError(f"actions have shape {actions.shape}, not {(*self.shape, self._spaces.action)}")
        self._arrays.action[:] = actions.reshape(len(self._rows), -1)
        self._sent = self._arrays.action.copy(), self._arrays.last.copy()
        self._pending = self._workers.post(self._step_request)

    def receive(self) -> Transition:
        """Waits for the step that `send` started, and returns it.

        Raises UserError if an environment returns something invalid, WorkerError if one fails, Interrupted if a signal
        arrives first. After that only `records` and `close` work.
        """
        if self._pending is None or self._sent is None:
            raise RuntimeError("nothing was sent to these environments")
        ticket, self._pending = self._pending, None
        self._collect(ticket)
        self._record(*self._sent)
        return self._current()

    def records(self) -> Records:
        """Returns what `restore` needs to return to the newest step that was received."""
        if not self._started:
            raise RuntimeError(_NOT_BEGUN)
        packed = [self._actions[:length, row] for row, length in enumerate(self._length)]
        return Records(
            episode=self._episode.reshape(self.shape).copy(),
            length=self._length.reshape(self.shape).copy(),
            action=np.concatenate(packed),
        )

    def restore(self, records: Records, check: Transition | None = None) -> Transition:
        """Returns to the step of the records by repeating their actions; the result is the same to the bit.

        `check` is the transition at that step. Raises UserError, naming the environment, if an episode ends too early
        or the result differs from `check`: then the environment is not deterministic. Images may differ by rounding,
        as between the renderers of two machines.
        """
        length = np.asarray(records["length"], np.int64)
        if length.shape != self.shape or records["action"].shape != (length.sum(), self.spaces.action):
            raise UserError(
                f"the saved environments are {length.shape} (seeds, environments), this run's are {self.shape}"
            )
        self._episode, self._length = np.array(records["episode"], np.int64).ravel(), length.ravel().copy()
        taken = np.split(np.asarray(records["action"], np.float32), np.cumsum(self._length)[:-1])
        self._actions = np.zeros((max(16, *self._length + 1), *self._arrays.action.shape), np.float32)
        for row, actions in enumerate(taken):
            self._actions[: len(actions), row] = actions
        self._call(
            {
                lane: ("restore", self._episode[rows].tolist(), [taken[row] for row in rows])
                for lane, rows in self._shares.items()
            }
        )
        current = self._current()
        if check is not None:
            self._compare(current, check)
        return current

    def render(self, seed_index: int, env_index: int, height: int, width: int) -> np.ndarray:
        """Renders the current state of one environment, uint8[height, width, 3]. Does not change the episode. Raises
        UserError if this machine cannot draw."""
        row = int(np.ravel_multi_index((seed_index, env_index), self.shape))
        lane = next(lane for lane, rows in self._shares.items() if row in rows)
        return self._call({lane: ("render", row, height, width)}, started=True)[0]

    def close(self) -> None:
        """Closes the environments. The worker processes stay."""
        self._ready()
        self._collect(self._workers.post(dict.fromkeys(self._shares, pickle.dumps(("close", (self._group,))))))

    def _ready(self) -> None:
        if isinstance(self._opening, Exception):
            raise self._opening
        if self._opening is not None:
            try:
                self._spaces: Spaces = self._collect(self._opening)[0]
            except Exception as error:
                self._opening = error
                raise
            self._arrays: Arrays = self._workers.share(
                self._group, list(self._shares), self._spaces, len(self._streams)
            )
            self._actions = np.zeros((16, *self._arrays.action.shape), np.float32)
            self._opening = None

    def _check(self, started: bool) -> None:
        self._ready()
        if self._pending is not None:
            raise RuntimeError("these environments are stepping: receive first")
        if started and not self._started:
            raise RuntimeError(_NOT_BEGUN)

    def _call(self, requests: dict[int, tuple[Any, ...]], started: bool = False) -> list[Any]:
        self._check(started)
        ticket = self._workers.post(
            {lane: pickle.dumps(("call", (self._group, *request))) for lane, request in requests.items()}
        )
        answers = self._collect(ticket)
        self._started = True
        return answers

    def _collect(self, ticket: int) -> list[Any]:
        """Returns the answers of the workers. If one died, the error says what it was doing."""
        try:
            return self._workers.collect(ticket)
        except WorkerDied as died:
            streams = [self._streams[i] for i in self._shares.get(died.lane, ())]
            first, episode = self._first, self._episode
            seeds = [episode_seed(s.seed, self.kind, first + s.environment, int(episode[s.row])) for s in streams]
            doing = f"it ran '{self.task}', episodes with seeds {brief(', '.join(map(str, seeds)), 80)}"
            doing = doing if self._opening is None else f"'{self.task}' was created"
            raise WorkerError(f"{died} (while {doing})") from died

    def _record(self, actions: np.ndarray, ended: np.ndarray) -> None:
        if self._length.max() == len(self._actions):
            self._actions = np.concatenate([self._actions, np.zeros_like(self._actions)])
        self._actions[self._length, self._rows] = actions
        self._length = np.where(ended, 0, self._length + 1)
        self._episode += ended

    def _current(self) -> Transition:
        arrays = self._arrays
        return Transition(
            observation={key: self._own(array) for key, array in arrays.observation.items()},
            reward=self._own(arrays.reward),
            first=self._own(arrays.first),
            last=self._own(arrays.last),
            terminal=self._own(arrays.terminal),
        )

    def _own(self, array: np.ndarray) -> np.ndarray:
        return array.reshape(*self.shape, *array.shape[1:]).copy()

    def _compare(self, current: Transition, wanted: Transition) -> None:
        for stream, episode in zip(self._streams, self._episode, strict=True):
            at = divmod(stream.row, self.shape[1])
            pairs = [(current[name][at], wanted[name][at]) for name in ("reward", "first", "last", "terminal")]
            pairs += [(value[at], wanted["observation"][key][at]) for key, value in current["observation"].items()]
            if not all(_same(ours, theirs) for ours, theirs in pairs):
                raise not_deterministic(self.task, stream, int(episode))


def _same(ours: Any, theirs: Any) -> bool:
    if ours.dtype == np.uint8 and ours.ndim == 3 and ours.shape == theirs.shape:
        return bool(np.abs(ours.astype(np.int16) - theirs).mean() <= ROUNDING)
    return np.array_equal(ours, theirs)
