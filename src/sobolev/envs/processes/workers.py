"""`Workers`: starts the processes that step environments, sends them requests, and ends them."""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping
from multiprocessing.connection import Pipe
from multiprocessing.reduction import send_handle
from types import TracebackType
from typing import Any

from sobolev.envs.failures import WorkerDied, WorkerError
from sobolev.envs.printing import occupy, on_stderr
from sobolev.envs.processes.memory import Arrays, buffer_size, map_file, shared_file, view
from sobolev.envs.processes.server import Server
from sobolev.envs.specs import Spaces
from sobolev.errors import UserError
from sobolev.system import signals

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_PATIENCE = 5.0  # seconds for all workers together to close their environments and exit


class Workers:
    """`count` new Python processes that step environments; with 0 this process steps them, with equal results.

    Use it as a context manager. Several `VectorEnv` may share it. The processes import neither jax nor the caller's
    main script. They ignore signals. Each leads its own process group, which includes the programs that its
    environments start. When this process closes them or ends, in whatever way, they close their environments and exit.
    After 5 s they are killed, with everything that is left of their groups. Not thread-safe. POSIX only.
    """

    def __init__(self, count: int):
        self.count = count
        occupy()
        self._lanes: list[_Process | _Here] = [_Process() for _ in range(count)] or [_Here()]
        self._groups = 0
        self._sent: deque[tuple[int, list[int]]] = deque()
        self._answers: dict[int, list[bytes | WorkerError]] = {}
        self._tickets = 0
        self._held = contextlib.ExitStack()

    def __enter__(self) -> "Workers":
        here = self._lanes[0]
        self._held.enter_context(signals.held(last=here.disconnect if isinstance(here, _Here) else None))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._held:
            self.close()

    @property
    def lanes(self) -> int:
        """Number of processes that step environments, which is 1 if this process does."""
        return len(self._lanes)

    def new_group(self) -> int:
        """Returns a new number for the environments of one `VectorEnv`."""
        self._groups += 1
        return self._groups

    def post(self, requests: Mapping[int, bytes]) -> int:
        """Sends pickled requests to processes, by index, without waiting. Returns the ticket for `collect`."""
        for lane, request in requests.items():
            self._lanes[lane].send(request)
        self._tickets += 1
        self._sent.append((self._tickets, list(requests)))
        return self._tickets

    def collect(self, ticket: int) -> list[Any]:
        """Waits for the answers to a ticket, and returns them in the order of its requests.

        Raises UserError or WorkerError if an answer is one, after all have arrived; Interrupted if a signal arrives
        first (see `sobolev.system.signals`), after which only `close` works.
        """
        while ticket not in self._answers:
            self._receive_oldest()
        return [_value(answer) for answer in self._answers.pop(ticket)]

    def share(self, group: int, lanes: list[int], spaces: Spaces, streams: int) -> Arrays:
        """Creates the arrays that this process shares with some of the processes, for the environments of a group."""
        while self._sent:  # so that the next answer is the one to this request
            self._receive_oldest()
        size = buffer_size(spaces, streams)
        if self.count == 0:
            buffer: Any = bytearray(size)
            _value(self._lanes[0].attach(group, buffer, streams))
            return view(buffer, spaces, streams)
        file = shared_file(size)
        for lane in lanes:
            _value(self._lanes[lane].attach(group, (file, size), streams))
        return view(map_file(file, size), spaces, streams)

    def _receive_oldest(self) -> None:
        ticket, lanes = self._sent.popleft()
        self._answers[ticket] = answers = [self._lanes[lane].receive() for lane in lanes]
        for lane, answer in zip(lanes, answers, strict=True):
            if isinstance(answer, WorkerDied):
                answer.lane = lane

    def close(self) -> None:
        """Closes all environments and ends the processes; those that are still running after 5 s are killed."""
        lanes, self._lanes = self._lanes, []
        deadline = time.monotonic()
        try:
            for lane in lanes:
                lane.disconnect()
            deadline += signals.time_left(_PATIENCE)
        finally:
            for lane in lanes:
                lane.end(deadline)


