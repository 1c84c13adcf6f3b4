"""`sobolev doctor`: check this machine; each line says ok, or what to do."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from sobolev.errors import UserError

TOLERANCE = 1e-3
"""Relative difference between jitted and op-by-op results above which jax is taken for broken (2e-7 is usual)."""


@dataclass(frozen=True)
class Line:
    """One finding: fine, worth knowing (yet no failure), or broken, and what to do then."""

    what: str
    found: str
    status: str = "ok"
    advice: str = ""

    def text(self) -> str:
        """The line as it is printed."""
        return f"{self.status:<7} {self.what:<12} {self.found}" + (f": {self.advice}" if self.advice else "")


def main(arguments: Sequence[str]) -> int:
    """Print every finding; exit status 1 if something is broken."""
    if arguments and arguments[0] in ("-h", "--help"):
        print("usage: sobolev doctor\n")
        print("Checks jax, physics, rendering, memory and disk; exit status 1 if something is broken.")
        return 0
    if arguments:
        raise UserError(f"sobolev doctor takes no flags: leave out '{arguments[0]}'")
    broken = False
    for check in CHECKS:
        line = attempted(check)
        broken |= line.status == "BROKEN"
        print(line.text(), flush=True)
    print("something is broken: see above" if broken else "ready")
    return int(broken)


def attempted(check: Callable[[], Line]) -> Line:
    """The finding of a check; one that raises is itself a finding."""
    try:
        return check()
    except UserError as error:
        return Line(check.__name__.removeprefix("check_"), str(error), "BROKEN")
    except Exception as error:  # a broken installation can fail in any way, and doctor has to say which
        name = check.__name__.removeprefix("check_")
        advice = "install again: pip install --force-reinstall sobolev"
        return Line(name, f"{type(error).__name__}: {error}", "BROKEN", advice)


def check_python() -> Line:
    """Python's version."""
    from sobolev._version import __version__

    return Line("python", f"{sys.version.split()[0]}, sobolev {__version__}")


def check_jax() -> Line:
    """JAX's version and devices."""
    import jax

    from sobolev.system.jax_setup import check_devices

    check_devices()
    devices = ", ".join(sorted({f"{device.platform} {device.device_kind}" for device in jax.devices()}))
    found = f"{jax.__version__} (jaxlib {metadata.version('jaxlib')}), {len(jax.devices())} device(s): {devices}"
    if jax.default_backend() == "cpu" and shutil.which("nvidia-smi"):
        advice = "there is an NVIDIA GPU that jax does not use; after pip install 'jax[cuda13]' it would"
        return Line("jax", found, "note", advice)
    return Line("jax", found)


def check_numbers() -> Line:
    """Jitted derivatives of an RMS norm against op-by-op ones: jax 0.10.2 gets them wrong on CPU."""
    import jax

    from sobolev.system.jax_setup import check_devices

    try:
        check_devices()
    except UserError:
        return Line("numbers", "not checked, as jax has no device to compute on", "note")
    error = numeric_error()
    found = f"jitted derivatives differ from op-by-op ones by {error:.0e}"
    if not error < TOLERANCE:
        return Line("numbers", found, "BROKEN", f"jax {jax.__version__} computes wrongly here; install another version")
    return Line("numbers", found)


def numeric_error() -> float:
    """Largest relative difference between jitted and op-by-op evaluation of a vmapped VJP and of its own derivative.

    Of x [512, 256] through an RMS norm, with 32 cotangents: the shape of the penalty's row-wise probes, in which a
    miscompiled broadcast shows.
    """
    import jax
    import jax.numpy as jnp

    x_key, scale_key, probe_key = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(x_key, (512, 256))
    scale = 1.0 + 0.1 * jax.random.normal(scale_key, (256,))
    probes = jax.random.normal(probe_key, (32, 512, 256))

    def norm(x: jax.Array, scale: jax.Array) -> jax.Array:
        mean = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
        return x * jax.lax.rsqrt(mean + 1e-4) * jnp.broadcast_to(scale, x.shape)

    def pulled(x: jax.Array, scale: jax.Array, probes: jax.Array) -> jax.Array:
        return jax.vmap(lambda probe: jax.vjp(lambda x: norm(x, scale), x)[1](probe)[0])(probes)

    def energy(x: jax.Array, scale: jax.Array, probes: jax.Array) -> jax.Array:
        return jnp.mean(jnp.square(pulled(x, scale, probes)))

    def both(x: jax.Array, scale: jax.Array, probes: jax.Array) -> tuple[jax.Array, ...]:
        return pulled(x, scale, probes), *jax.grad(energy, argnums=(0, 1))(x, scale, probes)

    compiled, separate = jax.jit(both)(x, scale, probes), jax.jit(pulled)(x, scale, probes)
    with jax.disable_jit():
        expected = both(x, scale, probes)
    pairs = [*zip(compiled, expected, strict=True), (separate, expected[0])]
    return max(float(jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(b))) for a, b in pairs)


