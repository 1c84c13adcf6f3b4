"""What a run's world model reconstructs and predicts of its evaluation episodes: a film of images, a plot of vectors.

The model observes the first half of a recording and then predicts the second half from the actions alone.

    RUN/dreams/000020000.mp4    images: the truth above the prediction above their difference (grey: none), an episode
                                per column; framed green while the model observes, red while it predicts
    RUN/dreams/000020000.png    every other observation of the first episode over time
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

LENGTH = 100
"""Agent steps of a recording, half of which the model observes."""
EPISODES = 3
"""Episodes side by side."""
PANELS = 24
"""Curves in a plot, at most."""
MOMENTS = 10
"""Frames side by side in a still picture."""
_OBSERVED, _PREDICTED = (0, 160, 0), (200, 0, 0)

Predict = Callable[[dict[str, Any], int], Mapping[str, np.ndarray] | None]
"""From recorded steps, and how many of them the model observes, to its predictions; None without a world model."""


class Recording:
    """The first steps of episodes as they are played; those of the first seed."""

    def __init__(self) -> None:
        self._steps: list[dict[str, Any]] = []

    def add(self, transition: Transition, action: np.ndarray) -> None:
        """Keep a step and the action chosen in it, until there are enough."""
        if len(self._steps) < LENGTH:
            step = {"observation": transition["observation"], "first": transition["first"], "action": action}
            self._steps.append(jax.tree.map(lambda leaf: leaf[0, :EPISODES], step))

    def steps(self) -> dict[str, Any]:
        """All of them, leaves [time, episodes, …]."""
        return jax.tree.map(lambda *leaves: np.stack(leaves), *self._steps)


class Dream(NamedTuple):
    """Observations [time, episodes, …] by name: as they were, and as a model gives them that observes `context`."""

    truth: Mapping[str, np.ndarray]
    prediction: Mapping[str, np.ndarray]
    context: int

    def images(self) -> list[str]:
        """Names of the observations that are images."""
        return [name for name, entry in self.truth.items() if entry.dtype == np.uint8 and entry.ndim == 5]

    def vectors(self) -> list[str]:
        """Names of the others."""
        return [name for name in self.truth if name not in self.images()]

    def errors(self) -> dict[str, float]:
        """Root of the mean squared difference in the predicted half; images count from 0 to 1."""
        found = {}
        for name, truth in self.truth.items():
            unit = 255.0 if name in self.images() else 1.0
            difference = self.prediction[name].astype(np.float64) - truth
            found[name] = float(np.sqrt(np.mean(np.square(difference[self.context :] / unit))))
        return found


def dream(predict: Predict, recording: Recording) -> Dream | None:
    """The first seed's dream of a recording; None where the method has no world model."""
    steps = recording.steps()
    context = max(1, len(steps["first"]) // 2)
    predicted = predict(steps, context)
    return None if predicted is None else Dream(steps["observation"], predicted, context)


def check(agent: AnyAgent, path: Path) -> None:
    """Raise UserError where an agent has no dreams that could be written to a file of this name."""
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
    """Writes what a path's ending asks for: the film (.mp4, .gif), else the plot, or of images alone the still."""
    if path.suffix.lower() in FILMS:
        write_video(path, film(found))
    elif found.vectors():
        plot(found).savefig(path)
    else:
        path.write_bytes(picture(still(found)).encoded)


def film(found: Dream) -> list[np.ndarray]:
    """A frame per step, uint8[height, width, 3], in whole multiples of 16 as films are: see the module's docstring."""
    rows = _rows(found)
    length, episodes = rows[0].shape[:2]
    return [_padded(np.concatenate([_column(found, rows, t, e) for e in range(episodes)], 1)) for t in range(length)]


def still(found: Dream) -> np.ndarray:
    """Some moments of the first episode from left to right, as in the film: uint8[height, width, 3]."""
    rows = _rows(found)
    moments = np.unique(np.linspace(0, len(rows[0]) - 1, MOMENTS).round().astype(int)).tolist()
    return np.concatenate([_column(found, rows, time, 0) for time in moments], 1)


def _rows(found: Dream) -> list[np.ndarray]:
    """What lies one above the other, uint8[time, episodes, height, width, 3] each: see the module's docstring."""
    rows = []
    for name in found.images():
        truth, prediction = colours(found.truth[name]), colours(found.prediction[name])
        rows += [truth, prediction, ((prediction.astype(np.int16) - truth + 255) // 2).astype(np.uint8)]
    return rows


def _column(found: Dream, rows: list[np.ndarray], time: int, episode: int) -> np.ndarray:
    """One moment of one episode, framed, and large enough to look at."""
    scale = max(1, 128 // max(row.shape[2] for row in rows))
    column = np.concatenate([row[time, episode] for row in rows]).repeat(scale, 0).repeat(scale, 1)
    return _framed(column, _OBSERVED if time < found.context else _PREDICTED)


def colours(images: np.ndarray) -> np.ndarray:
    """Images [time, episodes, height, width, channels] of three channels: the last three, or one three times."""
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
    """A figure with a curve per number of every vector, true and predicted, of the first episode."""
    from matplotlib.figure import Figure

    curves = []
    for name in found.vectors():
        truth, prediction = (
            entry[name][:, 0].reshape(len(entry[name]), -1).T for entry in (found.truth, found.prediction)
        )
        names = [name] if len(truth) == 1 else [f"{name} {i}" for i in range(len(truth))]
        curves += list(zip(range(len(truth)), names, truth, prediction, strict=True))
    # the first number of every observation before the second of any
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
    """Writes what there is to see of a dream into a folder, and returns the pictures for TensorBoard, by name."""
    folder.mkdir(exist_ok=True)
    pictures = {}
    if found.images():
        frames = film(found)
        write_video(folder / f"{env_steps:09d}.mp4", frames)
        pictures["dream/images"] = picture(*frames)
    if found.vectors():
        path = folder / f"{env_steps:09d}.png"
        figure = plot(found)
        figure.savefig(path)
        width, height = (int(side) for side in figure.get_size_inches() * figure.dpi)
        pictures["dream/vectors"] = Picture(path.read_bytes(), height, width)
    return pictures
