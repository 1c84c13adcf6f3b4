"""What environments draw, of any usual form, and metadata that do not tell the truth."""

from typing import Any

import gymnasium
import numpy as np
import pytest

from sobolev.envs import View, make
from sobolev.envs.rendering.frames import frame_of, resized
from sobolev.errors import UserError
from tests.envs import odd_environments as odd

RGB = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
GRAY = np.repeat(RGB[..., :1], 3, 2)


@pytest.mark.parametrize(
    ("drawn", "expected"),
    [
        (RGB, RGB),
        (RGB.tolist(), RGB),
        (RGB.astype(np.int64), RGB),
        (RGB / 255, RGB),
        ((RGB / 255).astype(np.float16), RGB),
        (np.concatenate([RGB, RGB[..., :1]], 2), RGB),
        (RGB[..., 0], GRAY),
        (RGB[..., :1], GRAY),
        (RGB[..., 0] > 30, np.where(GRAY > 30, 255, 0).astype(np.uint8)),
        (RGB[::-1, ::-1], RGB[::-1, ::-1]),
    ],
    ids=["rgb", "list", "integers", "float64", "float16", "rgba", "gray", "gray-channel", "booleans", "strided"],
)
def test_frames_that_are_taken(drawn: Any, expected: np.ndarray):
    found = frame_of("t", drawn)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("drawn", "said"),
    [
        (None, "None"),
        ("a picture", "no numbers"),
        ([RGB, RGB], r"shape \(2, 4, 6, 3\)"),
        ([[1], [1, 2]], r"\[\[1\], \[1, 2\]\]"),
        (np.zeros((0, 0, 3), np.uint8), "no numbers"),
        (np.zeros((3, 64, 64), np.uint8), "channels first"),
        (np.zeros((64, 64, 2), np.uint8), r"shape \(64, 64, 2\)"),
        (np.zeros(5), r"shape \(5,\)"),
        (2.0 * RGB, "not from 0 to 1"),
        (np.full((4, 6, 3), np.nan), "not from 0 to 1"),
        (RGB.astype(np.int64) - 1, "not from 0 to 255"),
        (np.full((4, 6), 256), "not from 0 to 255"),
    ],
)
def test_frames_that_are_refused(drawn: Any, said: str):
    with pytest.raises(UserError, match=rf"render\(\) of 't' gave.*{said}.*give uint8\[height, width, 3\]") as caught:
        frame_of("t", drawn)
    assert len(str(caught.value)) < 300 and "\n" not in str(caught.value)


def test_frames_are_resized_by_the_nearest_pixel():
    np.testing.assert_array_equal(resized(RGB, 8, 3)[::2], RGB[:, ::2])


class Draws(odd.Odd):
    """Draws what it is told, under metadata that it is told."""

    drawn: Any = RGB

    def render(self) -> Any:
        if isinstance(self.drawn, Exception):
            raise self.drawn
        return self.drawn


class TakesNone(odd.Odd):
    def __init__(self) -> None:
        super().__init__()


class Silent(Draws):
    metadata = {"render_modes": []}


class Empty(Draws):
    metadata = {"render_modes": None}


class Wanting(odd.Odd):
    """Cannot be made for drawing, as where a library for that is missing."""

    def __init__(self, render_mode: str | None = None):
        super().__init__()
        if render_mode:
            raise gymnasium.error.DependencyNotInstalled("rendering needs pygame")


class NoRender(gymnasium.Env):
    observation_space, action_space = odd.Odd.observation_space, odd.Odd.action_space
    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}

    def __init__(self, render_mode: str | None = None):
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        return np.zeros(3, np.float32), {}


def seen(entry: Any, view: View | None = None) -> Any:
    environment = make(odd.put("Drawn-v0", entry), view=view)
    environment.reset(0)
    return environment


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (TakesNone, "does not take the render mode 'rgb_array' although its metadata lists it.*unexpected keyword"),
        (Wanting, "rendering needs pygame"),
        (Silent, "does not offer the render mode"),
        (Empty, "does not offer the render mode"),
        (NoRender, r"has no render\(\) of its own"),
        (lambda: odd.Odd(), "does not offer the render mode"),
        (lambda **kw: Silent(), "does not offer the render mode"),
    ],
    ids=["takes-none", "wanting", "silent", "empty", "no-render", "plain-function", "ignores"],
)
@pytest.mark.filterwarnings("ignore:.*metadata:UserWarning")
def test_what_cannot_be_drawn_trains_and_says_so_when_it_is_asked(entry: Any, why: str):
    environment = seen(entry)
    with pytest.raises(UserError, match="'gym:Drawn-v0' cannot be drawn: .*" + why):
        environment.render(8, 8)
    with pytest.raises(UserError, match=why):
        seen(entry, View("pixels", 16))


def test_metadata_that_promise_too_much(monkeypatch: pytest.MonkeyPatch):
    for drawn, said in ((None, "None"), ([RGB], r"shape \(1, 4, 6, 3\)"), (ValueError("no"), "ValueError: no")):
        monkeypatch.setattr(Draws, "drawn", drawn)
        with pytest.raises(UserError, match=said + r".*in render\(\)|in render\(\).*" + said) as caught:
            seen(Draws).render(8, 8)
        assert "'gym:Drawn-v0'" in str(caught.value)


@pytest.mark.parametrize("entry", [Draws, lambda render_mode=None: Draws(render_mode=render_mode)])
def test_classes_and_functions_draw(entry: Any):
    np.testing.assert_array_equal(seen(entry).render(4, 6), RGB)
    assert seen(entry, View("both", 16)).reset(0).observation["image"].shape == (16, 16, 3)
