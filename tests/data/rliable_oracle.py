"""Makes rliable_oracle.json: rliable's statistics of made-up scores, to which `sobolev.reports.analysis` is compared.

Run once, in an environment of its own (rliable's requirements do not install beside ours), Python 3.10:
    pip install "numpy<1.24" "pandas<2" "scipy<1.12" arch==5.3.1 absl-py seaborn && pip install --no-deps rliable==1.2.0
    python tests/data/rliable_oracle.py
"""

import json
from pathlib import Path

import numpy as np

RESAMPLES = 50_000
THRESHOLDS = [0.2, 0.5, 0.8, 0.95]


def main() -> None:
    """Two methods on nine tasks, with five and seven seeds; some scores above 1, some equal."""
    from rliable import library, metrics  # pyright: ignore[reportMissingImports]

    rng = np.random.default_rng(0)
    level = rng.uniform(0.1, 0.95, 9)
    methods = {
        "a": np.round(level + rng.normal(0.05, 0.12, (5, 9)), 2),
        "b": np.round(level + rng.normal(0.0, 0.2, (7, 9)), 2),
    }
    functions = {
        "mean": metrics.aggregate_mean,
        "interquartile_mean": metrics.aggregate_iqm,
        "optimality_gap": metrics.aggregate_optimality_gap,
    }
    found = {"scores": {name: scores.T.tolist() for name, scores in methods.items()}, "thresholds": THRESHOLDS}

    def estimates(scores, function, over_tasks=False):
        point, interval = library.get_interval_estimates(
            scores, function, task_bootstrap=over_tasks, reps=RESAMPLES, random_state=np.random.RandomState(1)
        )
        return {name: [point[name].tolist(), *interval[name].tolist()] for name in point}

    for key, over_tasks in (("over_seeds", False), ("over_seeds_and_tasks", True)):
        found[key] = {
            name: estimates(methods, lambda x, f=function: np.array([f(x)]), over_tasks)
            for name, function in functions.items()
        }
    pair = {"a, b": [methods["a"], methods["b"]]}
    found["probability_of_improvement"] = estimates(
        pair, lambda x, y: np.array([metrics.probability_of_improvement(x, y)])
    )["a, b"]
    profiles, intervals = library.create_performance_profile(methods, np.array(THRESHOLDS), reps=RESAMPLES)
    found["profile"] = {name: [profiles[name].tolist(), *intervals[name].tolist()] for name in methods}
    target = Path(__file__).with_suffix(".json")
    made = {"made_by": "rliable 1.2.0, arch 5.3.1, numpy 1.23.5: python tests/data/rliable_oracle.py"}
    target.write_text(json.dumps({**made, "resamples": RESAMPLES, **found}) + "\n")


if __name__ == "__main__":
    main()
