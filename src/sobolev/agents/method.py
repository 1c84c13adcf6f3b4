"""What a method is, before its agent is made: settings, presets, sizes, and what a run may ask of it.

A method is one `Method(...)` in a module of its own, and a line in `config/registry.py`, or an entry point of the group
`sobolev.methods` in a package of yours. The module of its agent is imported when the agent is made, so that help texts
and reports do not wait for it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, Protocol, TypeVar, cast, runtime_checkable

from sobolev.envs.specs import Spaces

if TYPE_CHECKING:
    from sobolev.agents.api import Agent

Precision = Literal["auto", "float32", "bfloat16"]
"""Of the networks' products."""

C = TypeVar("C", bound="AgentConfig")
D = TypeVar("D", bound="AgentConfig")


@runtime_checkable
class AgentConfig(Protocol):
    """What a run asks of an agent's settings: a frozen dataclass of numbers, words, tuples and further dataclasses.

    Every field has a default and a docstring, and is a flag of `sobolev train`; numbers have their bounds in their
    type, as in `rho: Annotated[float, Gt(0), Le(1)] = 0.5`.
    """

    @property
    def batch_size(self) -> int:
        """Windows of one update, which several devices may divide among them."""
        ...

    @property
    def precision(self) -> str:
        """float32 or bfloat16 of the networks' products; auto stands for float32 on a CPU, and bfloat16 elsewhere."""
        ...


class Pace(NamedTuple):
    """When updates fall due: `updates` for every `steps` agent steps, once replay holds `windows` windows."""

    length: int
    """steps of a sampled window beside its context step"""
    windows: int
    updates: float
    steps: int


@dataclass(frozen=True)
class Preset(Generic[C]):
    """Where a method's defaults come from."""

    agent: C
    size: str
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """other settings of a run, by path, that differ from TrainConfig's"""


def _nothing(agent: AgentConfig, images: bool) -> None:
    """The check of a method whose settings all go together."""


@dataclass(frozen=True)
class Method(Generic[C]):
    """All that is known of a method before its agent is made."""

    name: str
    """in the names of run folders, in scores and in reports"""
    about: str
    """one line for help texts"""
    config: type[Any]
    """the dataclass of its settings"""
    presets: Mapping[str, Preset[C]]
    """by name; the first is the default"""
    sizes: Mapping[str, Callable[[C], C]]
    """by name, what makes an agent's settings those of that size"""
    make: "Callable[[C, Spaces], Agent[C, Any]]"
    """the agent of settings, for the spaces of an environment"""
    pace: Callable[[C], Pace]
    """when the agent learns"""
    check: Callable[[C, bool], None] = _nothing
    """raises UserError for settings that do not go together, given whether the agent sees images"""
    fixed: Mapping[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    """settings, or groups of them, that the presets decide for good: {"penalty": ("has no penalty", "gpld")}, with what
    is given where one is changed, and the method that leaves it open"""
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """what of a trained agent can start another one (--warm-start): by name, where it lies in the agent's state, as the
    beginnings of paths ("model/actor/")"""
    warm: tuple[str, ...] = ()
    """which of these parts are taken unless others are named"""
    images: bool = False
    """whether it can see images, as observations of uint8 [height, width, channels]"""
    host_replay: bool = False
    """whether its replay may be in host memory: then the agent is one that `Chooses`"""
    divides: bool = False
    """whether several devices may divide a batch of its updates: then its loss takes means over the parts (`in_parts`,
    `averaged` in `sobolev.nn`)"""


def variant(
    base: Method[C],
    name: str,
    about: str,
    change: Callable[[C], D],
    **others: Any,
) -> Method[D]:
    """A method that differs from another one by what `change` makes of the settings of every preset.

    `others` are fields of `Method` that differ: `make` for an agent of another class, `config` where `change` gives
    settings of another type. That must be a subclass, since the base's sizes and checks are applied to it.
    """
    presets = {key: replace(preset, agent=change(preset.agent)) for key, preset in base.presets.items()}
    return cast("Method[D]", replace(base, name=name, about=about, presets=presets, **others))
