"""Compiling the functions of a run in the background, while environments start and collect the first steps."""

from collections.abc import Callable, Mapping
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor

import jax
from jax.stages import Compiled, Lowered, Wrapped
from jaxtyping import PyTree

from sobolev.system import signals
from sobolev.system.jax_setup import in_32_bits

Arguments = tuple[PyTree, ...] | Callable[[], tuple[PyTree, ...]]


class Ahead:
    """Jitted functions that are being compiled in the background.

    Once a function is compiled, JAX uses that when it is called with arguments of the same shapes. Called earlier, it
    would be compiled a second time; therefore every call is preceded by `wait`.
    """

    def __init__(self) -> None:
        self._jobs: dict[str, Future[Compiled]] = {}
        self._started: set[tuple[str, str]] = set()

    def start(self, jobs: Mapping[str, tuple[Wrapped, Arguments]]) -> None:
        """Starts compiling functions for these arguments (arrays, or their shapes), and returns at once.

        `jobs` are (jitted function, arguments) by name. In place of arguments there may be a function that returns
        them, which is called just before tracing. Functions are traced one by one, in the given order. A job that was
        started before is not started again.
        """
        # Python traces no faster in several threads, and the first job would have to wait for the others.
        trace = ThreadPoolExecutor(1, thread_name_prefix="trace")
        pool = ThreadPoolExecutor(max(1, len(jobs)), thread_name_prefix="compile")
        for name, (function, arguments) in jobs.items():
            key = (name, "" if callable(arguments) else str(arguments))
            if key not in self._started:
                self._started.add(key)
                lowered = trace.submit(_lowered, function, arguments)
                self._jobs[name] = pool.submit(_compiled, lowered)
        trace.shutdown(wait=False)
        pool.shutdown(wait=False)

    def wait(self, name: str, leaving: bool = True) -> None:
        """Waits until a function is compiled; to be called before the function is. Raises the error of a failed job.

        Raises Interrupted if a signal arrives first, if `leaving`, and except where several processes run the same
        program.
        """
        if name not in self._jobs:
            return
        while not self._jobs[name].done():
            if leaving and jax.process_count() == 1:
                signals.check()
            futures.wait([self._jobs[name]], timeout=0.1)
        self._jobs[name].result()

    def temporary_bytes(self, name: str) -> int:
        """Bytes of temporary memory of a function, beside arguments and results; 0 if XLA does not report it."""
        self.wait(name)
        analysis = self._jobs[name].result().memory_analysis() if name in self._jobs else None
        return analysis.temp_size_in_bytes if analysis is not None else 0


@in_32_bits()
def _lowered(function: Wrapped, arguments: Arguments) -> Lowered:
    return function.lower(*(arguments() if callable(arguments) else arguments))


@in_32_bits()
def _compiled(lowered: Future[Lowered]) -> Compiled:
    return lowered.result().compile()
