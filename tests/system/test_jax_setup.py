"""Where compiled programs are kept, that keeping them changes nothing, and what glibc is told."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from sobolev.errors import UserError
from sobolev.system import jax_setup
from tests import tiny

ROOT = Path(__file__).parents[2]
CHILD = """
import hashlib, json, sys
import jax, jax.numpy as jnp
from sobolev.system import jax_setup

jax_setup.configure(compilation_cache=sys.argv[1] == "on")
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event) if event.endswith("cache_hits") else None)

def loss(kernels, x):
    def step(x, kernel):
        x = jax.nn.silu(x @ kernel * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-4))
        return x, jnp.sum(x)
    return jnp.sum(jnp.tanh(jax.lax.scan(step, x, kernels)[1]))

keys = jax.random.split(jax.random.key(0))
kernels, x = jax.random.normal(keys[0], (3, 32, 32)), jax.random.normal(keys[1], (64, 32))
gradient = jax.jit(jax.grad(loss, (0, 1)))(kernels, x)
digest = hashlib.sha256(b"".join(leaf.tobytes() for leaf in jax.tree.leaves(jax.device_get(gradient))))
print(json.dumps([len(hits), digest.hexdigest()]))
"""


def child(cache: Path, switch: str) -> tuple[int, str, str]:
    """Programs that came from the cache, a digest of their results, and what was printed on stderr."""
    names = ("JAX_COMPILATION_CACHE_DIR", "JAX_LOGGING_LEVEL", "TF_CPP_MIN_LOG_LEVEL", "JAX_ENABLE_COMPILATION_CACHE")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment |= {"XDG_CACHE_HOME": str(cache), "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", CHILD, switch]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    hits, digest = json.loads(done.stdout)
    return hits, digest, done.stderr


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="XDG_CACHE_HOME names the cache folder on Linux")
def test_a_kept_program_gives_the_same_bits_without_a_word(tmp_path: Path):
    fresh, kept, off = child(tmp_path, "on"), child(tmp_path, "on"), child(tmp_path, "off")
    assert (fresh[0], off[0]) == (0, 0) and kept[0] > 0
    assert fresh[1] == kept[1] == off[1]
    assert kept[2] == ""
    assert any((tmp_path / "sobolev" / "compiled" / f"cpu-{jax_setup.processor()}").iterdir())


def recorded(monkeypatch: pytest.MonkeyPatch, folder: Path, backend: str) -> dict[str, object]:
    """What `configure` will set, for another kind of device."""
    updates: dict[str, object] = {}
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setattr(jax_setup, "cache_folder", lambda: folder)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    monkeypatch.setattr(jax.config, "update", lambda name, value: updates.update({name: value}))
    return updates


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_programs_are_kept_apart_by_device(backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    updates = recorded(monkeypatch, tmp_path / "cache", backend)
    jax_setup.configure()
    name = f"cpu-{jax_setup.processor()}" if backend == "cpu" else "gpu"
    assert updates["jax_compilation_cache_dir"] == str(tmp_path / "cache" / name)
    assert (tmp_path / "cache" / name).is_dir()


FAULTS = """
import resource, sys
from sobolev.system.jax_setup import compute_in_this_thread
if sys.argv[1] == "here":
    compute_in_this_thread()
import jax, jax.numpy as jnp
work = jax.jit(lambda x: jnp.sum(jnp.cumsum(jnp.sin(x))[::7]) + jnp.sum(jnp.cumsum(x * x) * jnp.cumsum(jnp.cos(x))))
x, faults = jnp.ones(2**25), []
for _ in range(6):
    work(x).block_until_ready()
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(faults[-1] - faults[2])
"""


@pytest.mark.long
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc's memory")
def test_a_cpu_computes_where_freed_memory_is_kept():
    """Three calls that need 0.5 GB, 131,072 pages: new ones each time in JAX's threads, the same in the main thread."""
    settings = {**os.environ, "GLIBC_TUNABLES": ":".join(jax_setup.TUNABLES), "PYTHONPATH": str(ROOT / "src")}
    pages = {}
    for where in ("here", "elsewhere"):
        command = [sys.executable, "-c", FAULTS, where]
        found = subprocess.run(command, env=settings, capture_output=True, text=True, check=True)
        pages[where] = int(found.stdout)
    assert pages["here"] < 4096 < pages["elsewhere"]


