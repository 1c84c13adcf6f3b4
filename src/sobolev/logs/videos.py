"""Frames as films."""

import os
from pathlib import Path
from typing import Any

import numpy as np

FRAMES_PER_SECOND = 25
FILMS = (".mp4", ".gif")
"""Endings of a film's name."""
PLOTS = (".png", ".pdf", ".svg")
"""Endings of a plot's name."""


def write_video(path: Path, frames: list[np.ndarray]) -> None:
    """Frames uint8[height, width, 3] as a film, .mp4 or .gif; a film that is there is replaced by a whole one.

    Raises OSError where it cannot be written.
    """
    import imageio.v3 as imageio

    # else imageio runs Python code in a fork of this process, which has jax's threads and may hang
    os.environ.setdefault("IMAGEIO_FFMPEG_NO_PREVENT_SIGINT", "1")
    options: Any = {"duration": 1000 / FRAMES_PER_SECOND, "loop": 0}
    if path.suffix.lower() == ".mp4":
        options = {"fps": FRAMES_PER_SECOND, "codec": "libx264", "macro_block_size": 16}
    beside = path.with_name(f".{path.stem}.tmp{path.suffix}")
    try:
        imageio.imwrite(beside, np.stack(frames), **options)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
