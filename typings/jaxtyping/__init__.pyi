# jaxtyping makes its own `PyTree` of a name that no type checker finds, so that it is unknown; here it is Any.
from typing import Annotated as BFloat16
from typing import Annotated as Bool
from typing import Annotated as Complex
from typing import Annotated as Complex64
from typing import Annotated as Complex128
from typing import Annotated as Float
from typing import Annotated as Float8e4m3b11fnuz
from typing import Annotated as Float8e4m3fn
from typing import Annotated as Float8e4m3fnuz
from typing import Annotated as Float8e5m2
from typing import Annotated as Float8e5m2fnuz
from typing import Annotated as Float16
from typing import Annotated as Float32
from typing import Annotated as Float64
from typing import Annotated as Inexact
from typing import Annotated as Int
from typing import Annotated as Int2
from typing import Annotated as Int4
from typing import Annotated as Int8
from typing import Annotated as Int16
from typing import Annotated as Int32
from typing import Annotated as Int64
from typing import Annotated as Integer
from typing import Annotated as Key
from typing import Annotated as Num
from typing import Annotated as Real
from typing import Annotated as Shaped
from typing import Annotated as UInt
from typing import Annotated as UInt2
from typing import Annotated as UInt4
from typing import Annotated as UInt8
from typing import Annotated as UInt16
from typing import Annotated as UInt32
from typing import Annotated as UInt64
from typing import Any, TypeAlias

from jax import Array as Array
from jax import Array as PRNGKeyArray
from jax import Array as Scalar
from jax.tree_util import PyTreeDef as PyTreeDef
from jax.typing import ArrayLike as ArrayLike
from jax.typing import ArrayLike as ScalarLike
from jax.typing import DTypeLike as DTypeLike
from jaxtyping._decorator import jaxtyped as jaxtyped
from jaxtyping._import_hook import install_import_hook as install_import_hook

__all__ = [
    "Array",
    "ArrayLike",
    "BFloat16",
    "Bool",
    "Complex",
    "Complex128",
    "Complex64",
    "DTypeLike",
    "Float",
    "Float16",
    "Float32",
    "Float64",
    "Float8e4m3b11fnuz",
    "Float8e4m3fn",
    "Float8e4m3fnuz",
    "Float8e5m2",
    "Float8e5m2fnuz",
    "Inexact",
    "Int",
    "Int16",
    "Int2",
    "Int32",
    "Int4",
    "Int64",
    "Int8",
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
    "UInt",
    "UInt16",
    "UInt2",
    "UInt32",
    "UInt4",
    "UInt64",
    "UInt8",
    "install_import_hook",
    "jaxtyped",
]

PyTree: TypeAlias = Any
