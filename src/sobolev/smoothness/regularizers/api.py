"""The interface of regularizers, and how agents call them.

A regularizer makes a learned map smooth in one of three ways, or in several of them at once:
  penalty     given the map and a batch of its inputs, a number that is added to the loss;
  constraint  given the map's parameters, other parameters that replace them; its state is part of the agent's state;
  noise       random numbers that are added to the map's inputs in training.
The coefficient lambda(updates) of a map, which follows the schedule in the settings, multiplies penalty and noise, and
is the strength of a constraint. The built-in regularizers are listed in `registry.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, make_dataclass
from functools import partial
from typing import Any, Generic, TypeVar, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from sobolev.errors import UserError
from sobolev.smoothness.config import LatentPenalty, Maps, Sampling, Schedule, check_all, coefficients, map_names
from sobolev.smoothness.penalty import Penalty, Table, sample_states
from sobolev.smoothness.schedule import coefficient

S = TypeVar("S")
Common = TypeVar("Common", bound=Maps)

Metrics = dict[str, Float[Array, ""]]
State = dict[str, PyTree]
"""The state of a constraint, by map; {} without a constraint."""


Keys = PRNGKeyArray | tuple[PRNGKeyArray, PRNGKeyArray]
"""A key to be split in two, or two keys: the first one samples the states, the second one is for the penalty."""

Inputs = Float[Array, "states _"] | Sequence[Float[Array, "states _"]]
"""Inputs x [states, d], or several arrays [states, d_i] whose concatenation is x."""

Penalisable = tuple[Table, Inputs, Keys]


@dataclass(frozen=True)
class Constraint(Generic[S]):
    """Replaces the parameters of a map. The first argument of every function is the regularizer's settings."""

    init: Callable[[S, PyTree, PRNGKeyArray], PyTree]
    """(settings, parameters, key) -> state, () if there is none; parameters: the pytree of the map"""
    refresh: Callable[[S, PyTree, PyTree], PyTree]
    """(settings, parameters, state) -> the state after an update has changed the parameters"""
    apply: Callable[[S, PyTree, PyTree, Float[Array, ""]], PyTree]
    """(settings, parameters, state, coefficient) -> the parameters to use; differentiable in the parameters"""
    value: Callable[[S, PyTree, PyTree], Float[Array, ""]]
    """(settings, parameters, state) -> a number for the log"""


@dataclass(frozen=True)
class Regularizer(Generic[S]):
    """A penalty, a constraint or noise, with settings. Raises UserError if all are missing, or for invalid settings."""

    settings: type[S]
    """a frozen dataclass of its own settings, all with defaults; each is a flag --penalty.NAME, with the field's
    docstring as help. The functions below get an instance of a subclass, which also has the common settings"""
    name: str = "regularizer"
    """prefix of its metrics: NAME/posterior, NAME/posterior_lambda"""
    penalty: Callable[[S, Table, Float[Array, "states inputs"], PRNGKeyArray], Penalty] | None = None
    """(settings, map, inputs, key) -> value and rows; the inputs are those of the sampled states"""
    constraint: Constraint[S] | None = None
    noise: Callable[[S, tuple[int, ...], PRNGKeyArray], Array] | None = None
    """(settings, shape, key) -> float32 array of that shape, which is added to the inputs"""
    check: Callable[[S, Mapping[str, int]], None] | None = None
    """(settings, number of rows of each map) -> None; raises UserError for settings that do not suit the maps"""
    coefficient: float = 0.5
    """default of the initial coefficient of the agent's first map"""
    defaults: Mapping[str, Any] = field(default_factory=dict[str, Any], hash=False)
    """defaults of common settings that differ from the usual ones, as in {"schedule": "none"}"""

    def __post_init__(self) -> None:
        """Raises UserError for a regularizer that does nothing, or whose settings cannot become flags."""
        if not (self.penalty or self.constraint or self.noise):
            raise UserError(f"regularizer {self.name} does nothing: give it a penalty, a constraint or noise")
        if not is_dataclass(self.settings):
            raise UserError(f"the settings of regularizer {self.name} are no dataclass: decorate them with @dataclass")
        taken = {item.name for kind in (LatentPenalty, Sampling) for item in fields(kind)}
        for item in fields(self.settings):
            if item.default is MISSING and item.default_factory is MISSING:
                raise UserError(f"the setting {item.name} of regularizer {self.name} needs a default value")
            if item.name in taken:
                raise UserError(f"regularizer {self.name} cannot have a setting {item.name}, which all have: rename it")


