"""What happens where environments are stepped: in a worker process, or in the only one."""

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

_PATIENCE = 5.0  # seconds that environments get to return and to be closed, once the other side is gone


@dataclass(frozen=True)
class Stream:
    """One of the independent environments of a `VectorEnv`: its row in the arrays, its seed and its number there."""

    row: int
    seed: int
    environment: int


def episode_seed(seed: int, kind: int, environment: int, episode: int) -> int:
    """Seed of an episode, 32 bits. `kind` keeps training and evaluation apart."""
    return int(np.random.SeedSequence((seed, kind, environment, episode)).generate_state(1)[0])


def not_deterministic(task: str, stream: Stream, episode: int) -> UserError:
    """The error for an environment that does not do the same again."""
    return UserError(
        f"environment {stream.environment} of seed {stream.seed} ('{task}') does not repeat episode {episode} from its "
        "seed and actions, so this run cannot be resumed: make the environment deterministic given reset(seed=...), or "
        "start over with --fresh"
    )


@dataclass
class Group:
    """The streams of one `VectorEnv` that this process steps."""

    task: str
    kind: int
    streams: list[Stream]
    environments: list[Environment]
    episodes: list[int] = field(default_factory=list)
    first: int = 0
    arrays: Arrays | None = None

    def reset(self, episode: int, first: int = 0) -> None:
        """Begin that episode everywhere, as that of environments numbered from `first` on."""
        self.episodes, self.first = [episode] * len(self.streams), first
        for i in range(len(self.streams)):
            self._put(i, self._reset(i))

    def step(self) -> None:
        """Take the actions in the arrays; where the episode is over, begin the next instead."""
        assert self.arrays is not None
        for i, stream in enumerate(self.streams):
            if self.arrays.last[stream.row]:
                self.episodes[i] += 1
                self._put(i, self._reset(i))
            else:
                self._put(i, self.environments[i].step(self.arrays.action[stream.row]))

    def restore(self, episodes: list[int], actions: list[np.ndarray]) -> None:
        """Go to where those actions [length, A] lead in those episodes. UserError where one ends before."""
        self.episodes, self.first = episodes, 0
        for i, taken in enumerate(actions):
            step = self._reset(i)
            for action in taken:
                if step.last:
                    raise not_deterministic(self.task, self.streams[i], episodes[i])
                step = self.environments[i].step(action)
            self._put(i, step)

    def render(self, row: int, height: int, width: int) -> np.ndarray:
        """A frame of the stream in that row."""
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
    """Answers the requests of a `Workers`: pickled (name, arguments) in, b"" or pickled (kind, value) out."""

    def __init__(self) -> None:
        self.groups: dict[int, Group] = {}

    def answer(self, request: bytes) -> bytes:
        """Do what is asked. The kind of an answer is "done", "mistake" (the user's) or "failure" (an environment's)."""
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
        """Make the environments of a group."""
        if entry is not None:
            register(entry)
        made = self.groups[group] = Group(task, kind, streams, [])
        for _ in streams:  # those that are made will be closed, though another fail
            made.environments.append(make(task, repeat, view=view, noise=noise))
        return made.environments[0].spaces

    def attach(self, group: int, buffer: Any, streams: int) -> None:
        """Give a group the arrays that it shares with the other side, which has `streams` rows in all."""
        mine = self.groups[group]
        mine.arrays = view(buffer, mine.environments[0].spaces, streams)

    def call(self, group: int, method: str, *arguments: Any) -> Any:
        """A method of `Group`."""
        return getattr(self.groups[group], method)(*arguments)

    def close(self, group: int) -> None:
        """Close the environments of a group and forget it. What the first failure raises is raised after all."""
        errors = []
        for environment in self.groups.pop(group).environments:
            try:
                environment.close()
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def close_all(self) -> None:
        """Close everything; what fails is reported on stderr, for nothing depends on it any more."""
        for group in list(self.groups):
            try:
                self.close(group)
            except UserError as error:  # which names the environment
                print(f"sobolev: {error}", file=sys.stderr)


def serve(descriptor: int) -> None:
    """Main of a worker process: answer until the other end of the pipe is gone, then close. Never returns."""
    # The parent decides: it may want to save a step that is under way. A handler, because programs that environments
    # start would go on ignoring what is ignored here.
    for number in signals.NUMBERS:
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals.NUMBERS)
    guarded.interruptible = False
    stay_on_stderr()
    logging.getLogger("absl").setLevel(logging.ERROR)  # MuJoCo's remarks on dm_control's models
    threading.Thread(target=_end_when_alone, args=(descriptor,), daemon=True).start()
    server, pipe = Server(), Connection(descriptor)
    try:
        while True:
            request = pipe.recv_bytes()
            if not request:  # memory follows
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
        os._exit(0)  # renderers may hang or complain in an orderly exit


def _end_when_alone(descriptor: int) -> None:
    """Once the other end of the pipe is gone, give this process some seconds: an environment may not return."""
    poll = select.poll()
    poll.register(descriptor, 0)  # which asks for nothing but hang-ups
    poll.poll()
    time.sleep(_PATIENCE)
    _end()


def _end() -> None:
    """End this process and, where it leads a group, the programs that its environments started and did not end."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(0)
