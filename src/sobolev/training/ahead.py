"""Compiling in the background what a run will call, while environments start and the first steps are collected."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class Ahead:
    """Jitted functions on their way to being compiled.

    JAX itself finds what is compiled when the function is called with arguments of the same shapes; called any earlier
    it would compile a second time, so every call asks `wait` before.
    """

    def __init__(self) -> None:
        self._jobs: dict[str, Future] = {}
        self._started: set[Any] = set()

    def start(self, jobs: dict[str, tuple[Any, tuple[Any, ...]]]) -> None:
        """Compile functions for these arguments (arrays, or shapes of them), two at a time, in the order given.

        `jobs` are (jitted function, arguments) by name. Returns at once; what was asked for before is not done again.
        """
        pool = ThreadPoolExecutor(2, thread_name_prefix="compile")
        for name, (function, arguments) in jobs.items():
            key = (name, str(arguments))
            if key not in self._started:
                self._started.add(key)
                self._jobs[name] = pool.submit(_compiled, function, arguments)
        pool.shutdown(wait=False)

    def wait(self, name: str) -> None:
        """To be asked before that function is called: waits until it is compiled, and raises what failed."""
        if name in self._jobs:
            self._jobs[name].result()

    def temporary_bytes(self, name: str) -> int:
        """Memory that the function takes while it runs, beside arguments and results; 0 where XLA does not tell."""
        analysis = self._jobs[name].result().memory_analysis() if name in self._jobs else None
        return analysis.temp_size_in_bytes if analysis is not None else 0


def _compiled(function: Any, arguments: tuple[Any, ...]) -> Any:
    return function.lower(*arguments).compile()
