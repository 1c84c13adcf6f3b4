"""`sobolev doctor`: checks this machine. Each line says ok, or what to do."""

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from sobolev.errors import UserError
from sobolev.system.resources import cores

TOLERANCE = 1e-3
"""Relative difference between jitted and op-by-op results above which jax counts as broken (2e-7 is usual)."""


@dataclass(frozen=True)
class Line:
    """The result of one check: "ok", "note" (worth knowing, but not a failure) or "BROKEN", with advice."""

    what: str
    found: str
    status: str = "ok"
    advice: str = ""

    def text(self) -> str:
        """The line as it is printed."""
        return f"{self.status:<7} {self.what:<12} {self.found}" + (f": {self.advice}" if self.advice else "")


def main(arguments: Sequence[str]) -> int:
    """Prints the result of every check. Returns exit status 1 if something is broken."""
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
    """Returns the result of a check; a check that raises counts as broken."""
    try:
        return check()
    except UserError as error:
        return Line(check.__name__.removeprefix("check_"), str(error), "BROKEN")
    except Exception as error:  # a broken installation can raise anything, and doctor has to report it
        name = check.__name__.removeprefix("check_")
        advice = "install again: pip install --force-reinstall sobolev"
        return Line(name, f"{type(error).__name__}: {error}", "BROKEN", advice)


def check_python() -> Line:
    """Reports the versions of Python and sobolev."""
    from sobolev._version import __version__

    return Line("python", f"{sys.version.split()[0]}, sobolev {__version__}")


def check_jax() -> Line:
    """Reports JAX's version and devices."""
    import jax

    from sobolev.system.jax_setup import check_devices

    check_devices()
    devices = ", ".join(sorted({f"{device.platform} {device.device_kind}" for device in jax.devices()}))
    found = f"{jax.__version__} (jaxlib {metadata.version('jaxlib')}), {len(jax.devices())} device(s): {devices}"
    if jax.default_backend() == "cpu" and shutil.which("nvidia-smi"):
        advice = "there is an NVIDIA GPU that jax does not use: pip install 'jax[cuda13]'"
        return Line("jax", found, "note", advice)
    return Line("jax", found)


def check_numbers() -> Line:
    """Compares jitted derivatives of an RMS norm with op-by-op ones: jax 0.10.2 computes wrong ones on CPU."""
    import jax

    from sobolev.system.jax_setup import check_devices

    try:
        check_devices()
    except UserError:
        return Line("numbers", "not checked: jax cannot compute here, see above", "note")
    error = numeric_error()
    found = f"jitted derivatives differ from op-by-op ones by {error:.0e}"
    if not error < TOLERANCE:
        return Line("numbers", found, "BROKEN", f"jax {jax.__version__} computes wrongly here; install another version")
    return Line("numbers", found)


def numeric_error() -> float:
    """Returns the largest relative difference between jitted and op-by-op evaluation of a VJP and of its derivative.

    The VJP is that of an RMS norm at x [512, 256], vmapped over 32 cotangents. These are the shapes of the penalty's
    row-wise probes, for which jax 0.10.2 miscompiles a broadcast.
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
    """Checks MuJoCo and dm_control by resetting a task."""
    if importlib.util.find_spec("dm_control") is None:
        advice = "pip install --no-deps dm_control (without labmaze, which this Python lacks and sobolev does not need)"
        return Line("physics", "dm_control is not installed", "BROKEN", advice)
    from sobolev.envs import make

    environment = make("cartpole-swingup", 2)
    try:
        environment.reset(0)
    finally:
        environment.close()
    import mujoco  # after the environment, which imports it without a rendering back end

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
    """Renders without a screen, as runs do, in a separate process: a broken OpenGL library can crash it."""
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
    return Line("rendering", "no", "note", f"neither training from images nor --video works here; {why}")


def check_video() -> Line:
    """Checks the encoder of videos."""
    import imageio_ffmpeg

    return Line("video", f"ffmpeg {imageio_ffmpeg.get_ffmpeg_version()}")


def check_memory() -> Line:
    """Reports free memory. Replay of a million env steps, as in the paper, takes about 2 GB at size 12m."""
    from sobolev.training.requirements import host_memory

    free = host_memory()
    if free is None:
        return Line("memory", "unknown", "note", "the system does not tell")
    number = len(cores())
    found = f"{free / 2**30:.1f} GiB free, {number} core{'s' if number > 1 else ''}"
    if free < 2 * 2**30:
        return Line("memory", found, "note", "little; use --size 1m and a small --replay.capacity")
    return Line("memory", found)


def check_disk() -> Line:
    """Reports free disk space in the working folder, where runs are kept."""
    free = shutil.disk_usage(Path.cwd()).free
    found = f"{free / 2**30:.1f} GiB free in the working folder"
    if free < 5 * 2**30:
        advice = "a checkpoint of the preset paper takes up to 5 GiB: put the run on another disk with --run"
        return Line("disk", found, "note", advice)
    return Line("disk", found)


CHECKS = (check_python, check_jax, check_numbers, check_rendering, check_physics, check_video, check_memory, check_disk)
