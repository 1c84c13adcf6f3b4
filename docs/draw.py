"""Draws the figures of docs/results.md and of the README from scores/ (run from the root: python docs/draw.py)."""

from pathlib import Path

from sobolev.study.figures import draw_curves, label
from sobolev.study.scores import Score, curve, published_dreamerv3, read

ROOT = Path(__file__).parents[1]
SHOWN = {"cartpole-swingup": "laptop", "walker-stand": "laptop", "finger-spin": "demo"}
"""Tasks, and the preset that they were run with."""
NOTE = "ours: preset {}, 1m parameters, train ratio 128; mean and standard deviation over seeds"


def runs(task: str, file: str) -> list[list[Score]]:
    """Scores of a task's runs, GPLD first."""
    folders = [ROOT / "scores" / f"{task}-{method}-{SHOWN[task]}" for method in ("gpld", "dreamer")]
    return [read(folder / file) for folder in folders if folder.exists()]


def main() -> None:
    """Draw evaluation returns per task, and training returns beside the published ones."""
    published = published_dreamerv3()
    for task, preset in SHOWN.items():
        note = NOTE.format(preset)
        found = runs(task, "scores.json")
        draw_curves({task: {label(s): curve(s) for s in found}}, ROOT / "docs" / f"{task}.png", note=note)
        name = "dmc_" + task.replace("-", "_")
        panel = {f"{label(s)}, training episodes": binned(s) for s in runs(task, "train_scores.json")}
        theirs = [score for score in published if score["task"] == name]
        panel["published DreamerV3 (5 seeds, train ratio 512)"] = curve(theirs)
        draw_curves({task: panel}, ROOT / "docs" / f"{task}-published.png", note=note)


def binned(scores: list[Score], width: int = 5000):
    """Training episodes averaged over bins of env steps, as a curve over seeds."""
    averaged: list[Score] = []
    for score in scores:
        bins: dict[float, list[float]] = {}
        for x, y in zip(score["xs"], score["ys"], strict=True):
            bins.setdefault(-(-x // width) * width, []).append(y)
        xs = sorted(bins)
        averaged.append({**score, "xs": xs, "ys": [sum(bins[x]) / len(bins[x]) for x in xs]})
    return curve(averaged)


if __name__ == "__main__":
    main()
