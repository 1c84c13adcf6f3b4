"""Dreams: what a world model predicts of recorded evaluation episodes, as a film of images and a plot of vectors.

The model observes the first half of a recording, and predicts the second half from the actions alone.

    RUN/dreams/000020000.mp4    images: from top to bottom the truth, the prediction and their difference (grey where
                                there is none), with a column per episode; the frame is green while the model
                                observes, red while it predicts
    RUN/dreams/000020000.png    all other observations of the first episode, over time
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from sobolev.agents.api import AnyAgent, Dreams
from sobolev.envs import Transition
from sobolev.errors import UserError
from sobolev.logs.rows import Picture
from sobolev.logs.videos import FILMS, picture, write_video
from sobolev.plotting.output_files import png
from sobolev.system.atomic_files import replacing, write_bytes

LENGTH = 100
"""Agent steps of a recording. The model observes half of them."""
EPISODES = 3
"""Episodes in a film, side by side."""
PANELS = 24
"""Largest number of curves in a plot."""
MOMENTS = 10
"""Number of frames in a still picture, side by side."""
_OBSERVED, _PREDICTED = (0, 160, 0), (200, 0, 0)

Predict = Callable[[dict[str, Any], int], Mapping[str, np.ndarray] | None]
"""Maps (recorded steps, number of steps to observe) to the predictions, or to None if there is no world model."""


class Recording:
    """Records the first `LENGTH` steps of the first seed's episodes while they are played."""

    def __init__(self) -> None:
        self._steps: list[dict[str, Any]] = []

    def add(self, transition: Transition, action: np.ndarray) -> None:
        """Adds a step and its action, unless the recording is full."""
        if len(self._steps) < LENGTH:
            step = {"observation": transition["observation"], "first": transition["first"], "action": action}
            self._steps.append(jax.tree.map(lambda leaf: leaf[0, :EPISODES], step))

    def steps(self) -> dict[str, Any]:
        """Returns the recorded steps, with leaves [time, episodes, …]."""
        return jax.tree.map(lambda *leaves: np.stack(leaves), *self._steps)


class Dream(NamedTuple):
    """True and predicted observations [time, episodes, …] by name; the model has observed the first `context` steps."""

    truth: Mapping[str, np.ndarray]
    prediction: Mapping[str, np.ndarray]
    context: int

    def images(self) -> list[str]:
        """Returns the names of the observations that are images."""
        return [name for name, entry in self.truth.items() if entry.dtype == np.uint8 and entry.ndim == 5]

    def vectors(self) -> list[str]:
        """Returns the names of all other observations."""
        return [name for name in self.truth if name not in self.images()]

    def errors(self) -> dict[str, float]:
        """Returns the root mean squared error of each observation after `context`; images are scaled to [0, 1]."""
        found = {}
        for name, truth in self.truth.items():
            unit = 255.0 if name in self.images() else 1.0
            difference = self.prediction[name].astype(np.float64) - truth
            found[name] = float(np.sqrt(np.mean(np.square(difference[self.context :] / unit))))
        return found


