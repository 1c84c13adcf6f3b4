"""Converts pytrees to flat dictionaries of host arrays, and back, for checkpoints."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from sobolev.envs.specs import ArraySpec, Spaces
from sobolev.errors import UserError


def flatten(tree: PyTree) -> dict[str, np.ndarray]:
    """Returns the arrays of a tree on the host, named by their key path ("agent/actor/layers/0/kernel").

    Typed random keys are converted to their uint32 data. Functions, such as an activation in a module, are left out.
    Raises ValueError for any other leaf that is not an array, and if two leaves have the same name. On a CPU the arrays
    are views of the tree's buffers: delete them before the tree is donated, or donation copies."""
    arrays = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = _name(path)
        if name in arrays:
            raise ValueError(f"two leaves are called '{name}'")
        if _is_array(leaf):
            arrays[name] = np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)
        elif not callable(leaf):
            raise ValueError(f"leaf '{name}' is {leaf!r}: only arrays can be saved")
    return arrays


def forms(tree: PyTree) -> dict[str, Any]:
    """Returns the leaves of a tree of shapes (or arrays), named as by `flatten`."""
    return {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree) if _is_array(leaf)}


def unflatten(like: PyTree, arrays: Mapping[str, np.ndarray]) -> PyTree:
    """Inverse of `flatten`: returns a tree with the structure of `like` (arrays or ShapeDtypeStructs) and these arrays.

    Leaves are NumPy arrays where `like` has them, otherwise new JAX arrays that own their memory. Random keys have the
    implementation of those in `like`. Raises UserError, naming the first leaf that is missing, unexpected or of another
    shape or dtype."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    named = [(_name(path), leaf) for path, leaf in leaves]
    wanted = {name for name, leaf in named if _is_array(leaf)}
    if extra := sorted(set(arrays) - wanted):
        raise UserError(f"the checkpoint does not fit this program: it has '{extra[0]}', which is not expected here")
    return structure.unflatten([_restore(name, leaf, arrays) for name, leaf in named])


def check_spaces(arrays: Mapping[str, np.ndarray], spaces: Spaces, who: str, cure: str) -> None:
    """Raises UserError, naming the entries, if a checkpoint was made with other observations or actions than `spaces`.

    arrays: the state of the checkpoint by name; entries that it does not have are not compared. who: what has the
    spaces, as the subject of the message ("the environment"). cure: what to do."""
    place = "transition/observation/"
    had = {
        name.removeprefix(place): ArraySpec(array.shape[2:], array.dtype.name)
        for name, array in arrays.items()
        if name.startswith(place)
    }
    if not had:
        return
    now, wrong = dict(spaces.observation), []
    for name in sorted(had | now):
        if name not in now:
            wrong.append(f"{who} gives no '{name}', the checkpoint was made with it, {_said(had[name])}")
        elif name not in had:
            wrong.append(f"{who} gives '{name}' {_said(now[name])}, the checkpoint was made without it")
        elif had[name].shape != now[name].shape:
            wrong.append(f"{who} gives '{name}' {_said(now[name])}, the checkpoint was made with {had[name].shape}")
        elif had[name] != now[name]:
            wrong.append(f"{who} gives '{name}' as {now[name].dtype}, the checkpoint was made with {had[name].dtype}")
    actions = arrays.get("records/action")
    if actions is not None and actions.shape[-1] != spaces.action:
        wrong.append(f"{who} takes actions of size {spaces.action}, the checkpoint was made with {actions.shape[-1]}")
    if wrong:
        raise UserError(f"{'; '.join(wrong[:3])}{f'; and {len(wrong) - 3} more' if len(wrong) > 3 else ''}: {cure}")


def _said(spec: ArraySpec) -> str:
    return f"of shape {spec.shape}"


def _restore(name: str, like: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if not _is_array(like):
        return like
    if name not in arrays:
        raise UserError(f"the checkpoint does not fit this program: it lacks '{name}'")
    value = arrays[name]
    form = jax.eval_shape(jax.random.key_data, like) if _is_key(like) else like
    if value.shape != tuple(form.shape) or value.dtype != form.dtype:
        raise UserError(
            f"the checkpoint does not fit this program: '{name}' is {value.dtype}{list(value.shape)} there and "
            f"{form.dtype}{list(form.shape)} here"
        )
    if isinstance(like, (np.ndarray, np.generic)):
        return np.array(value)
    # a copy: JAX may share the memory of a NumPy array, which cannot be donated
    array = jnp.array(value, copy=True)
    if not _is_key(like):
        return array
    key = like if isinstance(like, jax.Array) else jnp.zeros((), like.dtype)
    return jax.random.wrap_key_data(array, impl=jax.random.key_impl(key))


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, (jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct))


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