def settings_type(regularizer: Regularizer[Any], common: type[Common]) -> type[Common]:
    """The flat dataclass of all settings: the regularizer's own, and those that all regularizers of an agent have.

    `common` is a `Schedule` with the `Maps` of the agent. The settings of a penalty also include `Sampling`. Equal
    arguments give the same class; an existing class with these bases, such as `PenaltyConfig`, is returned. Raises
    UserError if `common` has a setting of neither, and if the regularizer has one with the name of a map.
    """
    if both := [item.name for item in fields(regularizer.settings) if item.name in map_names(common)]:
        raise UserError(f"regularizer {regularizer.name} cannot have a setting {both[0]}, which is a map's: rename it")
    known = {*map_names(common), *(item.name for item in fields(Schedule))}
    if other := [item.name for item in fields(common) if item.name not in known]:
        raise UserError(f"{common.__name__} has the setting {other[0]}: if it is a map's, put it in a subclass of Maps")
    bases = (regularizer.settings, *((Sampling,) if regularizer.penalty else ()), common)
    for known in common.__subclasses__():
        if known.__bases__ == bases:
            return known
    name = f"{common.__name__}{regularizer.settings.__name__}"
    namespace = {"__post_init__": check_all, "__doc__": regularizer.settings.__doc__}
    return cast("type[Common]", make_dataclass(name, (), bases=bases, namespace=namespace, frozen=True))


def default_settings(regularizer: Regularizer[Any], common: type[Common]) -> Common:
    """The default settings of a regularizer: only the agent's first map is regularised."""
    first, *others = map_names(common)
    initial = {first: regularizer.coefficient, **dict.fromkeys(others, 0.0)}
    return settings_type(regularizer, common)(**initial, **regularizer.defaults)


def at_sampled_states(
    penalty: Callable[[Float[Array, "states inputs"], PRNGKeyArray], Penalty],
    inputs: Inputs,
    keys: Keys,
    sampling: Sampling,
) -> Penalty:
    """A penalty at a fraction of a batch's states (paper 1, Algorithm 1), without its coefficient.

    Several arrays of inputs are concatenated only at the sampled states. With `average` "batch", the mean is over all
    states, with 0 at those that were not sampled, as in the authors' code, which multiplies the penalty by rho.
    """
    parts = (inputs,) if isinstance(inputs, Array) else tuple(inputs)
    key_states, key_penalty = keys if isinstance(keys, tuple) else jax.random.split(keys)
    total = parts[0].shape[0]
    states = sample_states(key_states, total, sampling.rho)
    found = penalty(jnp.concatenate([part[states] for part in parts], -1), key_penalty)
    if sampling.average == "sampled":
        return found
    return jax.tree.map(lambda mean: mean * (states.shape[0] / total), found)


