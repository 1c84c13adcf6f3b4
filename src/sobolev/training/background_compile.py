"""Compiling in the background what a run will call, while environments start and the first steps are collected."""

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
    """Jitted functions on their way to being compiled.

    JAX itself finds what is compiled when the function is called with arguments of the same shapes; called any earlier
    it would compile a second time, so every call asks `wait` before.
    """

    def __init__(self) -> None:
        self._jobs: dict[str, Future[Compiled]] = {}
        self._started: set[tuple[str, str]] = set()

    def start(self, jobs: Mapping[str, tuple[Wrapped, Arguments]]) -> None:
        """Compile functions for these arguments (arrays, or shapes of them): traced one by one, in the order given.

        `jobs` are (jitted function, arguments) by name; a function in the place of the arguments is asked for them in
        its turn. Returns at once; what was asked for before is not done again.
        """
        # Python traces no faster in several threads, and what comes first would wait for the rest.
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

    def wait(self, name: str) -> None:
        """To be asked before that function is called: waits until it is compiled, and raises what failed.

        Raises Interrupted where a signal comes first; not where several processes run the program in step.
        """
        if name not in self._jobs:
            return
        while not self._jobs[name].done():
            if jax.process_count() == 1:
                signals.check()
            futures.wait([self._jobs[name]], timeout=0.1)
        self._jobs[name].result()

    def temporary_bytes(self, name: str) -> int:
        """Memory that the function takes while it runs, beside arguments and results; 0 where XLA does not say."""
        self.wait(name)
        analysis = self._jobs[name].result().memory_analysis() if name in self._jobs else None
        return analysis.temp_size_in_bytes if analysis is not None else 0


@in_32_bits()
def _lowered(function: Wrapped, arguments: Arguments) -> Lowered:
    return function.lower(*(arguments() if callable(arguments) else arguments))


@in_32_bits()
def _compiled(lowered: Future[Lowered]) -> Compiled:
    return lowered.result().compile()
