"""Choosing how MuJoCo draws without a screen: EGL, else OSMesa, else advice."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from sobolev.errors import UserError

ADVICE = (
    "cannot render on this machine: neither EGL nor OSMesa works; on Debian or Ubuntu install one with "
    "'apt-get install libegl1' (GPU or software) or 'apt-get install libosmesa6' (software only)"
)

_EGL_DEVICE_PLATFORM = 0x313F
_EGL_OPENGL_API = 0x30A2
# pbuffer surfaces, desktop OpenGL, 24 bits of depth, end: the part of MuJoCo's own request that drivers refuse
_EGL_ATTRIBUTES = (ctypes.c_int * 7)(0x3033, 0x0001, 0x3040, 0x0008, 0x3025, 24, 0x3038)


def choose_backend() -> str:
    """Set MUJOCO_GL for this process, before mujoco is imported, and return it: "egl", "osmesa" or "off".

    A value that the user has set stays. Does nothing once mujoco is imported, which has made its own choice then.
    """
    chosen = os.environ.get("MUJOCO_GL")
    if chosen is None and "mujoco" not in sys.modules:
        chosen = "egl" if egl_works() else "osmesa" if osmesa_works() else "off"
        os.environ["MUJOCO_GL"] = chosen
    return chosen or "egl"


@contextmanager
def drawing() -> Iterator[None]:
    """Turns a failure of the back end into a UserError that says what to install."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # every back end fails in a way of its own: ImportError, AttributeError, RuntimeError, …
        chosen = os.environ.get("MUJOCO_GL", "not set")
        raise UserError(f"{ADVICE} (MUJOCO_GL is {chosen}; {type(error).__name__}: {error})") from error


def egl_works() -> bool:
    """Whether an OpenGL context can be made on an EGL device, tried as MuJoCo does it. Takes some milliseconds."""
    try:
        egl = ctypes.CDLL("libEGL.so.1")
        find = _function(egl, "eglGetProcAddress", ctypes.c_void_p, ctypes.c_char_p)
        query, display = find(b"eglQueryDevicesEXT"), find(b"eglGetPlatformDisplayEXT")
    except (OSError, AttributeError):
        return False
    if not query or not display:
        return False
    devices, count = (ctypes.c_void_p * 64)(), ctypes.c_int()
    ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(query)(
        64, devices, ctypes.byref(count)
    )
    get_display = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p)(display)
    wanted = os.environ.get("MUJOCO_EGL_DEVICE_ID", "")
    numbers = [int(wanted)] if wanted.isdigit() else range(count.value)
    return any(
        _context_works(egl, get_display(_EGL_DEVICE_PLATFORM, devices[i], None)) for i in numbers if i < count.value
    )


def osmesa_works() -> bool:
    """Whether OSMesa can make a software context."""
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
