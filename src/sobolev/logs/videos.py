"""Frames as video files, and as pictures for the views of a run."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sobolev.logs.rows import Picture

FRAMES_PER_SECOND = 25
MOST_FRAMES = 250
"""Frames of an excerpt, at most: GIFs of more are tens of megabytes."""
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


def picture(*frames: np.ndarray, every: int = 1) -> Picture:
    """One frame uint8[height, width, 3] as a PNG, several as a GIF, which TensorBoard plays.

    `every` says that they are every second, third, … frame of a video, so that the GIF lasts as long as it.
    """
    import imageio.v3 as imageio

    if len(frames) == 1:
        encoded = imageio.imwrite("<bytes>", frames[0], extension=".png")
    else:
        pause = 1000 * every / FRAMES_PER_SECOND
        encoded = imageio.imwrite("<bytes>", np.stack(frames), extension=".gif", duration=pause, loop=0)
    return Picture(encoded, *frames[0].shape[:2])


def excerpt(video: Path, frames: Sequence[np.ndarray]) -> Picture:
    """The frames of a video file as a GIF of half its height and width, and of at most `MOST_FRAMES` frames, evenly
    spaced. The file itself is its `film`."""
    every = -(-len(frames) // MOST_FRAMES)
    return picture(*(frame[::2, ::2] for frame in frames[::every]), every=every)._replace(film=video)
