import json
from pathlib import Path

import numpy as np
import pytest

from sobolev.config import defaults
from sobolev.errors import UserError
from sobolev.experiments.parts import kept, plain
from sobolev.experiments.trained import settings_of

COUNTED = {"numbers": np.array([1.5, 2.0]), "nested": ({"count": np.int64(3)},)}


class Counter:
    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return COUNTED


def test_a_part_is_computed_once(tmp_path: Path):
    file, compute = tmp_path / "parts" / "one.json", Counter()
    found = [kept(file, {"steps": 5, "seeds": (0, 1)}, compute) for _ in range(2)]
    assert found[0] == found[1] == {"numbers": [1.5, 2.0], "nested": [{"count": 3}]}
    assert compute.calls == 1
    assert {"settings", "commit", "machine", "record"} <= json.loads(file.read_text()).keys()


def test_numbers_that_are_not_finite_are_nan_once_they_were_kept(tmp_path: Path):
    for _ in range(2):
        found = kept(tmp_path / "one.json", {}, lambda: {"seeds": [{"bias": np.float64("nan")}, {"bias": 1.0}]})
        assert np.isnan(found["seeds"][0]["bias"]) and found["seeds"][1]["bias"] == 1


def test_other_settings_are_another_part(tmp_path: Path):
    file, compute = tmp_path / "one.json", Counter()
    for steps in (5, 6, 6, 5):
        kept(file, {"steps": steps}, compute)
    assert compute.calls == 3


def test_a_part_of_an_earlier_version_is_used(tmp_path: Path):
    """Its run lacks settings that were added since. With another value than what was in effect, it is another run."""
    file, compute = tmp_path / "one.json", Counter()
    settings = {"run": settings_of(defaults("toy:point-mass", "dsdpg")), "states": 32}
    earlier = json.loads(json.dumps(plain(settings)))
    del earlier["run"]["agent"]["critic"]["truncation"], earlier["run"]["log"]["sinks"]
    kept(file, earlier, compute)
    kept(file, settings, compute)
    assert compute.calls == 1
    settings["run"]["agent"]["critic"]["truncation"] = "critic"
    kept(file, settings, compute)
    assert compute.calls == 2


def test_a_part_that_fails_leaves_no_file(tmp_path: Path):
    def fail():
        raise SystemExit(130)

    with pytest.raises(SystemExit):
        kept(tmp_path / "one.json", {}, fail)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["{", "[]", '{"record": {}}'])
def test_damaged_files_are_not_overwritten(content: str, tmp_path: Path):
    file, compute = tmp_path / "one.json", Counter()
    file.write_text(content)
    with pytest.raises(UserError, match=r"one\.json.*without it, it is computed"):
        kept(file, {}, compute)
    assert file.read_text() == content and compute.calls == 0