MAIN_THREAD = """
from sobolev.system.jax_setup import compute_in_this_thread
compute_in_this_thread()
import jax
from sobolev.envs import VectorEnv, Workers
from tests import tiny
program = tiny.program(tiny.agent(), (2,))
with Workers(0) as workers:
    envs = VectorEnv(workers, tiny.TASK, 1, (2,), tiny.ENVIRONMENTS, 0)
    transition = envs.reset(0)
    state, carry = program.initial_state(), program.initial_carry(tiny.ENVIRONMENTS)
    replay = program.initial_replay(tiny.ENVIRONMENTS, tiny.CAPACITY)
    for number in range(20):
        action, state, carry, replay = program.step(state, carry, replay, transition, number)
        envs.send(action)
        transition = envs.receive()
        if number > 10:
            state, replay, report = program.learn(state, replay, number)
            print(all(leaf.is_ready() for leaf in jax.tree.leaves((state, report))))
"""


@pytest.mark.long
def test_an_update_after_a_step_is_done_when_its_call_returns():
    """JAX would make it in the background where a donated state is in use, which one is that a step has read."""
    path = os.pathsep.join(map(str, [ROOT / "src", ROOT]))
    settings = {**os.environ, **tiny.quick_environment(), "PYTHONPATH": path}
    command = [sys.executable, "-c", MAIN_THREAD]
    found = subprocess.run(command, env=settings, cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["True"] * 9


def test_one_switch_turns_the_cache_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    updates = recorded(monkeypatch, tmp_path / "cache", "cpu")
    jax_setup.configure(compilation_cache=False)
    assert updates.pop("jax_enable_compilation_cache") is False
    assert not [name for name in updates if "cache" in name]
    assert not (tmp_path / "cache").exists()


def test_a_folder_that_cannot_be_made_and_a_users_own_leave_things_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").touch()
    updates = recorded(monkeypatch, tmp_path / "file" / "cache", "cpu")
    jax_setup.configure()
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    jax_setup.configure()
    assert not [name for name in updates if "cache" in name]


def test_processors_of_other_features_have_other_names(monkeypatch: pytest.MonkeyPatch):
    lines = "processor : 0\nmodel name : A\ncpu MHz : 2500\nflags : avx avx2{}\n\nprocessor : 1\n"
    names = []
    for text in (lines.format(""), lines.format(" avx512f"), lines.format("").replace("2500", "3100")):
        monkeypatch.setattr(Path, "read_text", lambda path, text=text, **_: text)
        names.append(jax_setup.processor())
    assert names[0] == names[2] != names[1]


def test_cache_lies_in_the_users_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert jax_setup.cache_folder().is_relative_to(tmp_path) or sys.platform != "linux"


def test_the_cache_is_trimmed_oldest_first(tmp_path: Path):
    for age, name in enumerate(["a", "cpu-1/b", "c"]):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * 100)
        os.utime(path, (1000 - age, 1000))
    jax_setup.trim(tmp_path, 250)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["a", "b"]


@pytest.mark.parametrize("own", [None, "glibc.malloc.perturb=1"])
def test_the_program_starts_anew_with_glibcs_settings_but_for_a_users_own(
    own: str | None, monkeypatch: pytest.MonkeyPatch
):
    started = []
    monkeypatch.setattr(jax_setup.platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(os, "execv", lambda *arguments: started.append(os.environ["GLIBC_TUNABLES"]))
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    if own:
        monkeypatch.setenv("GLIBC_TUNABLES", own)
    jax_setup.use_large_buffers()
    if own:
        assert started == [] and os.environ["GLIBC_TUNABLES"] == own
    else:
        (tunables,) = started
        assert set(jax_setup.TUNABLES) <= set(tunables.split(":"))
        monkeypatch.delenv("GLIBC_TUNABLES")


@pytest.mark.parametrize("error", [AssertionError(), RuntimeError("Unable to initialize backend 'cuda': x\n(more)")])
def test_a_platform_that_is_not_there_is_told(error: Exception, monkeypatch: pytest.MonkeyPatch):
    def missing() -> None:
        raise error

    monkeypatch.setattr(jax, "devices", missing)
    why = r" \(RuntimeError: Unable to initialize backend 'cuda': x\)" if str(error) else ""
    for call in (jax_setup.configure, jax_setup.check_devices):
        with pytest.raises(
            UserError, match=f"^JAX_PLATFORMS=cpu names a device that jax does not find here{why}: unset"
        ):
            call()


@pytest.mark.parametrize("where", ["relative/sobolev", "/proc/no/sobolev", "a-file/sobolev"])
def test_a_cache_that_cannot_be_written_is_left_off(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A home that nobody knows, a folder that nobody may write, a file in its place."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a-file").touch()
    place = Path(where) if where.startswith("relative") else tmp_path / where
    updates = recorded(monkeypatch, place, "cpu")
    jax_setup.configure()
    assert "jax_compilation_cache_dir" not in updates and not (tmp_path / "relative").exists()
