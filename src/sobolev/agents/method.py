"""The description of a method: its settings, presets and sizes, and how to create its agent.

A method is one `Method(...)` in a module of its own, and a line in `config/registry.py`, or an entry point of the group
`sobolev.methods` in a package of yours. The agent's module is imported only when the agent is created, so that help
texts and reports do not have to wait for it.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, Protocol, TypeVar, cast, runtime_checkable

from sobolev.envs.specs import Spaces
from sobolev.errors import UserError

if TYPE_CHECKING:
    from sobolev.agents.api import Agent

Precision = Literal["auto", "float32", "bfloat16"]
"""Dtype in which the networks' matrix products are computed."""

C = TypeVar("C", bound="AgentConfig")
D = TypeVar("D", bound="AgentConfig")


NAME = r"[A-Za-z0-9]+([_.-]+[A-Za-z0-9]+)*"
"""Names of methods, which are part of the names of folders, and words of labels."""


@runtime_checkable
class AgentConfig(Protocol):
    """The settings of an agent: a frozen dataclass of numbers, strings, tuples and further dataclasses.

    Every field has a default and a docstring, and is a flag of `sobolev train`. The type of a number includes its
    bounds, as in `rho: Annotated[float, Gt(0), Le(1)] = 0.5`.
    """

    @property
    def batch_size(self) -> int:
        """The number of windows in an update's batch, which several devices may divide among them."""
        ...

    @property
    def precision(self) -> str:
        """Dtype of the networks' products: float32, bfloat16, or auto (float32 on a CPU, bfloat16 elsewhere)."""
        ...


class Pace(NamedTuple):
    """When updates are due: `updates` for every `steps` agent steps, once replay holds `windows` windows."""

    length: int
    """steps of a sampled window, without its context step"""
    windows: int
    updates: float
    steps: int


@dataclass(frozen=True)
class Preset(Generic[C]):
    """One set of defaults of a method."""

    agent: C
    size: str
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """other settings of a run, by path, that differ from TrainConfig's"""


def _nothing(agent: AgentConfig, images: bool) -> None:
    """The check of a method for which every combination of settings is valid."""


@dataclass(frozen=True)
class Method(Generic[C]):
    """A method, before its agent is created."""

    name: str
    """used in the names of run folders, in scores and in reports"""
    about: str
    """one line for help texts"""
    config: type[Any]
    """the dataclass of its settings"""
    presets: Mapping[str, Preset[C]]
    """by name; the first is the default"""
    sizes: Mapping[str, Callable[[C], C]]
    """by name, a function that changes an agent's settings to that size"""
    make: "Callable[[C, Spaces], Agent[C, Any]]"
    """creates the agent, from its settings and the spaces of an environment"""
    pace: Callable[[C], Pace]
    """when the agent learns"""
    check: Callable[[C, bool], None] = _nothing
    """raises UserError for settings that contradict each other; its second argument: whether observations are images"""
    fixed: Mapping[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    """settings, or groups of them, that cannot be changed: {"penalty": ("has no penalty", "gpld")} has the reason, for
    the error message, and a method in which the setting can be changed"""
    added: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """settings that earlier versions of the method did not have, by path, with the JSON values that they had in effect:
    {"critic.truncation": "pooled"}. Runs of these versions are read as if they had them"""
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """the parts of a trained agent that can start another one (--warm-start): by name, the prefixes of their paths in
    the agent's state ("model/actor/")"""
    warm: tuple[str, ...] = ()
    """the parts that are taken by default"""
    images: bool = False
    """whether observations may be images, uint8 [height, width, channels]"""
    host_replay: bool = False
    """whether its replay may be in host memory; its agent must then be a `Chooses`"""
    divides: bool = False
    """whether several devices may divide the batch of an update; its loss must then average over their parts (see
    `in_parts` and `averaged` in `sobolev.nn`)"""

    def __post_init__(self) -> None:
        """Raises UserError for a name that no folder can have, for settings that a run cannot use, and if there is no
        preset."""
        if not re.fullmatch(NAME, self.name):
            raise UserError(f"a method cannot be called '{self.name}': take letters, digits, and _ . - between them")
        if not is_dataclass(self.config):
            raise UserError(f"the settings of method {self.name} are no dataclass: decorate them with @dataclass")
        there = [item.name for item in fields(self.config)]
        for name in ("batch_size", "precision"):
            if name not in there:
                raise UserError(f"the settings of method {self.name} lack {name}: see AgentConfig in {__name__}")
        if not self.presets:
            raise UserError(
                f"method {self.name} has no preset: give it one, as in {{'paper': Preset(Settings(), 'full')}}"
            )

    def fixing(self, path: str) -> tuple[str, str] | None:
        """The entry of `fixed` for the setting at a path; None if the setting can be changed."""
        return next((entry for fixed, entry in self.fixed.items() if f"{path}.".startswith(f"{fixed}.")), None)


def variant(
    base: Method[C],
    name: str,
    about: str,
    change: Callable[[C], D],
    **others: Any,
) -> Method[D]:
    """A method that is like another one, with `change` applied to the agent's settings of every preset.

    `others` are fields of `Method` that differ: `make` for an agent of another class, `config` if `change` returns
    settings of another type. That type must be a subclass of the base's, whose sizes and checks are applied to it.
    """
    presets = {key: replace(preset, agent=change(preset.agent)) for key, preset in base.presets.items()}
    return cast("Method[D]", replace(base, name=name, about=about, presets=presets, **others))