class _Here:
    """A lane in this process."""

    def __init__(self) -> None:
        self._server, self._answers = Server(), deque[bytes]()

    def send(self, request: bytes) -> None:
        with signals.foreign(), on_stderr():
            self._answers.append(self._server.answer(request))

    def receive(self) -> bytes:
        signals.check()
        return self._answers.popleft()

    def attach(self, group: int, memory: Any, streams: int) -> bytes:
        self._server.attach(group, memory, streams)
        return b""

    def disconnect(self) -> None:
        with signals.foreign(), on_stderr():
            self._server.close_all()

    def end(self, deadline: float) -> None:
        pass


class _Process:
    """A lane in its own process, without multiprocessing.Process, which would import the main script again."""

    def __init__(self) -> None:
        self._pipe, theirs = Pipe()
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; "
            f"from sobolev.envs.processes.server import serve; serve({theirs.fileno()})"
        )
        blocked = signal.pthread_sigmask(
            signal.SIG_BLOCK, signals.NUMBERS
        )  # blocked in the new process too, until it has handlers
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=_surroundings(),
                process_group=0,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            theirs.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, request: bytes) -> None:
        with contextlib.suppress(OSError):  # it died, as `receive` reports
            self._pipe.send_bytes(request)

    def receive(self) -> bytes | WorkerError:
        try:
            signals.wait_for(self._pipe.fileno())
            return self._pipe.recv_bytes()
        except (EOFError, OSError):
            return self._death()

    def attach(self, group: int, memory: Any, streams: int) -> bytes | WorkerError:
        file, size = memory
        self.send(b"")
        self.send(pickle.dumps((group, size, streams)))
        with contextlib.suppress(OSError):
            send_handle(self._pipe, file, self._process.pid)
        return self.receive()

    def disconnect(self) -> None:
        self._pipe.close()

    def end(self, deadline: float) -> None:
        """Waits until the deadline for the process to end, then kills it and everything that is left of its group."""
        self._ended(deadline)
        self._kill_group()
        with contextlib.suppress(subprocess.TimeoutExpired):  # for example, it waits for a disk that does not answer
            self._process.wait(1.0)

    def _ended(self, deadline: float) -> bool:
        """Waits until the deadline for the process to end; returns whether it has. It stays a zombie, so that its id is
        not reused."""
        pause = 0.001
        while self._process.returncode is None:
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(pause)
            pause = min(2 * pause, 0.05)
        return True

    def _kill_group(self) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # PermissionError for a zombie on macOS
                os.killpg(self.pid, signal.SIGKILL)

    def _death(self) -> WorkerError:
        if not self._ended(time.monotonic() + _PATIENCE):
            return WorkerDied("the connection to an environment worker is lost")
        self._kill_group()
        status = self._process.wait()
        if status >= 0:
            return WorkerDied(f"an environment worker ended with exit status {status}; see above for what it printed")
        hint = ", perhaps because memory ran out" if status == -signal.SIGKILL else ""
        names = {known.value: known.name for known in signal.Signals}
        return WorkerDied(f"an environment worker was killed by {names.get(-status, f'signal {-status}')}{hint}")


def _surroundings() -> dict[str, str]:
    """Returns the environment variables of a worker, which uses one thread and no GPU by default.

    Environments written in jax run on the CPU, since each process would reserve most of a GPU's memory. With
    SOBOLEV_WORKER_JAX_PLATFORMS=cuda they use the GPU, and allocate its memory as they need it.
    """
    wanted = {**dict.fromkeys(_ONE_THREAD, "1"), "XLA_PYTHON_CLIENT_PREALLOCATE": "false", **os.environ}
    return wanted | {"JAX_PLATFORMS": os.environ.get("SOBOLEV_WORKER_JAX_PLATFORMS", "cpu")}


def _value(answer: bytes | WorkerError) -> Any:
    if isinstance(answer, WorkerError):
        raise answer
    if not answer:
        return None
    kind, value = pickle.loads(answer)
    if kind == "mistake":
        raise UserError(value)
    if kind == "failure":
        raise WorkerError(value)
    return value
