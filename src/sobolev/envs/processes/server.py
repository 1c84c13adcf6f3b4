"""The side that steps environments: in a worker process, or in the main process if there are no workers."""

import contextlib
import logging
import os
import pickle
import select
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from typing import Any

import numpy as np

from sobolev.envs.catalog import make
from sobolev.envs.failures import WorkerError, guarded
from sobolev.envs.families.gymnasium_registry import register
from sobolev.envs.printing import flush_c, stay_on_stderr
from sobolev.envs.processes.memory import Arrays, map_file, view
from sobolev.envs.specs import Environment, Spaces, Step
from sobolev.envs.wrappers.noise import Noise
from sobolev.envs.wrappers.view import View
from sobolev.errors import UserError
from sobolev.system import signals

_PATIENCE = 5.0  # seconds for environments to return and close after the main process has gone


@dataclass(frozen=True)
class Stream:
    """One environment of a `VectorEnv`: its row in the shared arrays, its seed, and its number within the seed."""

    row: int
    seed: int
    environment: int


def episode_seed(seed: int, kind: int, environment: int, episode: int) -> int:
    """Returns the seed of an episode, 32 bits. `kind` separates training from evaluation."""
    return int(np.random.SeedSequence((seed, kind, environment, episode)).generate_state(1)[0])


def not_deterministic(task: str, stream: Stream, episode: int) -> UserError:
    """Returns the error for an environment that does not repeat an episode."""
    return UserError(
        f"environment {stream.environment} of seed {stream.seed} ('{task}') does not repeat episode {episode} from its "
        "seed and actions, so this run cannot be resumed: make the environment deterministic given reset(seed=...), or "
        "start over with --fresh"
    )


@dataclass
class Group:
    """The environments of one `VectorEnv` that this process steps."""

    task: str
    kind: int
    streams: list[Stream]
    environments: list[Environment]
    episodes: list[int] = field(default_factory=list)
    first: int = 0
    arrays: Arrays | None = None

    def reset(self, episode: int, first: int = 0) -> None:
        """Begins an episode in all environments, which count as numbered from `first`."""
        self.episodes, self.first = [episode] * len(self.streams), first
        for i in range(len(self.streams)):
            self._put(i, self._reset(i))

    def step(self) -> None:
        """Applies the actions in the shared arrays; an environment whose episode is over begins the next instead."""
        assert self.arrays is not None
        for i, stream in enumerate(self.streams):
            if self.arrays.last[stream.row]:
                self.episodes[i] += 1
                self._put(i, self._reset(i))
            else:
                self._put(i, self.environments[i].step(self.arrays.action[stream.row]))

    def restore(self, episodes: list[int], actions: list[np.ndarray]) -> None:
        """Repeats actions [length, A] of the given episodes. Raises UserError if an episode ends before they do."""
        self.episodes, self.first = episodes, 0
        for i, taken in enumerate(actions):
            step = self._reset(i)
            for action in taken:
                if step.last:
                    raise not_deterministic(self.task, self.streams[i], episodes[i])
                step = self.environments[i].step(action)
            self._put(i, step)

    def render(self, row: int, height: int, width: int) -> np.ndarray:
        """Renders the environment of a row."""
        index = [stream.row for stream in self.streams].index(row)
        return self.environments[index].render(height, width)

    def _reset(self, i: int) -> Step:
        stream, number = self.streams[i], self.first + self.streams[i].environment
        return self.environments[i].reset(episode_seed(stream.seed, self.kind, number, self.episodes[i]))

    def _put(self, i: int, step: Step) -> None:
        arrays, row = self.arrays, self.streams[i].row
        assert arrays is not None
        for key, value in step.observation.items():
            arrays.observation[key][row] = value
        arrays.reward[row], arrays.first[row] = step.reward, step.first
        arrays.last[row], arrays.terminal[row] = step.last, step.terminal


class Server:
    """Answers the requests of `Workers`. A request is a pickled (method, arguments), an answer b"" (None) or a pickled
    (kind, value)."""

    def __init__(self) -> None:
        self.groups: dict[int, Group] = {}

    def answer(self, request: bytes) -> bytes:
        """Returns the answer to a request. Its kind is "done", "mistake" (UserError) or "failure" (WorkerError)."""
        name, arguments = pickle.loads(request)
        try:
            result = getattr(self, name)(*arguments)
        except WorkerError as error:
            return pickle.dumps(("failure", str(error)))
        except UserError as error:
            return pickle.dumps(("mistake", str(error)))
        except Exception:
            return pickle.dumps(("failure", f"an environment failed:\n{traceback.format_exc()}"))
        return b"" if result is None else pickle.dumps(("done", result))

    def open(
        self,
        group: int,
        task: str,
        repeat: int | None,
        view: View,
        noise: Noise | None,
        kind: int,
        streams: list[Stream],
        entry: bytes | None,
    ) -> Spaces:
        """Creates the environments of a group. Returns the spaces of one."""
        if entry is not None:
            register(entry)
        made = self.groups[group] = Group(task, kind, streams, [])
        for _ in streams:  # one by one: if one fails, those before it are closed later
            made.environments.append(make(task, repeat, view=view, noise=noise))
        return made.environments[0].spaces

    def attach(self, group: int, buffer: Any, streams: int) -> None:
        """Gives a group its shared arrays, which have `streams` rows in total."""
        mine = self.groups[group]
        mine.arrays = view(buffer, mine.environments[0].spaces, streams)

    def call(self, group: int, method: str, *arguments: Any) -> Any:
        """Calls a method of a `Group`."""
        return getattr(self.groups[group], method)(*arguments)

    def close(self, group: int) -> None:
        """Closes all environments of a group and forgets the group; then raises the first error, if any."""
        errors = []
        for environment in self.groups.pop(group).environments:
            try:
                environment.close()
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def close_all(self) -> None:
        """Closes all groups. Errors are only reported on stderr, since nothing depends on them any more."""
        for group in list(self.groups):
            try:
                self.close(group)
            except UserError as error:  # its message names the environment
                print(f"sobolev: {error}", file=sys.stderr)


def serve(descriptor: int) -> None:
    """Main function of a worker process: answers until the main process closes the pipe. Never returns."""
    # Signals are for the main process, which may want to finish a step before it saves. They get a handler instead of
    # SIG_IGN, which programs that environments start would inherit.
    for number in signals.NUMBERS:
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals.NUMBERS)
    guarded.interruptible = False
    stay_on_stderr()
    logging.getLogger("absl").setLevel(logging.ERROR)  # MuJoCo's warnings about dm_control's models
    threading.Thread(target=_end_when_alone, args=(descriptor,), daemon=True).start()
    server, pipe = Server(), Connection(descriptor)
    try:
        while True:
            request = pipe.recv_bytes()
            if not request:  # a descriptor of shared memory follows
                request = pipe.recv_bytes()
                group, size, streams = pickle.loads(request)
                server.attach(group, map_file(recv_handle(pipe), size), streams)
                pipe.send_bytes(b"")
            else:
                answer = server.answer(request)
                flush_c()
                pipe.send_bytes(answer)
    except (EOFError, OSError):
        server.close_all()
        _end()
    finally:
        os._exit(0)  # renderers may hang or print errors in a regular exit


def _end_when_alone(descriptor: int) -> None:
    """Ends this process some seconds after the main process has closed the pipe, even if an environment hangs."""
    poll = select.poll()
    poll.register(descriptor, 0)  # no events but hang-ups
    poll.poll()
    time.sleep(_PATIENCE)
    _end()


def _end() -> None:
    """Ends this process, and all other processes of its group: programs that its environments started."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(0)
