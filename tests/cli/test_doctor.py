"""`sobolev doctor`: says what is fine and what to do, and finds a jax that computes wrongly."""

import sys

import jax
import jax.numpy as jnp
import pytest

from sobolev.cli import doctor
from sobolev.errors import UserError


def test_numbers_are_right_here() -> None:
    assert doctor.numeric_error() < 1e-5


def test_a_wrong_compilation_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler that drops a broadcast gives other numbers compiled than op by op, as jax 0.10.2 does."""
    compiled = jax.jit
    monkeypatch.setattr(jax, "jit", lambda f: lambda *a: jax.tree.map(lambda x: x * 1.01, compiled(f)(*a)))
    assert doctor.numeric_error() > doctor.TOLERANCE
    line = doctor.check_numbers()
    assert line.status == "BROKEN" and "install another version" in line.text()


def test_not_a_number_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "numeric_error", lambda: float(jnp.nan))
    assert doctor.check_numbers().status == "BROKEN"


def test_a_check_that_raises_is_a_finding() -> None:
    def check_physics() -> doctor.Line:
        raise ImportError("no mujoco")

    line = doctor.attempted(check_physics)
    assert (line.what, line.status) == ("physics", "BROKEN") and "no mujoco" in line.found


def test_rendering_that_fails_is_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_RENDER", "raise SystemExit(1)")
    line = doctor.check_rendering()
    assert line.status == "note" and "libosmesa6" in line.text()


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("note", 0), ("BROKEN", 1)])
def test_exit_status(
    status: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "CHECKS", (lambda: doctor.Line("disk", "full", status, "buy one"),))
    assert doctor.main([]) == code
    assert "disk" in capsys.readouterr().out


def test_the_quick_checks_run_here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    quick = (doctor.check_python, doctor.check_jax, doctor.check_video, doctor.check_memory, doctor.check_disk)
    monkeypatch.setattr(doctor, "CHECKS", quick)
    assert doctor.main([]) == 0
    shown = capsys.readouterr().out
    assert jax.__version__ in shown and sys.version.split()[0] in shown


def test_flags_are_refused() -> None:
    with pytest.raises(UserError, match="takes no flags"):
        doctor.main(["--fast"])


def test_a_device_that_is_not_there_is_one_finding(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise AssertionError

    monkeypatch.setattr(jax, "devices", missing)
    monkeypatch.setattr(doctor, "CHECKS", (doctor.check_jax, doctor.check_numbers))
    assert doctor.main([]) == 1
    broken, numbers, _ = capsys.readouterr().out.splitlines()
    assert broken.startswith(
        "BROKEN  jax          JAX_PLATFORMS=cpu names a device that jax does not find here: unset it"
    )
    assert numbers.startswith("note    numbers      not checked")
