"""Progress: right numbers, one plain line per evaluation, and no bar where there is no terminal."""

import io
from typing import Any

import pytest
from rich.console import Console

from sobolev.logs.progress import Progress, Speed, duration
from sobolev.system.output import Forgiving


class Clock:
    """A clock that stands where it is put."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def consoles(terminal: bool) -> tuple[Console, io.StringIO, Console, io.StringIO]:
    out, err = io.StringIO(), io.StringIO()
    lines = Console(file=out, soft_wrap=True, markup=False, highlight=False, emoji=False, width=200)
    return lines, out, Console(file=err, force_terminal=terminal, width=200), err


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(12.3, "12 s"), (95, "2 min"), (3599, "1 h 00 min"), (11100, "3 h 05 min"), (360000, "4.2 days")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(float(seconds)) == text


def test_speed_counts_from_the_first_update() -> None:
    """Filling the replay is quick; it must not make the run look short."""
    clock = Clock()
    speed = Speed(clock)
    for second in range(10):
        clock.now = float(second)
        speed.add(1000 * second, 0)
    assert speed.remaining(500) is None
    for second in range(10, 20):
        clock.now = float(second)
        speed.add(9000 + 10 * (second - 9), 3 * (second - 9))
    assert speed.rates() == pytest.approx((10.0, 3.0))
    assert speed.remaining(500) == pytest.approx(50.0)


def test_speed_forgets_what_is_long_ago() -> None:
    clock = Clock()
    speed = Speed(clock, window=10.0)
    speed.add(0, 0)
    for second in range(1, 101):
        clock.now = float(second)
        speed.add(second if second <= 50 else 50 + 5 * (second - 50), second)
    assert speed.rates() == pytest.approx((5.0, 1.0))


@pytest.mark.parametrize(("total", "advised"), [(2_000, False), (2_000_000, True)])
def test_run_length_is_foretold_once_after_a_minute(total: int, advised: bool) -> None:
    clock = Clock()
    output, out, bar, _ = consoles(False)
    with Progress("walker-walk", total, advice="use --preset laptop", clock=clock, output=output, bar=bar) as progress:
        for second in range(130):
            clock.now = float(second)
            progress.update(second * 10, second * 2)
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("walker-walk  about ") and "at 2.0 updates/s (10 env steps/s)" in lines[0]
    assert lines[1:] == (["use --preset laptop"] if advised else [])


def test_without_a_terminal_there_are_plain_lines_only() -> None:
    output, out, bar, err = consoles(False)
    with Progress("walker-walk gpld", 1000, clock=Clock(), output=output, bar=bar) as progress:
        progress.update(10, 1)
        progress.episode(3.0)
        progress.metrics({"penalty": 0.1, "coefficient": 0.5})
        progress.evaluated(500, (0, 4), [[1.0, 2.0], [3.0, 5.0]])
        progress.say("checkpoint saved")
    assert err.getvalue() == ""
    assert out.getvalue().splitlines() == [
        "walker-walk gpld  500 of 1,000 env steps  evaluation seed 0: 1.5, seed 4: 4.0",
        "checkpoint saved",
    ]


def test_the_bar_tells_everything() -> None:
    clock = Clock()
    output, out, bar, err = consoles(True)
    with Progress("walker-walk gpld", 1000, clock=clock, output=output, bar=bar) as progress:
        for second in range(11):
            clock.now = float(second)
            progress.update(10 * second, 5 * second)
        progress.metrics({"penalty": 0.125, "λ": 0.25})
        progress.episode(12.5)
        progress.evaluated(100, (0,), [[7.0]])
        clock.now = 12.0
        progress.update(110, 55)
    shown = err.getvalue()
    parts = ("110/1,000 env steps", "5.0 updates/s", "return 12.5", "evaluation 7", "penalty 0.125", "λ 0.25", "left")
    assert [part for part in parts if part not in shown] == []
    assert out.getvalue().startswith("walker-walk gpld  100 of 1,000 env steps")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("width", [1, 7, 200])
def test_the_bar_on_any_terminal(width: int, encoding: str) -> None:
    raw = io.BytesIO()
    stream: Any = Forgiving(io.TextIOWrapper(raw, encoding=encoding, write_through=True))
    bar = Console(file=stream, force_terminal=True, width=width, _environ={"TERM": "xterm"})
    output, _, _, _ = consoles(False)
    with Progress("wälker × λ", 1000, clock=Clock(), output=output, bar=bar) as progress:
        progress.update(10, 1)
        progress.episode(3.0)
        progress.metrics({"penalty": 0.1, "coefficient": 0.5})
        progress.say("saved ×")
    raw.getvalue().decode(encoding)
    assert raw.getvalue()


def test_a_terminal_that_cannot_move_its_cursor_has_no_bar() -> None:
    output, out, _, err = consoles(False)
    bar = Console(file=err, force_terminal=True, _environ={"TERM": "dumb"})
    with Progress("walker-walk gpld", 1000, clock=Clock(), output=output, bar=bar) as progress:
        progress.update(10, 1)
        progress.say("saved")
    assert (out.getvalue(), err.getvalue()) == ("saved\n", "")


def test_terminals_and_readers_that_go_away_end_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdout", Gone())
    monkeypatch.setattr("sys.stderr", Gone())
    monkeypatch.setenv("TERM", "xterm")
    with Progress("walker-walk gpld", 1000, clock=Clock()) as progress:
        assert progress.live is not None
        progress.update(10, 1)
        progress.evaluated(500, (0,), [[1.0, 2.0]])
