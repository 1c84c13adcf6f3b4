import functools
import os
import subprocess
import sys
from collections.abc import Mapping

import numpy as np
import pytest

from sobolev.envs import VectorEnv, Workers
from sobolev.envs.rendering.backend import ADVICE, drawing, egl_works, osmesa_works
from sobolev.errors import UserError

_NO_EGL = {"__EGL_VENDOR_LIBRARY_DIRS": "/nonexistent"}


def _fresh(code: str, environment: Mapping[str, str]) -> str:
    """Output of a fresh process in which nothing has chosen a back end yet."""
    kept = {key: value for key, value in os.environ.items() if key not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}\n{code}"],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


_CHOOSE = "from sobolev.envs.rendering.backend import choose_backend; print(choose_backend())"


def test_egl_comes_before_osmesa_and_the_users_choice_before_both():
    best = "egl" if egl_works() else "osmesa" if osmesa_works() else "off"
    assert _fresh(_CHOOSE, {}) == best
    assert _fresh(_CHOOSE, {"MUJOCO_GL": "glfw"}) == "glfw"


def test_without_egl_it_is_osmesa_or_nothing():
    code = f"from sobolev.envs.rendering import backend as r; assert not r.egl_works(); {_CHOOSE}"
    assert _fresh(code, _NO_EGL) == ("osmesa" if osmesa_works() else "off")


_DRAW = """
import sys
import numpy as np
from sobolev.envs import View, make
from sobolev.errors import UserError
for task in ("pendulum-swingup", "gym:InvertedPendulum-v5"):
    environment = make(task, 1, view=View({view!r}, 16))
    try:
        environment.reset(0)
        environment.step(np.zeros(1, np.float32))
        print("fine", *(name for name in ("OpenGL", "glfw") if name in sys.modules and task == "pendulum-swingup"))
    except UserError as error:
        print(error)
"""

_ODD_CHOICES = [
    {"MUJOCO_GL": gl, "PYOPENGL_PLATFORM": platform}
    for gl, platform in zip(
        ("egl", "osmesa", "osmesa", "glfw", "glx", "nonsense", "", None),
        ("osmesa", None, "egl", "nonsense", "osmesa", None, "nonsense", "osmesa"),
        strict=True,
    )
]


@pytest.mark.parametrize("chosen", _ODD_CHOICES, ids=str)
def test_physics_does_not_care_how_it_would_be_drawn(chosen: dict[str, str | None]):
    """Nothing of a renderer is imported with DeepMind Control's tasks, and Gymnasium's run as well."""
    variables = {name: value for name, value in chosen.items() if value is not None}
    assert _fresh(_DRAW.format(view="proprio"), variables) == "fine\nfine"


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"MUJOCO_GL": "nonsense"}, "MUJOCO_GL=nonsense"),
        ({"MUJOCO_GL": "off"}, "MUJOCO_GL=off"),
        ({"PYOPENGL_PLATFORM": "nonsense"}, "PYOPENGL_PLATFORM=nonsense"),
        ({"MUJOCO_GL": "glx", "DISPLAY": "", "WAYLAND_DISPLAY": ""}, "MUJOCO_GL=glfw"),
        ({"MUJOCO_GL": "off", "PYOPENGL_PLATFORM": "glx"}, "MUJOCO_GL=off and PYOPENGL_PLATFORM=glx"),
        ({"MUJOCO_GL": "egl", "MUJOCO_EGL_DEVICE_ID": "1000"}, "MUJOCO_EGL_DEVICE_ID=1000"),
        ({"MUJOCO_EGL_DEVICE_ID": "first"}, "MUJOCO_EGL_DEVICE_ID=first"),
    ],
    ids=str,
)
def test_advice_names_what_is_in_the_way_and_is_true(wrong: dict[str, str], named: str):
    """Each sentence says which variables to leave unset; without them the same program draws."""
    if not egl_works():
        pytest.skip("EGL does not work here")
    said = _fresh(_DRAW.format(view="pixels"), wrong).split("\n")
    assert (
        said == [f"cannot render with {named}, but egl works on this machine: leave {said[0].split('leave ')[1]}"] * 2
    )
    assert _drawn_without_variables() == ["fine OpenGL", "fine"]


@functools.cache
def _drawn_without_variables() -> list[str]:
    return _fresh(_DRAW.format(view="pixels"), {}).split("\n")


def test_an_empty_choice_is_none():
    if not egl_works():
        pytest.skip("EGL does not work here")
    said = _fresh(_DRAW.format(view="pixels"), {"MUJOCO_GL": "", "PYOPENGL_PLATFORM": ""})
    assert said.split("\n") == ["fine OpenGL", "fine"]


def test_where_nothing_works_a_sentence_names_the_packages():
    if osmesa_works():
        pytest.skip("OSMesa works here")
    for said in _fresh(_DRAW.format(view="pixels"), _NO_EGL).split("\n"):
        assert said == ADVICE and "libegl1" in said and "libosmesa6" in said


def test_a_failing_back_end_becomes_advice():
    with pytest.raises(UserError, match="libegl1.*AttributeError: no glGetError"), drawing():
        raise AttributeError("no glGetError")


_LATE = """
import numpy as np
from sobolev.envs import make
make("pendulum-swingup").reset(0)  # imports mujoco without a renderer
import mujoco
from sobolev.envs.rendering.backend import drawing
model = mujoco.MjModel.from_xml_string('<mujoco><worldbody><geom type="sphere" size="1"/></worldbody></mujoco>')
with drawing(), mujoco.Renderer(model, 8, 8) as renderer:
    print(renderer.render().shape)
import dm_control.suite
environment = dm_control.suite.load("pendulum", "swingup")
environment.reset()
print(environment.physics.render(8, 8).shape)
"""


@pytest.mark.skipif(not (egl_works() or osmesa_works()), reason="nothing draws here")
def test_a_renderer_can_be_had_later():
    assert _fresh(_LATE, {}) == "(8, 8, 3)\n(8, 8, 3)"


@pytest.mark.parametrize("task", ["cartpole-swingup", "gym:InvertedPendulum-v5"])
def test_workers_draw_any_stream_without_disturbing_it(task: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)  # the workers choose for themselves
    monkeypatch.delenv("PYOPENGL_PLATFORM", raising=False)
    if not (egl_works() or osmesa_works()):
        with Workers(1) as workers, pytest.raises(UserError, match="libegl1"):
            environments = VectorEnv(workers, task, None, [0], 1, 0)
            environments.reset(0)
            environments.render(0, 0, 48, 64)
        return
    with Workers(2) as workers:  # the first of them steps two streams
        drawn, plain = (VectorEnv(workers, task, 1, [0], 3, 0) for _ in range(2))
        drawn.reset(0)
        plain.reset(0)
        actions = np.full((1, 3, 1), 0.1, np.float32)
        for size in ((48, 64), (520, 700)):
            frames = [drawn.render(0, e, *size) for e in (0, 1, 2)]
            assert all(frame.shape == (*size, 3) and frame.dtype == np.uint8 and frame.std() > 5 for frame in frames)
            again = [drawn.render(0, e, *shape) for shape in ((30, 50), size) for e in (0, 1, 2)][3:]
            np.testing.assert_array_equal(again, frames)
            drawn.send(actions)
            plain.send(actions)
            one, other = drawn.receive(), plain.receive()
            for key, value in one["observation"].items():
                np.testing.assert_array_equal(value, other["observation"][key])
