import os
import subprocess
import sys
from collections.abc import Mapping

import numpy as np
import pytest

from sobolev.envs import VectorEnv, Workers
from sobolev.envs.rendering import drawing, egl_works, osmesa_works
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


_CHOOSE = "from sobolev.envs.rendering import choose_backend; print(choose_backend())"


def test_egl_comes_before_osmesa_and_the_users_choice_before_both():
    best = "egl" if egl_works() else "osmesa" if osmesa_works() else "off"
    assert _fresh(_CHOOSE, {}) == best
    assert _fresh(_CHOOSE, {"MUJOCO_GL": "glfw"}) == "glfw"


def test_without_egl_it_is_osmesa_or_nothing():
    code = f"from sobolev.envs import rendering as r; assert not r.egl_works(); {_CHOOSE}"
    assert _fresh(code, _NO_EGL) == ("osmesa" if osmesa_works() else "off")


def test_where_nothing_works_a_sentence_names_the_packages():
    code = (
        "from sobolev.envs import make\nfrom sobolev.errors import UserError\n"
        "e = make('pendulum-swingup'); e.reset(0)\ntry: e.render(8, 8)\nexcept UserError as error: print(error)"
    )
    said = _fresh(code, {"MUJOCO_GL": "off"})
    assert "libegl1" in said and "libosmesa6" in said and "\n" not in said


def test_a_failing_back_end_becomes_advice():
    with pytest.raises(UserError, match="libegl1.*AttributeError: no glGetError"), drawing():
        raise AttributeError("no glGetError")


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
