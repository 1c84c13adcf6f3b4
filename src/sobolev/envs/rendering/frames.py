"""Converts the frames that environments render, of any usual form, to uint8[height, width, 3]."""

from typing import Any

import numpy as np

from sobolev.envs.failures import Wrong, shown

_ADVICE = "give uint8[height, width, 3], as Gymnasium's mode 'rgb_array' is, or leave that mode out of the metadata"


def frame_of(task: str, drawn: Any) -> np.ndarray:
    """Converts the result of render() to uint8[height, width, 3].

    It may be gray (with or without a channel axis), RGB or RGBA (alpha is dropped), as integers from 0 to 255,
    booleans, or floats in [0, 1]. Raises Wrong for anything else.
    """
    if drawn is None:
        raise Wrong(f"render() of '{task}' gave None", _ADVICE)
    try:
        frame = np.asarray(drawn)
    except Exception as error:
        raise Wrong(f"render() of '{task}' gave {shown(drawn)}", _ADVICE) from error
    if frame.dtype.kind not in "fiub" or not frame.size:
        raise Wrong(f"render() of '{task}' gave {shown(drawn)}, no numbers", _ADVICE)
    if frame.ndim == 3 and frame.shape[0] <= 4 < min(frame.shape[1:]):
        raise Wrong(f"render() of '{task}' gave a frame with channels first, {frame.shape}", _ADVICE)
    frame = frame[..., None] if frame.ndim == 2 else frame
    if frame.ndim != 3 or frame.shape[2] not in (1, 3, 4):
        raise Wrong(f"render() of '{task}' gave an array of shape {np.shape(drawn)}", _ADVICE)
    colours = _bytes(task, frame[..., :3])
    return np.repeat(colours, 3, 2) if colours.shape[2] == 1 else colours


def resized(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes a frame to the nearest pixel."""
    rows, columns = np.arange(height) * frame.shape[0] // height, np.arange(width) * frame.shape[1] // width
    return frame[rows][:, columns]


def _bytes(task: str, frame: np.ndarray) -> np.ndarray:
    if frame.dtype == np.uint8:
        return frame
    if frame.dtype == bool:
        return frame.astype(np.uint8) * np.uint8(255)
    most = 1 if frame.dtype.kind == "f" else 255
    if not (frame.min() >= 0 and frame.max() <= most):  # NaN is neither
        found = f"{frame.dtype} from {frame.min():g} to {frame.max():g}"
        raise Wrong(f"render() of '{task}' gave a frame of {found}, not from 0 to {most}", _ADVICE)
    return np.round(frame * 255).astype(np.uint8) if most == 1 else frame.astype(np.uint8)
