"""What one call of a program that XLA compiled for a GPU executes, by the text of the compiled program.

A kernel is an instruction that is launched by itself; what a loop executes counts as often as XLA knows it to turn.
"""

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from _breakdown import UNATTRIBUTED, parts

NAMES = ("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "add-dependency", "after-all")
CONTROL = ("while", "conditional", "call", "opt-barrier", "optimization-barrier", "partition-id", "replica-id")
NO_KERNELS = frozenset((*NAMES, *CONTROL))
"""Operations that launch nothing. Nor do the ends of what began elsewhere, "…-done"."""

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "collective-permute", "all-to-all", "collective-broadcast")

BYTES = {"pred": 1, "s4": 1, "u4": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2}
BYTES |= dict.fromkeys(("f32", "s32", "u32"), 4) | dict.fromkeys(("f64", "s64", "u64", "c64"), 8)


WRITTEN = {"dynamic-update-slice": 1, "scatter": 2}
"""Operations that write into an array where it lies, and which of their operands is what they write."""


@dataclass(frozen=True)
class Instruction:
    """One line of a computation."""

    name: str
    shape: str
    operation: str
    operands: tuple[str, ...]
    line: str
    root: bool

    @property
    def bytes(self) -> int:
        """Of the result, a tuple's entries together."""
        return size(self.shape)

    @property
    def called(self) -> str | None:
        """The computation that a fusion or call executes."""
        found = re.search(r"(?:calls|to_apply)=%?([\w.\-]+)", self.line)
        return found.group(1) if found else None


@dataclass
class Loop:
    """A loop of the program, or a loop inside of one."""

    part: str
    trips: int
    kernels: int
    """of one turn"""
    copies: int
    """of one turn"""
    origin: str
    known: bool
    """whether XLA knows how often it turns; where not, one turn is counted"""

    @property
    def direction(self) -> str:
        """Whether it belongs to a backward pass."""
        return "backward" if "transpose(" in self.origin else "forward"


@dataclass
class Plan:
    """What one call executes."""

    kernels: int = 0
    sometimes: int = 0
    """of these, what a call is spared where every condition falls the other way"""
    copies: int = 0
    """beside the kernels: asynchronous copies of slices into and out of a loop's buffers"""
    bytes: float = 0
    """read and written by all kernels"""
    operations: float = 0
    """floating-point ones of products and convolutions"""
    by_part: Counter = field(default_factory=Counter)
    """kernels"""
    by_kind: Counter = field(default_factory=Counter)
    """kernels"""
    collectives: Counter = field(default_factory=Counter)
    loops: list[Loop] = field(default_factory=list)
    bodies: list[tuple[int, str, str, str, str]] = field(default_factory=list)
    """of every kernel: how often, part, kind, shape of the result, where it comes from"""


def size(shape: str) -> int:
    """Bytes of an array, or of a tuple of arrays, of XLA's text."""
    found = re.findall(r"\b([a-z]+\d*)\[([\d,]*)\]", shape)
    return sum(BYTES.get(kind, 1) * math.prod(int(n) for n in sides.split(",") if n) for kind, sides in found)


def sides(shape: str) -> list[int]:
    """Of the first array in XLA's text of a shape."""
    found = re.search(r"\[([\d,]*)\]", shape)
    return [int(n) for n in found.group(1).split(",") if n] if found else []


def _convolved(each: Instruction, shapes: dict[str, Instruction]) -> float:
    """Operations of a convolution: every number of the output takes the window, for every channel that is read."""
    window = re.search(r"window=\{size=([\dx]+)", each.line)
    taps = math.prod(int(n) for n in window.group(1).split("x")) if window else 1
    labels = re.search(r"dim_labels=\w+_(\w+)->", each.line)
    kernel = sides(shapes[each.operands[1]].shape) if len(each.operands) > 1 and each.operands[1] in shapes else []
    place = labels.group(1).find("i") if labels else -1
    inputs = kernel[place] if 0 <= place < len(kernel) else 1
    return 2.0 * math.prod(sides(each.shape)) * taps * inputs