def dream(predict: Predict, recording: Recording) -> Dream | None:
    """Returns the dream of a recording; None if the method has no world model."""
    steps = recording.steps()
    context = max(1, len(steps["first"]) // 2)
    predicted = predict(steps, context)
    return None if predicted is None else Dream(steps["observation"], predicted, context)


def check(agent: AnyAgent, path: Path) -> None:
    """Raises UserError if an agent has no dreams, or none that a file of this type can show."""
    images = [spec.is_image for _, spec in agent.spaces.observation]
    if not isinstance(agent, Dreams):
        raise UserError("the method of this run has no world model to dream with: leave out --dream")
    if path.suffix.lower() in FILMS and not any(images):
        raise UserError(f"--dream {path}: the agent of this run sees no images, so name a plot, as in dream.png")
    if path.suffix.lower() not in (*FILMS, ".png") and all(images):
        raise UserError(
            f"--dream {path}: the agent of this run sees images alone, so name a film, as in dream.mp4, or some of its "
            "frames, as in dream.png"
        )


def write(found: Dream, path: Path) -> None:
    """Writes a dream to a file: the film for .mp4 and .gif; else the plot, or the still if there are images only.

    An earlier file is replaced atomically. Raises OSError if it cannot be written.
    """
    if path.suffix.lower() in FILMS:
        write_video(path, film(found))
    elif found.vectors():
        with replacing(path) as temporary:
            plot(found).savefig(temporary, format=path.suffix[1:].lower() or "png")
    else:
        write_bytes(path, picture(still(found)).encoded)


def film(found: Dream) -> list[np.ndarray]:
    """Returns a frame per step, uint8[height, width, 3] with sides that are multiples of 16, laid out as the module's
    docstring says."""
    rows = _rows(found)
    length, episodes = rows[0].shape[:2]
    return [_padded(np.concatenate([_column(found, rows, t, e) for e in range(episodes)], 1)) for t in range(length)]


def still(found: Dream) -> np.ndarray:
    """Returns some frames of the film's first episode from left to right, uint8[height, width, 3]."""
    rows = _rows(found)
    moments = np.unique(np.linspace(0, len(rows[0]) - 1, MOMENTS).round().astype(int)).tolist()
    return np.concatenate([_column(found, rows, time, 0) for time in moments], 1)


def _rows(found: Dream) -> list[np.ndarray]:
    """Returns the rows of the film from top to bottom, uint8[time, episodes, height, width, 3] each."""
    rows = []
    for name in found.images():
        truth, prediction = colours(found.truth[name]), colours(found.prediction[name])
        rows += [truth, prediction, ((prediction.astype(np.int16) - truth + 255) // 2).astype(np.uint8)]
    return rows


def _column(found: Dream, rows: list[np.ndarray], time: int, episode: int) -> np.ndarray:
    """Returns one step of one episode, framed, and enlarged if it is small."""
    scale = max(1, 128 // max(row.shape[2] for row in rows))
    column = np.concatenate([row[time, episode] for row in rows]).repeat(scale, 0).repeat(scale, 1)
    return _framed(column, _OBSERVED if time < found.context else _PREDICTED)


def colours(images: np.ndarray) -> np.ndarray:
    """Returns images [time, episodes, height, width, 3] of any number of channels: the last three, or the last one
    three times."""
    channels = images.shape[-1]
    return images[..., -3:] if channels >= 3 else np.repeat(images[..., -1:], 3, -1)


def _framed(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    framed = np.full((picture.shape[0] + 8, picture.shape[1] + 8, 3), colour, np.uint8)
    framed[4:-4, 4:-4] = picture
    return framed


def _padded(picture: np.ndarray) -> np.ndarray:
    height, width, _ = picture.shape
    return np.pad(picture, ((0, -height % 16), (0, -width % 16), (0, 0)))


def plot(found: Dream) -> Any:
    """Returns a figure of the first episode with the true and the predicted curve of every number of the vectors."""
    from matplotlib.figure import Figure

    curves = []
    for name in found.vectors():
        truth, prediction = (
            entry[name][:, 0].reshape(len(entry[name]), -1).T for entry in (found.truth, found.prediction)
        )
        names = [name] if len(truth) == 1 else [f"{name} {i}" for i in range(len(truth))]
        curves += list(zip(range(len(truth)), names, truth, prediction, strict=True))
    # if there are too many curves, each observation keeps its first numbers
    order = sorted(range(len(curves)), key=lambda curve: curves[curve][0])
    shown, columns = [curves[curve] for curve in sorted(order[:PANELS])], min(4, len(curves))
    lines = -(-len(shown) // columns)
    figure = Figure(figsize=(3.0 * columns, 1.7 * lines + 0.7), dpi=110, layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True).ravel()
    for ax, (_, name, truth, prediction) in zip(panels, shown, strict=False):
        ax.plot(truth, color="#333333", linewidth=1.2, label="truth")
        ax.plot(prediction, color="#1f6fb4", linewidth=1.2, label="model")
        ax.axvline(found.context - 0.5, color="#c80000", linewidth=0.8, linestyle="--")
        ax.set_title(name, fontsize=8)
        ax.tick_params(labelsize=7)
        ax.spines[["top", "right"]].set_visible(False)
    for ax in panels[len(shown) :]:
        ax.set_axis_off()
    panels[0].legend(fontsize=7, frameon=False)
    left_out = f"; {PANELS} of {len(curves)} numbers" if len(curves) > PANELS else ""
    title = f"agent steps; observed up to the red line, predicted from the actions alone after it{left_out}"
    figure.supxlabel(title, fontsize=8)
    return figure


def keep(found: Dream, folder: Path, env_steps: int) -> dict[str, Picture]:
    """Writes the film and the plot of a dream into a folder. Returns the pictures for log sinks, by name."""
    folder.mkdir(exist_ok=True)
    pictures = {}
    if found.images():
        frames = film(found)
        write_video(folder / f"{env_steps:09d}.mp4", frames)
        pictures["dream/images"] = picture(*frames)
    if found.vectors():
        figure = plot(found)
        content = png(figure)
        write_bytes(folder / f"{env_steps:09d}.png", content)
        width, height = (int(side) for side in figure.get_size_inches() * figure.dpi)
        pictures["dream/vectors"] = Picture(content, height, width)
    return pictures
