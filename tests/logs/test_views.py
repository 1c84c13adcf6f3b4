"""Sinks of one's own beside the built-in ones: found by their place, checked before a run starts, ending none."""

from pathlib import Path
from typing import Any

import pytest

from sobolev.config.train import LogConfig
from sobolev.errors import UserError
from sobolev.logs.rows import Row
from sobolev.logs.sinks import RunLog
from sobolev.logs.views import Origin, Sink, views, wanted


class Kept:
    """Keeps its rows."""

    def __init__(self, origin: Origin, log: LogConfig) -> None:
        self.origin, self.rows, self.closed = origin, list[Row](), False

    def write(self, row: Row) -> None:
        if row.step == 13:
            raise RuntimeError("unlucky")
        self.rows.append(row)

    def close(self) -> None:
        self.closed = True


def refuse(log: LogConfig) -> None:
    raise UserError("not on this machine")


def broken(origin: Origin, log: LogConfig) -> Kept:
    raise ConnectionError("no network")


KEPT = Sink(lambda run: "kept", Kept)
REFUSED = Sink(lambda run: "refused", Kept, check=refuse)
BROKEN = Sink(lambda run: "broken", broken)
NAMELESS = Sink(lambda run: str(run.parents[99]), Kept)
HERE = "tests.logs.test_views"


def opened(run: Path, *names: str, state: dict[str, Any] | None = None) -> RunLog:
    return RunLog(run, "walker-walk", "gpld", (3, 5), log=LogConfig(tensorboard=False, sinks=names), state=state)


def test_rows_go_to_a_sink_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = opened(tmp_path, f"{HERE}:KEPT", f"{HERE}:BROKEN", f"{HERE}:KEPT")
    ((_, view),) = log.views  # named twice, opened once
    assert isinstance(view, Kept)
    assert view.origin == Origin(tmp_path, (3, 5), None, 0)
    for step in (12, 13, 14):
        log.episode(step, 5, 1.0, 501)
    state = log.state()
    log.close()
    assert [(row.step, row.seed, row.values["episode/return"]) for row in view.rows] == [(12, 5, 1.0), (14, 5, 1.0)]
    assert view.closed
    assert capsys.readouterr().err == (
        "sobolev: broken cannot be written (ConnectionError: no network): continuing without it\n"
        "sobolev: kept cannot be written (RuntimeError: unlucky): continuing without it\n"
    )
    resumed = opened(tmp_path, f"{HERE}:KEPT", state=state)
    resumed.close()
    ((_, again),) = resumed.views
    assert isinstance(again, Kept)
    assert again.origin == Origin(tmp_path, (3, 5), 14, 3)


def test_a_sink_that_cannot_say_where_it_writes_ends_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = opened(tmp_path, f"{HERE}:NAMELESS", f"{HERE}:KEPT")
    assert len(log.views) == 1
    assert capsys.readouterr().err.startswith(f"sobolev: {HERE}:NAMELESS cannot be written (IndexError")
    log.close()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tensorbord", "unknown log sink 'tensorbord': did you mean tensorboard"),
        (f"{HERE}:KEP", "did you mean KEPT"),
        (f"{HERE}:Kept", r"must be a sobolev\.logs\.views\.Sink"),
        (f"{HERE}:REFUSED", "not on this machine"),
    ],
)
def test_what_cannot_be_used_is_a_sentence(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        wanted(LogConfig(sinks=(name,)))


def test_without_settings_there_are_no_views(tmp_path: Path) -> None:
    assert views(Origin(tmp_path, (0,), None, 0), LogConfig(tensorboard=False)) == []