def instructions(text: str) -> tuple[dict[str, list[Instruction]], str]:
    """The computations of a program by name, and which of them is the entry."""
    computations: dict[str, list[Instruction]] = {}
    current, entry = None, ""
    for line in text.splitlines():
        head = re.match(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$", line)
        if head:
            current = head.group(2)
            computations[current] = []
            entry = current if head.group(1) else entry
        elif line.startswith("}"):
            current = None
        elif current is not None and (found := _instruction(line)):
            computations[current].append(found)
    return computations, entry


def _instruction(line: str) -> Instruction | None:
    found = re.match(r"^\s+(ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([a-z][a-z0-9\-]*)\((.*)$", line)
    if found is None:
        return None
    root, name, shape, operation, rest = found.groups()
    inside = re.split(r"\)(?:, |$)", rest, maxsplit=1)[0]
    operands = tuple(re.findall(r"%([\w.\-]+)", inside))
    return Instruction(name, shape, operation, operands, line, bool(root))


class _Reader:
    def __init__(self, text: str):
        self.computations, self.entry = instructions(text)
        self.part_of, self.plan = parts(text), Plan()

    def count(self, name: str, times: int) -> Counter[str]:
        """Kernels and copies of one execution of a computation that is executed so many times in a call, and the
        kernels, "sometimes", that it is spared where every condition in it falls the other way."""
        found: Counter[str] = Counter()
        shapes = {each.name: each for each in self.computations[name]}
        for each in self.computations[name]:
            if each.operation == "while":
                found += self._loop(each, times)
            elif each.operation == "call" and each.called:
                found += self.count(each.called, times)
            elif each.operation == "conditional":
                found += self._condition(each, times)
            elif each.operation not in NO_KERNELS and not each.operation.endswith(("-done", "-update")):
                found += self._kernel(each, shapes, times)
        return found

    def _condition(self, each: Instruction, times: int) -> Counter[str]:
        """The branch with most kernels counts."""
        named = re.search(r"branch_computations=\{([^}]*)\}", each.line)
        branches = (
            named.group(1) if named else " ".join(re.findall(r"(?:true|false)_computation=(%?[\w.\-]+)", each.line))
        )
        plan, found = self.plan, []
        for branch in re.findall(r"[\w.\-]+", branches):
            self.plan = Plan()  # only looked at
            found.append((self.count(branch, 1), branch))
        self.plan = plan
        (most, branch), least = (
            max(found, key=_kernels),
            min(found, key=lambda one: _kernels(one) - one[0]["sometimes"]),
        )
        self.count(branch, times)
        return most | Counter(sometimes=most["kernels"] - least[0]["kernels"] + least[0]["sometimes"])

    def _loop(self, loop: Instruction, times: int) -> Counter[str]:
        body = re.search(r"body=%?([\w.\-]+)", loop.line)
        trips = re.search(r"known_trip_count[^\d]*(\d+)", loop.line)
        assert body, loop.line
        turns = int(trips.group(1)) if trips else 1
        turn = self.count(body.group(1), times * turns)
        part = self.part_of.get(loop.name, UNATTRIBUTED)
        self.plan.loops.append(
            Loop(part, turns, turn["kernels"], turn["copies"], _origin(loop.line), trips is not None)
        )
        return Counter({name: turns * number for name, number in turn.items()})

    def _kernel(self, each: Instruction, shapes: dict[str, Instruction], times: int) -> Counter[str]:
        collective = each.operation.removesuffix("-start")
        if collective in COLLECTIVES:
            self.plan.collectives[collective] += times
        part, kind = self.part_of.get(each.name, UNATTRIBUTED), _kind(each)
        self.plan.bytes += times * self._bytes(each, shapes)
        self.plan.operations += times * self._operations(each, shapes)
        self.plan.bodies.append((times, part, kind, each.shape[:60], _origin(each.line)))
        if each.operation == "fusion-start":
            self.plan.copies += times
            return Counter(copies=1)
        self.plan.kernels += times
        self.plan.by_part[part] += times
        self.plan.by_kind[kind] += times
        return Counter(kernels=1)

    def _operations(self, each: Instruction, shapes: dict[str, Instruction]) -> float:
        """Of the products in a kernel, and in what it calls; two for every multiplication with its addition."""
        if each.operation == "dot":
            contracted = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", each.line)
            left = sides(shapes[each.operands[0]].shape)
            shared = [left[int(i)] for i in contracted.group(1).split(",") if i] if contracted else []
            return 2.0 * math.prod(sides(each.shape)) * math.prod(shared)
        if own := _own(each):
            return own[1] * self._bytes(each, shapes)
        if each.operation == "convolution" or "__cudnn$conv" in each.line:
            return _convolved(each, shapes)
        inside = self.computations.get(each.called or "", [])
        local = {one.name: one for one in inside}
        return sum(self._operations(one, local) for one in inside)

    def _bytes(self, each: Instruction, shapes: dict[str, Instruction]) -> int:
        """What a kernel reads and writes; of an array that it only takes a slice of, or writes into, that slice."""
        inside = self.computations.get(each.called or "", []) if each.operation.startswith("fusion") else []
        if not inside:
            whole = each.bytes + sum(shapes[name].bytes for name in each.operands if name in shapes)
            own = _own(each)
            return round(whole * own[0]) if own else whole
        sizes, local = 0, {one.name: one for one in inside}
        for one in inside:
            if one.operation == "parameter":
                users = _users(one, inside)
                some = bool(users) and all(_slices(user) for _, user in users)
                sizes += sum(_read(name, one, user) for name, user in users) if some else one.bytes
        root = next(one for one in inside if one.root)
        for one in [local[name] for name in root.operands] if root.operation == "tuple" else [root]:
            while one.operation == "bitcast":
                one = local[one.operands[0]]
            written = WRITTEN.get(one.operation)
            sizes += one.bytes if written is None else local[one.operands[written]].bytes
        return sizes


def _users(one: Instruction, inside: list[Instruction]) -> list[tuple[str, Instruction]]:
    """What uses an array inside of a kernel, and by what name: it may have another shape there, which costs nothing."""
    found: list[tuple[str, Instruction]] = []
    for other in inside:
        if one.name in other.operands:
            found += _users(other, inside) if other.operation == "bitcast" else [(one.name, other)]
    return found


def _kernels(counted: tuple[Counter[str], str]) -> int:
    return counted[0]["kernels"]


def _own(each: Instruction) -> tuple[float, float] | None:
    """Of a kernel of sobolev's own, which says it in its name (`nn/fused/kernels.py`): the share of its arrays that it
    moves, and operations for every byte of that."""
    found = (
        re.search(r"share_([\d.e+-]+)_intensity_([\d.e+-]+)/", each.line) if each.operation == "custom-call" else None
    )
    return (float(found.group(1)), float(found.group(2))) if found else None


def _slices(user: Instruction) -> bool:
    return user.operation in ("dynamic-slice", "gather", "slice", *WRITTEN)


def _read(name: str, one: Instruction, user: Instruction) -> int:
    """What of a parameter its user reads: the old contents of an array that is written into are not read."""
    if user.operation in WRITTEN:
        return 0 if user.operands[0] == name else one.bytes
    return user.bytes if user.operands[0] == name else one.bytes


def _kind(each: Instruction) -> str:
    named = re.search(r'"kind":"([^"]*)"', each.line) or re.search(r'custom_call_target="([^"]*)"', each.line)
    named = named or re.search(r"kind=(\w+)", each.line)
    return named.group(1) if named else each.operation


def _origin(line: str) -> str:
    named = re.search(r'op_name="([^"]*)"', line)
    return named.group(1) if named else ""


def read(text: str) -> Plan:
    """What one call of a compiled program, given as XLA's text, executes."""
    reader = _Reader(text)
    reader.plan.sometimes = reader.count(reader.entry, 1)["sometimes"]
    return reader.plan


def summary(plan: Plan) -> dict[str, Any]:
    """A plan as JSON."""
    loops = [
        {
            "part": loop.part,
            "direction": loop.direction,
            "turns": loop.trips if loop.known else None,
            "kernels": loop.kernels,
            "copies": loop.copies,
        }
        for loop in plan.loops
    ]
    return {
        "kernels": plan.kernels,
        "sometimes": plan.sometimes,
        "copies": plan.copies,
        "by_part": dict(plan.by_part.most_common()),
        "loops": loops,
        "collectives": dict(plan.collectives),
        "bytes": plan.bytes,
        "operations": plan.operations,
    }