@dataclass(frozen=True)
class Smoothing:
    """A regularizer with its settings, the object that an agent calls. A map with coefficient 0 costs nothing."""

    regularizer: Regularizer[Any]
    settings: Any
    """an instance of the regularizer's `settings_type`"""

    def check(self, rows: Mapping[str, int]) -> None:
        """Raises UserError if the settings do not suit the maps, whose tables have these numbers of rows."""
        if self.regularizer.check:
            self.regularizer.check(self.settings, rows)

    @property
    def penalised(self) -> tuple[str, ...]:
        """Names of the maps whose penalty is added to the loss."""
        return self._active if self.regularizer.penalty else ()

    @property
    def constrained_maps(self) -> tuple[str, ...]:
        """Names of the maps whose parameters are replaced."""
        return self._active if self.regularizer.constraint else ()

    @property
    def perturbed(self) -> tuple[str, ...]:
        """Names of the maps to whose inputs noise is added."""
        return self._active if self.regularizer.noise else ()

    @property
    def metric(self) -> str:
        """Prefix of the names of all metrics."""
        return self.regularizer.name

    @property
    def shown(self) -> dict[str, str]:
        """The first map's metrics that the progress bar shows, by their names there; {} if no map is regularised."""
        first = next(iter(self._active), None)
        return {} if first is None else {self.metric: f"{self.metric}/{first}", "λ": f"{self.metric}/{first}_lambda"}

    def strength(self, name: str, updates: Int[Array, ""]) -> Float[Array, ""]:
        """lambda of a map after `updates` updates."""
        return coefficient(cast(Schedule, self.settings), coefficients(self.settings)[name], updates)

    def penalties(self, maps: Mapping[str, Penalisable], updates: Int[Array, ""]) -> tuple[Float[Array, ""], Metrics]:
        """The sum over maps of lambda times the penalty, and its metrics; 0 if no map is penalised."""
        penalty, total = self.regularizer.penalty, jnp.zeros(())
        metrics: Metrics = {}
        for name in self.penalised:
            assert penalty is not None
            table, inputs, keys = maps[name]
            found = at_sampled_states(partial(penalty, self.settings, table), inputs, keys, self.settings)
            weight, label = self.strength(name, updates), f"{self.metric}/{name}"
            total = total + weight * found.value
            metrics |= {label: found.value, f"{label}_lambda": weight, f"{label}_row_std": jnp.std(found.rows)}
        return total, metrics

    def noise(
        self, name: str, shape: tuple[int, ...], key: PRNGKeyArray, updates: Int[Array, ""]
    ) -> tuple[Float[Array, "*shape"], Metrics]:
        """The numbers to add to the inputs of a `perturbed` map, lambda times the noise, and their metrics."""
        draw = self.regularizer.noise
        assert draw is not None
        weight = self.strength(name, updates)
        added = weight * draw(self.settings, shape, key)
        size = jnp.sqrt(jnp.mean(jnp.square(added)))
        return added, {self._label("noise", name): size, f"{self.metric}/{name}_lambda": weight}

    def init(self, maps: Mapping[str, PyTree], key: PRNGKeyArray) -> State:
        """The initial state of the constraint, for every map that is regularised; {} without a constraint."""
        constraint = self.regularizer.constraint
        if constraint is None:
            return {}
        keys = dict(zip(maps, jax.random.split(key, len(maps)), strict=True))
        return {name: constraint.init(self.settings, maps[name], keys[name]) for name in self._active}

    def refreshed(self, maps: Mapping[str, PyTree], state: State) -> State:
        """The state after an update has changed the maps' parameters."""
        constraint = self.regularizer.constraint
        if constraint is None:
            return state
        return {name: constraint.refresh(self.settings, maps[name], state[name]) for name in self._active}

    def constrained(self, maps: Mapping[str, PyTree], state: State, updates: Int[Array, ""]) -> dict[str, PyTree]:
        """The maps with the parameters to use, in learning and in acting; those without a constraint do not change."""
        constraint, found = self.regularizer.constraint, dict(maps)
        for name in self._active if constraint else ():
            assert constraint is not None
            weight = self.strength(name, updates)
            found[name] = constraint.apply(self.settings, maps[name], state[name], weight)
        return found

    def constraint_metrics(self, maps: Mapping[str, PyTree], state: State, updates: Int[Array, ""]) -> Metrics:
        """The logged number of a constraint and its coefficient, for each map."""
        constraint = self.regularizer.constraint
        metrics: Metrics = {}
        for name in self._active if constraint else ():
            assert constraint is not None
            metrics[self._label("constraint", name)] = constraint.value(self.settings, maps[name], state[name])
            metrics[f"{self.metric}/{name}_lambda"] = self.strength(name, updates)
        return metrics

    def _label(self, part: str, name: str) -> str:
        """The metric of a part of the regularizer: NAME/map for its first part, else NAME/map_noise or the like."""
        has = {"penalty": self.regularizer.penalty, "constraint": self.regularizer.constraint}
        first = next((other for other, there in has.items() if there), "noise")
        return f"{self.metric}/{name}" + ("" if part == first else f"_{part}")

    @property
    def _active(self) -> tuple[str, ...]:
        return tuple(name for name, initial in coefficients(self.settings).items() if initial > 0)
