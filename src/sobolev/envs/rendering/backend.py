"""Chooses MuJoCo's rendering back end: EGL if it works, otherwise OSMesa, otherwise an error with advice.

Physics is imported without a back end, so that it runs whatever is installed and whatever MUJOCO_GL and
PYOPENGL_PLATFORM say. These variables have no effect until something is drawn.
"""

import ctypes
import functools
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sobolev.envs.failures import described
from sobolev.errors import UserError

BACKEND, PLATFORM, DEVICE = "MUJOCO_GL", "PYOPENGL_PLATFORM", "MUJOCO_EGL_DEVICE_ID"

ADVICE = (
    "cannot render on this machine: neither EGL nor OSMesa works; on Debian or Ubuntu install one with "
    "'apt-get install libegl1' (GPU or software) or 'apt-get install libosmesa6' (software only)"
)

_SCREEN = ("glfw", "glx", "on", "enable", "enabled", "true", "1")  # values of MUJOCO_GL that mean "draw on a screen"
_NOTHING = ("off", "disable", "disabled", "false", "0")
_DM_CONTROL, _MUJOCO = "dm_control._render", "mujoco.rendering.classic.gl_context"
_EGL_DEVICE_PLATFORM = 0x313F
_EGL_OPENGL_API = 0x30A2
# pbuffer surfaces, desktop OpenGL, 24 bits of depth, end: of MuJoCo's request, the part that some drivers refuse
_EGL_ATTRIBUTES = (ctypes.c_int * 7)(0x3033, 0x0001, 0x3040, 0x0008, 0x3025, 24, 0x3038)


def import_physics() -> None:
    """Imports mujoco and dm_control's renderer without a back end, unless they are imported already.

    Otherwise the import would load OpenGL, and fail if MUJOCO_GL or PYOPENGL_PLATFORM name a missing library.
    """
    with _backend("off"):
        import mujoco  # noqa: F401

        with suppress(ModuleNotFoundError):  # Gymnasium's tasks do not need it
            import dm_control._render  # noqa: F401


def choose_backend() -> str:
    """Returns the back end of this process: "egl", "osmesa", "glfw" (on a screen) or "off". Also sets MUJOCO_GL to it,
    unless nothing works.

    This is MUJOCO_GL, if the user has set it, otherwise the first back end that works and that PYOPENGL_PLATFORM
    allows. A value of MUJOCO_GL with which mujoco cannot be imported raises an error only when something is drawn.
    """
    wanted = _wanted()
    if not wanted:
        chosen = next((name for name in ("egl", "osmesa") if _usable(name)), "off")
        if chosen == "off":
            return chosen
    elif wanted in _SCREEN or wanted in _NOTHING:
        chosen = "glfw" if wanted in _SCREEN else "off"
    elif _usable(wanted):
        chosen = wanted
    else:
        import_physics()
        return wanted
    os.environ[BACKEND] = chosen
    return chosen


@contextmanager
def drawing() -> Iterator[None]:
    """A block in which physics may draw, with the back end of `choose_backend`. Raises UserError, with advice, if that
    fails."""
    try:
        if not _adopted(_wanted()):
            chosen = choose_backend()
            if not _usable(chosen):
                raise UserError(advice())
            _adopt(chosen)
        yield
    except UserError:
        raise
    except Exception as error:  # ImportError, AttributeError, RuntimeError, …: each back end raises its own
        raise UserError(f"{advice()} ({described(error)})") from error


def advice() -> str:
    """Returns one sentence that says why drawing fails on this machine, and what to do. Tries EGL and OSMesa."""
    works = [name for name, check in (("egl", lambda: egl_works(None)), ("osmesa", osmesa_works)) if check()]
    if not works:
        return ADVICE
    wanted = _wanted()
    best = wanted if wanted in works else works[0]
    wrong = [BACKEND] if wanted and wanted != best else []
    if os.environ.get(PLATFORM, best) not in ("", best):
        wrong.append(PLATFORM)
    if best == "egl" and not egl_works():
        wrong.append(DEVICE)
    if not wrong:
        return (
            f"drawing failed, though {best} works by itself here; try another back end, MUJOCO_GL=egl or "
            "MUJOCO_GL=osmesa (Debian's packages libegl1 and libosmesa6)"
        )
    told = " and ".join(f"{name}={os.environ[name]}" for name in wrong)
    which = "that variable" if len(wrong) == 1 else "these variables"
    return f"cannot render with {told}, but {best} works on this machine: leave {which} unset"


def _wanted() -> str:
    """Returns MUJOCO_GL in lower case; "" if it is not set."""
    return os.environ.get(BACKEND, "").strip().lower()


