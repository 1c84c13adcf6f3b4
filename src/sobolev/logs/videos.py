"""Frames as video files, and as pictures for the views of a run."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sobolev.logs.rows import Picture

FRAMES_PER_SECOND = 25
MOST_FRAMES = 250
"""Largest number of frames of an excerpt; longer GIFs have tens of megabytes."""
FILMS = (".mp4", ".gif")
"""File endings of films."""
PLOTS = (".png", ".pdf", ".svg")
"""File endings of plots."""


def write_video(path: Path, frames: list[np.ndarray]) -> None:
    """Writes frames uint8[height, width, 3] as a film (.mp4 or .gif), and replaces an earlier file atomically.

    Raises OSError if it cannot be written.
    """
    import imageio.v3 as imageio

    # otherwise imageio runs Python code in a fork of this process, which may hang because of jax's threads
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
    """Encodes one frame uint8[height, width, 3] as a PNG, or several as a GIF, which TensorBoard plays.

    If the frames are every second, third, … frame of a video, `every` slows the GIF down to the speed of the video.
    """
    import imageio.v3 as imageio

    if len(frames) == 1:
        encoded = imageio.imwrite("<bytes>", frames[0], extension=".png")
    else:
        pause = 1000 * every / FRAMES_PER_SECOND
        encoded = imageio.imwrite("<bytes>", np.stack(frames), extension=".gif", duration=pause, loop=0)
    return Picture(encoded, *frames[0].shape[:2])


def excerpt(video: Path, frames: Sequence[np.ndarray]) -> Picture:
    """Encodes the frames of a video file as a GIF of half the height and width, of at most `MOST_FRAMES` frames, evenly
    spaced. The file is the picture's `film`."""
    every = -(-len(frames) // MOST_FRAMES)
    return picture(*(frame[::2, ::2] for frame in frames[::every]), every=every)._replace(film=video)
