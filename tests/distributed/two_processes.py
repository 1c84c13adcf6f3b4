"""One of two processes that train one model: straight through, broken off and resumed, and from a warm start.

See test_together.py.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sobolev.checkpoints.pytree_io import flatten
from sobolev.distributed import processes
from sobolev.errors import UserError
from sobolev.training.loop import Training
from sobolev.training.start import start
from tests import tiny

LAST = 27
"""Iterations; the first 24 are without updates, then two each."""


class Crash(Exception):
    """Stands for whatever ends both processes."""


def main(port: str, process: int, folder: Path) -> None:
    """Trains in FOLDER/straight, FOLDER/broken and FOLDER/warm; writes the networks of this process beside them."""
    flags = {"data": 2, "coordinator": f"localhost:{port}", "processes": 2, "process": process}
    settings: dict[str, Any] = {f"devices__{name}": value for name, value in flags.items()}
    settings |= dict.fromkeys(("evaluation__every", "log__every", "log__dreams", "checkpoint__snapshots"), 26)
    config = tiny.config(seeds=(2,), precision="float32", steps=2 * LAST, checkpoint__minutes=1e-9, **settings)
    end = Training.run_to_end

    def kept(self: Training, *arguments) -> int:
        status = end(self, *arguments)
        arrays: Any = flatten(self.now.state.model)
        np.savez(folder / f"{self.config.run.name if self.config.run else ''}-{process}.npz", **arrays)
        return status

    def crash(self: Training) -> None:
        iterate(self)
        if self.now.iteration == LAST - 1:
            raise Crash

    with pytest.MonkeyPatch.context() as patch:
        tiny.share_programs(patch)
        patch.setattr(Training, "run_to_end", kept)
        assert start(dataclasses.replace(config, run=folder / "straight"))[1] == 0
        broken, iterate = dataclasses.replace(config, run=folder / "broken"), Training.iterate
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(Training, "iterate", crash)
            with pytest.raises(Crash):
                start(broken)
        assert start(broken)[1] == 0
        replay = dataclasses.replace(config.replay, memory="host")
        warm = dataclasses.replace(config, replay=replay, warm_start=folder / "straight", run=folder / "warm")
        assert start(warm)[1] == 0
        (folder / "taken").mkdir(exist_ok=True)
        (folder / "taken" / "letter.txt").touch()
        with pytest.raises(UserError, match="holds files that are not of a run" if processes.leads() else "says why"):
            start(dataclasses.replace(config, run=folder / "taken"))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