def _usable(backend: str) -> bool:
    """Returns whether a back end can draw: glfw on a screen, others if they work and PYOPENGL_PLATFORM allows them."""
    if backend == "glfw":
        return not sys.platform.startswith("linux") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    if backend not in ("egl", "osmesa") or os.environ.get(PLATFORM, "") not in ("", backend):
        return False
    return egl_works() if backend == "egl" else osmesa_works()


@contextmanager
def _backend(name: str) -> Iterator[None]:
    """Sets MUJOCO_GL inside a block."""
    before = os.environ.get(BACKEND)
    os.environ[BACKEND] = name
    try:
        yield
    finally:
        if before is None:
            del os.environ[BACKEND]
        else:
            os.environ[BACKEND] = before


def _adopted(chosen: str) -> bool:
    """Returns whether the imported libraries draw with a back end."""
    render, context = sys.modules.get(_DM_CONTROL), sys.modules.get(_MUJOCO)
    return (
        chosen in ("egl", "osmesa", "glfw")
        and (render is None or chosen == render.BACKEND)
        and (context is None or hasattr(context, "GLContext"))
    )


def _adopt(chosen: str) -> None:
    """Reloads the libraries that were imported with another back end, or with none."""
    with _backend(chosen):
        for name in (_DM_CONTROL, _MUJOCO):
            if name in sys.modules and not _adopted(chosen):
                importlib.reload(sys.modules[name])


def egl_works(device: str | None = "") -> bool:
    """Returns whether an OpenGL context can be created on an EGL device, as MuJoCo creates it. Takes some milliseconds.

    `device` is the number of the device, None any device; the default is the one of MUJOCO_EGL_DEVICE_ID.
    """
    if any(name in sys.modules for name in ("mujoco.egl", "dm_control._render.pyopengl.egl_renderer")):
        return True  # creating a context would terminate the display that is in use
    return _egl_works(os.environ.get(DEVICE) if device == "" else device)


@functools.cache
def _egl_works(wanted: str | None) -> bool:
    try:
        egl = ctypes.CDLL("libEGL.so.1")
        find = _function(egl, "eglGetProcAddress", ctypes.c_void_p, ctypes.c_char_p)
        query, display = find(b"eglQueryDevicesEXT"), find(b"eglGetPlatformDisplayEXT")
    except (OSError, AttributeError):
        return False
    if not query or not display or not (wanted is None or wanted.isdigit()):
        return False
    devices, count = (ctypes.c_void_p * 64)(), ctypes.c_int()
    ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(query)(
        64, devices, ctypes.byref(count)
    )
    get_display = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p)(display)
    numbers = range(count.value) if wanted is None else [int(wanted)]
    return any(
        _context_works(egl, get_display(_EGL_DEVICE_PLATFORM, devices[i], None)) for i in numbers if i < count.value
    )


def osmesa_works() -> bool:
    """Returns whether OSMesa can create a context, which draws in software."""
    try:
        mesa = ctypes.CDLL("libOSMesa.so.8")
        create = _function(mesa, "OSMesaCreateContext", ctypes.c_void_p, ctypes.c_uint, ctypes.c_void_p)
        destroy = _function(mesa, "OSMesaDestroyContext", None, ctypes.c_void_p)
    except (OSError, AttributeError):
        return False
    context = create(0x1908, None)  # RGBA
    if context:
        destroy(context)
    return bool(context)


def _context_works(egl: ctypes.CDLL, display: int | None) -> bool:
    pointer, integer = ctypes.c_void_p, ctypes.c_uint
    initialize = _function(egl, "eglInitialize", integer, pointer, pointer, pointer)
    if not display or not initialize(display, None, None):
        return False
    choose = _function(egl, "eglChooseConfig", integer, pointer, pointer, pointer, ctypes.c_int, pointer)
    create = _function(egl, "eglCreateContext", pointer, pointer, pointer, pointer, pointer)
    config, count = ctypes.c_void_p(), ctypes.c_int()
    chosen = choose(display, _EGL_ATTRIBUTES, ctypes.byref(config), 1, ctypes.byref(count)) and count.value > 0
    context = None
    if chosen and _function(egl, "eglBindAPI", integer, integer)(_EGL_OPENGL_API):
        context = create(display, config, None, None)
        _function(egl, "eglDestroyContext", integer, pointer, pointer)(display, context)
    _function(egl, "eglTerminate", integer, pointer)(display)
    return bool(context)


def _function(library: ctypes.CDLL, name: str, result: type | None, *arguments: type):
    found = getattr(library, name)
    found.restype, found.argtypes = result, list(arguments)
    return found
