# jaxtyping makes its own `PyTree` of a name that no type checker finds, so that it is unknown; here it is Any.
from typing import Annotated as Bool
from typing import Annotated as Complex
from typing import Annotated as Float
from typing import Annotated as Float32
from typing import Annotated as Inexact
from typing import Annotated as Int
from typing import Annotated as Int32
from typing import Annotated as Integer
from typing import Annotated as Key
from typing import Annotated as Num
from typing import Annotated as Real
from typing import Annotated as Shaped
from typing import Annotated as UInt8
from typing import Annotated as UInt32
from typing import Any, TypeAlias

from jax import Array as Array
from jax import Array as PRNGKeyArray
from jax import Array as Scalar
from jax.tree_util import PyTreeDef as PyTreeDef
from jax.typing import ArrayLike as ArrayLike
from jax.typing import ArrayLike as ScalarLike
from jax.typing import DTypeLike as DTypeLike

__all__ = [
    "Array",
    "ArrayLike",
    "Bool",
    "Complex",
    "DTypeLike",
    "Float",
    "Float32",
    "Inexact",
    "Int",
    "Int32",
    "Integer",
    "Key",
    "Num",
    "PRNGKeyArray",
    "PyTree",
    "PyTreeDef",
    "Real",
    "Scalar",
    "ScalarLike",
    "Shaped",
    "UInt32",
    "UInt8",
]

PyTree: TypeAlias = Any
