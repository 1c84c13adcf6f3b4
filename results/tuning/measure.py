"""Ranks the settings of PLAN.md: python results/tuning/measure.py RUNS [--out FILE].

RUNS is the folder of both sweeps. Prints a table and writes FILE: for every setting the areas under its evaluation
curves on both tasks, by seed, their means over those of the method's preset, and the mean of these ratios, the measure.
For dsdpg on the point mass also what the critics expect over what follows.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sobolev.envs.families.toy import layout_of
from sobolev.experiments.point_mass.gradients import compare as compare_with_simulator
from sobolev.reports.analysis.compare import compare
from sobolev.reports.analysis.comparison import Comparison
from sobolev.reports.analysis.measures import AREA
from sobolev.reports.results.runs import find, load
from sobolev.system.columns import aligned

STATES, ROLLOUTS = 32, 64
"""As in `sobolev study point-mass`."""


def ranking(comparison: Comparison) -> list[dict[str, Any]]:
    """The settings, those of each method by their measure, the best first."""
    entries = []
    for label in comparison.labels:
        method = label.split()[0]
        tasks = [task for task in comparison.tasks() if (task, label) in comparison.cells]
        areas = {str(task): list(comparison.values(AREA, task, label).values()) for task in tasks}
        usual = comparison.means(method, tasks, AREA)
        ratios = {str(task): float(np.mean(areas[str(task)])) / usual[task] for task in tasks}
        measure = float(np.mean(list(ratios.values())))
        entries.append({"label": label, "method": method, "areas": areas, "ratios": ratios, "measure": measure})
    return sorted(entries, key=lambda entry: (entry["method"], -entry["measure"]))


def expectations(comparison: Comparison) -> dict[str, list[float]]:
    """The expected over the true return of each seed on the point mass, for the settings of dsdpg."""
    found = {}
    for (task, label), cell in comparison.cells.items():
        if task.name.startswith("toy:") and label.split()[0] == "dsdpg":
            (run,) = cell.runs
            layout = layout_of(task.name.removeprefix("toy:"))
            seeds = compare_with_simulator(run.folder, layout, run.config["env"]["dynamics_noise"], STATES, ROLLOUTS)
            found[label] = [seed["predicted"] / seed["true"] for seed in seeds]
    return found


def table(entries: Sequence[dict[str, Any]]) -> list[str]:
    """The ranking as lines."""
    tasks = list(dict.fromkeys(task for entry in entries for task in entry["ratios"]))
    rows = [["setting", *tasks, "measure", "expected over true"]]
    for entry in entries:
        ratios = [f"{entry['ratios'][task]:.2f}" if task in entry["ratios"] else "" for task in tasks]
        expected = f"{np.mean(entry['expected_over_true']):.2f}" if "expected_over_true" in entry else ""
        rows.append([entry["label"], *ratios, f"{entry['measure']:.3f}", expected])
    return aligned(rows)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("ranking.json"))
    asked = parser.parse_args()
    comparison = compare([run for folder in find([asked.runs]) for run in load(folder)], baseline="dsdpg")
    entries, expected = ranking(comparison), expectations(comparison)
    for entry in entries:
        if entry["label"] in expected:
            entry["expected_over_true"] = expected[entry["label"]]
    commits = sorted({str(run.facts.get("commit")) for run in comparison.runs})
    machines = sorted({str(run.facts.get("machine")) for run in comparison.runs})
    content = {"commits": commits, "machines": machines, "settings": entries, "notes": comparison.notes}
    asked.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print("\n".join(table(entries)))


if __name__ == "__main__":
    main()
