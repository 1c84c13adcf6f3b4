"""Short runs of every method whose numbers are kept: losses, returns, and the size of every network's parameters.

`python -m tests.golden` writes tests/data/golden.json anew; `python -m tests.golden DIGESTS.json` writes one number
more for each method, a checksum of all parameters: a change that computes the same leaves it equal on one machine.
"""

import hashlib
import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

import sobolev
from tests import tiny
from tests.agents import family

KEPT = Path(__file__).parent / "data" / "golden.json"
DREAMS = ("gpld", "dreamer")
METHODS = (*DREAMS, *family.METHODS)
NOT_NUMBERS = ("time", "step", "seed", "updates")
"""Of a line of metrics: when and where, not what."""


def settings(method: str) -> dict[str, Any]:
    """Of the run that is kept: one seed, evaluated at its beginning and at its end, a few dozen updates."""
    if method in DREAMS:
        return tiny.SETTINGS | {"steps": 80, "evaluation.every": 60}
    own = family.OWN.get(method, family.OWN["dsdpg"])
    return family.SETTINGS | own | {"steps": 80, "evaluation.every": 60}


def measure(method: str) -> dict[str, Any]:
    """Trains the run of a method in a folder that is thrown away, and returns its numbers."""
    task, preset = (tiny.TASK, "paper") if method in DREAMS else (family.TASK, "laptop")
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        sobolev.train(task, method=method, preset=preset, settings=settings(method) | {"run": run})
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        scores = {name: json.loads((run / f"{name}.json").read_text())[0] for name in ("scores", "train_scores")}
        networks = _networks(run)
    losses = [{name: x for name, x in line.items() if name not in NOT_NUMBERS} for line in lines if "updates" in line]
    return {
        "losses": losses,
        "returns": {name: [score["xs"], score["ys"]] for name, score in scores.items()},
        "parameters": {name: _norm(arrays) for name, arrays in sorted(networks.items())},
        "digest": _digest(networks),
    }


def _networks(run: Path) -> dict[str, dict[str, np.ndarray]]:
    """The agent's arrays in a run's newest checkpoint, by what they belong to ("model/posterior")."""
    manifests = [json.loads(path.read_text())["record"] for path in (run / "checkpoint").glob("checkpoint-*.json")]
    newest = max(manifests, key=lambda manifest: manifest["serial"])
    networks: dict[str, dict[str, np.ndarray]] = {}
    for name, array in load_file(run / "checkpoint" / newest["state"]["name"]).items():
        if name.startswith("agent/"):
            parts = name.removeprefix("agent/").split("/")
            networks.setdefault("/".join(parts[:2]), {})["/".join(parts)] = array
    return networks


def _norm(arrays: dict[str, np.ndarray]) -> float:
    return math.sqrt(sum(float(np.square(array.astype(np.float64)).sum()) for array in arrays.values()))


def _digest(networks: dict[str, dict[str, np.ndarray]]) -> str:
    digest = hashlib.sha256()
    for arrays in (networks[name] for name in sorted(networks)):
        for name in sorted(arrays):
            digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def main() -> None:
    """Measures all methods, and writes what they gave."""
    golden = {method: measure(method) for method in METHODS}
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps(golden, indent=1) + "\n")
        return
    kept = {method: {name: x for name, x in found.items() if name != "digest"} for method, found in golden.items()}
    KEPT.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
