"""Where the time of a compiled update goes: a profile of it, read by the functions that its operations came from."""

import itertools
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

PARTS = {
    "imagination (rollout)": ("agents/dreamer/behavior.py:imagine",),
    "observe scan": ("agents/dreamer/rssm.py:RSSM.observe", "nn/recurrence.py:"),
    "penalty": ("agents/dreamer/agent.py:Dreamer.penalty",),
    "optimizer": ("agents/dreamer/optimizer.py:", "agents/optimizer.py:", "/optax/"),
    "replay": ("sobolev/replay/",),
    "world model's heads": ("dreamer/world_model.py:", "dreamer/encoder.py:", "dreamer/decoder.py:"),
    "actor and critic": ("dreamer/behavior.py:", "dreamer/agent.py:Dreamer.imagination", "nn/layers.py:Head."),
    "rest of the update": ("agents/dreamer/agent.py:", "training/seed_functions.py:"),
}
"""Parts of an update by the files and functions that an operation was traced from; the first one that fits counts."""

UNATTRIBUTED = "unattributed"
"""Time in which no operation ran that has a known origin."""


def breakdown(compiled: Any, run: Callable[[], object], calls: int = 3) -> dict[str, float]:
    """Seconds per call of `run`, which executes `compiled` once, by part; they add up to the whole time.

    Operations that run at the same time share it. Where XLA made one operation of several, it counts as its last one.
    The profiler adds a little to each of thousands of operations, so the shares count, not the seconds.
    """
    part_of = parts(compiled.as_text())
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(calls):
                with jax.profiler.TraceAnnotation("one call"):
                    run()
        (file,) = Path(folder).rglob("*.xplane.pb")
        profile = jax.profiler.ProfileData.from_file(str(file))
    lines = [list(line.events) for plane in profile.planes for line in plane.lines]
    whole = sum(event.duration_ns for line in lines for event in line if event.name == "one call")
    spans = [span for line in lines for span in own_spans([event for event in line if event.name in part_of])]
    seconds = {part: 0.0 for part in (*PARTS, UNATTRIBUTED)}
    for name, time in shared_time(spans).items():
        seconds[part_of[name]] += time
    seconds[UNATTRIBUTED] += whole - sum(seconds.values())
    return {part: time / calls / 1e9 for part, time in seconds.items()}


def parts(text: str) -> dict[str, str]:
    """The part that every instruction of a compiled program belongs to, by the program's text."""
    tables: dict[str, dict[int, str]] = {}
    for title in ("FileNames", "FunctionNames", "FileLocations", "StackFrames"):
        block = re.search(rf"^{title}\n((?:\d+ .*\n)*)", text, re.M)
        rows = re.findall(r"^(\d+) (.*)$", block.group(1), re.M) if block else []
        tables[title] = {int(number): content for number, content in rows}

    def field(content: str, name: str) -> int:
        found = re.search(rf"{name}=(\d+)", content)
        return int(found.group(1)) if found else 0

    origins = {}
    for number, content in tables["StackFrames"].items():  # a frame's caller comes before it
        place = tables["FileLocations"][field(content, "file_location_id")]
        file = tables["FileNames"][field(place, "file_name_id")].strip('"')
        function = tables["FunctionNames"][field(place, "function_name_id")].strip('"')
        caller = field(content, "parent_frame_id") - 1  # printed one too high, so that 1 stands for none
        origins[number] = origins.get(caller, ()) + (f"{file}:{function}",)
    chosen = {number: _part(frames) for number, frames in origins.items()}
    instructions = re.findall(r"^\s+(?:ROOT )?%?([\w.-]+) = (.*)$", text, re.M)
    return {name: chosen.get(field(content, "stack_frame_id"), UNATTRIBUTED) for name, content in instructions}


def _part(frames: tuple[str, ...]) -> str:
    fits = (
        part
        for part, patterns in PARTS.items()
        for pattern, frame in itertools.product(patterns, frames)
        if pattern in frame
    )
    return next(fits, UNATTRIBUTED)


def own_spans(events: list[Any]) -> list[tuple[float, float, str]]:
    """The spans [start, end) in which the events of one thread ran themselves, not an event inside them."""
    spans, open_events = [], []
    edges = [(event.start_ns, 1, event) for event in events] + [(event.end_ns, 0, event) for event in events]
    last = 0.0
    for time, begins, event in sorted(edges, key=lambda edge: edge[:2]):
        if open_events and time > last:
            spans.append((last, time, open_events[-1].name))
        if begins:
            open_events.append(event)
        else:
            open_events.remove(event)
        last = time
    return spans


def shared_time(spans: list[tuple[float, float, str]]) -> dict[str, float]:
    """Time by name; where spans of several threads overlap, each gets its share."""
    edges = sorted(
        [(start, 1, name) for start, _, name in spans] + [(end, -1, name) for _, end, name in spans],
        key=lambda edge: edge[:2],
    )
    running, total, last = Counter[str](), defaultdict[str, float](float), 0.0
    for time, change, name in edges:
        number = running.total()
        for other, times in running.items() if number and time > last else ():
            total[other] += times * (time - last) / number
        running[name] += change
        if not running[name]:
            del running[name]
        last = time
    return total


def table(seconds: dict[str, float]) -> str:
    """The parts as lines of text, with their shares."""
    whole = sum(seconds.values())
    rows = [f"  {part:<24}{1e3 * time:>9.1f} ms{time / whole:>8.1%}" for part, time in seconds.items()]
    return "\n".join([*rows, f"  {'one update, profiled':<24}{1e3 * whole:>9.1f} ms"])