def check_physics() -> Line:
    """MuJoCo and dm_control: a real task resets."""
    if importlib.util.find_spec("dm_control") is None:
        advice = "pip install --no-deps dm_control (a part that it does not need here has no wheels for this Python)"
        return Line("physics", "dm_control is not installed", "BROKEN", advice)
    from sobolev.envs import make

    environment = make("cartpole-swingup", 2)
    try:
        environment.reset(0)
    finally:
        environment.close()
    import mujoco  # only now: the environment imports it without a back end

    return Line("physics", f"mujoco {mujoco.__version__}, cartpole-swingup resets")


_RENDER = """
import sys
from sobolev.envs.rendering.backend import advice, choose_backend, drawing
from sobolev.errors import UserError
chosen = choose_backend()
try:
    with drawing():
        import mujoco
        model = mujoco.MjModel.from_xml_string(
            '<mujoco><worldbody><light pos="0 0 3"/><geom type="sphere" size="1" rgba="1 0 0 1"/></worldbody></mujoco>')
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        with mujoco.Renderer(model, 64, 64) as renderer:
            renderer.update_scene(data)
            assert renderer.render().max() > 0, 'the picture is black'
except UserError as error:
    print(error)
    sys.exit(1)
print(chosen)
"""


def check_rendering() -> Line:
    """Headless rendering as runs do it, in a process of its own, as a broken OpenGL library can take one down."""
    command = [sys.executable, "-c", _RENDER]
    drawn = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    said = drawn.stdout.strip().splitlines()
    if drawn.returncode == 0 and said:
        return Line(
            "rendering", f"{said[-1]} draws without a screen" if said[-1] != "glfw" else "glfw draws on a screen"
        )
    silent = (
        f"the process that tried it ended with status {drawn.returncode}: try another back end, MUJOCO_GL=egl or "
        "MUJOCO_GL=osmesa (Debian's packages libegl1 and libosmesa6)"
    )
    why = said[-1] if said else silent
    return Line("rendering", "no", "note", f"training works, but not from images, and --video does not; {why}")


def check_video() -> Line:
    """The encoder of videos."""
    import imageio_ffmpeg

    return Line("video", f"ffmpeg {imageio_ffmpeg.get_ffmpeg_version()}")


def check_memory() -> Line:
    """Free memory; the paper's replay of a million env steps takes about 2 GB at size 12m."""
    from sobolev.training.requirements import host_memory

    free = host_memory()
    if free is None:
        return Line("memory", "unknown", "note", "the system does not tell")
    found = f"{free / 2**30:.1f} GiB free, {os.cpu_count()} cores"
    if free < 2 * 2**30:
        return Line("memory", found, "note", "little; use --size 1m and a small --replay.capacity")
    return Line("memory", found)


def check_disk() -> Line:
    """Free disk in the working folder, where runs are kept."""
    free = shutil.disk_usage(Path.cwd()).free
    found = f"{free / 2**30:.1f} GiB free in the working folder"
    if free < 5 * 2**30:
        advice = "a checkpoint of the paper's setting takes up to 5 GiB; give --run another disk"
        return Line("disk", found, "note", advice)
    return Line("disk", found)


CHECKS = (check_python, check_jax, check_numbers, check_rendering, check_physics, check_video, check_memory, check_disk)
