from collections.abc import Iterable
from typing import Any

class PyTreeDef:
    num_leaves: int
    num_nodes: int
    def unflatten(self, leaves: Iterable[Any], /) -> Any: ...

def __getattr__(name: str) -> Any: ...
