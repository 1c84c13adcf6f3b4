"""What defines a run: task, method, agent, environments, replay, and what is watched on the way.

Presets and sizes only choose defaults; every field can be set on its own. `configure` builds a config from Python, the
command line builds the same one from flags, `resolved` fills what depends on task and machine.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import AvoidSubcommands, Positional, arg

from sobolev.agents.dreamer.config import DreamerConfig
from sobolev.config import codec
from sobolev.config.codec import Schema, assign, decode, encode
from sobolev.config.registry import METHODS, PRESETS
from sobolev.config.validate import validate
from sobolev.envs import View, default_repeat
from sobolev.envs.config import EnvConfig
from sobolev.errors import nearest
from sobolev.replay.config import ReplayConfig
from sobolev.smoothness.registry import penalty_type, regularized

__all__ = ["METHODS", "PRESETS", "TrainConfig", "configure", "defaults", "from_json", "resolved", "to_json"]

Part = Literal["encoder", "decoder", "rssm", "reward", "cont", "actor", "critic"]
"""Networks of a Dreamer agent, each with its own start."""

if TYPE_CHECKING:
    AgentConfig = Any  # which of them it is, only the method tells
else:
    AgentConfig = reduce(or_, (method.config for method in METHODS.values()))


@dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation during training."""

    every: int = 5000
    """env steps between two evaluations"""
    episodes: int = 3
    """episodes of one evaluation; 0 turns it off"""
    max_steps: int = 10_000
    """env steps after which an evaluation episode is truncated, for tasks without an end; its return so far counts"""


@dataclass(frozen=True)
class CheckpointConfig:
    """When a run is saved."""

    minutes: float = 10.0
    """minutes between two checkpoints, inf for none on the way; one more is written at the end"""
    snapshots: int = 0
    """env steps between two copies of the networks, kept for good in RUN/snapshots; 0 keeps none"""


@dataclass(frozen=True)
class LogConfig:
    """What is written down on the way."""

    every: int = 1000
    """env steps between two lines of metrics"""
    dreams: int = 20_000
    """env steps between two looks at what the world model foresees (RUN/dreams), taken at evaluations; 0 for none"""
    tensorboard: bool = True
    """write TensorBoard event files beside metrics.jsonl"""
    wandb: str | None = None
    """Weights & Biases project to log to (needs the extra: pip install 'sobolev[wandb]')"""


@dataclass(frozen=True)
class DevicesConfig:
    """Which devices share the work; without these, seeds are spread over all that are present."""

    data: int = 1
    """devices that divide every batch of one model among them, each with the whole networks and replay"""
    coordinator: Annotated[str | None, arg(metavar="HOST:PORT")] = None
    """where the first of several processes listens; under SLURM's srun nothing of this is needed"""
    processes: Annotated[int | None, arg(metavar="N")] = None
    """how many processes share the model"""
    process: Annotated[int | None, arg(metavar="I")] = None
    """which of them this one is, from 0 on; 0 has the environments, and writes"""


@dataclass(frozen=True)
class TrainConfig:
    """One run: an experiment with one or several seeds trained in one program."""

    task: Annotated[Positional[str], arg(metavar="TASK", help_behavior_hint="")]
    """walker-walk (DeepMind Control), gym:Ant-v5 (Gymnasium) or toy:point-mass"""
    observations: Literal["proprio", "pixels", "both"] = "proprio"
    """what the agent sees: the environment's own observations, images alone, or both"""
    method: Annotated[str, arg(metavar="{" + ",".join(METHODS) + "}")] = "gpld"
    """gpld: DreamerV3 with the gradient penalty, dreamer: without; dsdpg: critics of the law of return and its action
    gradient, mage: of their means, mmd and iqn: of the return's law alone, td3: of its mean, without a model"""
    size: Annotated[str, arg(metavar="NAME")] = "12m"
    """gpld and dreamer: 1m, 12m, 25m, 50m, 100m, 200m or 400m parameters; others: small, medium or full networks"""
    preset: Annotated[str, arg(metavar="{paper,laptop,demo}")] = "paper"
    """where the defaults come from: the paper's protocol, or shorter ones (an hour, minutes) that are not it"""
    steps: Annotated[int, arg(metavar="N")] = 1_000_000
    """env steps per seed (agent steps times action repeat)"""
    seeds: Annotated[tuple[int, ...], arg(metavar="S …")] = (0,)
    """seeds trained side by side in one program"""
    warm_start: Annotated[Path | None, arg(metavar="RUN")] = None
    """run whose newest checkpoint gives some networks a trained start; all of it is trained on, all else begins anew"""
    warm_start_parts: Annotated[tuple[Part, ...], arg(metavar="PART …")] = ("encoder", "decoder")
    """which networks those are: encoder, decoder, rssm, reward, cont, actor, critic"""
    run: Annotated[Path | None, arg(metavar="DIR")] = None
    """run folder; none: runs/TASK/METHOD-SIZE-HASH"""
    fresh: bool = False
    """delete what the run has left in its folder and start again; a folder that holds other things is left alone"""
    strict_resume: bool = False
    """stop where a checkpoint is damaged, instead of going on with what is whole"""
    compilation_cache: bool = True
    """on an accelerator, keep compiled programs in the user's cache folder"""
    agent: Annotated[AvoidSubcommands[AgentConfig], arg(name="")] = field(default_factory=DreamerConfig)
    """the settings of the method's agent, whose flags are shown for the method that is given with --help"""
    env: EnvConfig = field(default_factory=EnvConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    log: LogConfig = field(default_factory=LogConfig)
    devices: DevicesConfig = field(default_factory=DevicesConfig)

    @property
    def view(self) -> View:
        """What the agent sees, as the environments take it."""
        return View(self.observations, self.env.image_size)


def defaults(
    task: str,
    method: str = "gpld",
    size: str | None = None,
    preset: str = "paper",
    regularizer: str | None = None,
) -> TrainConfig:
    """The config that a preset, a size, a method and a regularizer stand for; None is the preset's, or the method's.

    Raises UserError for an unknown name, with the nearest one.
    """
    if method not in METHODS:
        raise nearest("method", method, METHODS)
    known = METHODS[method]
    for kind, name, options in (("preset", preset, known.presets), ("size", size, known.sizes)):
        if name is not None and name not in options:
            raise nearest(kind, name, options)
    chosen = known.presets[preset]
    agent = chosen.agent if size is None else known.sizes[size](chosen.agent)
    size = size or chosen.size
    agent = known.adapt(agent)
    agent = agent if regularizer is None else regularized(agent, regularizer)
    config = TrainConfig(task=task, method=method, size=size, preset=preset, agent=agent)
    for path, value in chosen.settings.items():
        config = assign(config, path, value)
    return config


def configure(
    task: str,
    *,
    method: str = "gpld",
    size: str | None = None,
    preset: str = "paper",
    settings: Mapping[str, Any] | None = None,
) -> TrainConfig:
    """The config of a run, from Python: `configure("walker-walk", size="1m", settings={"penalty.rho": 0.25})`.

    The keys of `settings` are the flags of `sobolev train`, with underscores: "steps", "batch_size", "model.deter".
    Raises UserError for an unknown key or a value of the wrong type.
    """
    config = defaults(task, method, size, preset, (settings or {}).get("regularizer"))
    for path, value in (settings or {}).items():
        config = assign(config, path, value)
    return config


def checked(config: TrainConfig) -> TrainConfig:
    """The config with every value of the type that its setting has. Raises UserError as `validate` does."""
    config = _decoded(encode(config))
    validate(config)
    return config


def resolved(config: TrainConfig, backend: str | None = None) -> TrainConfig:
    """The config with nothing left open, checked: action repeat from the task, precision from the device.

    `backend` is jax's name of the platform ("cpu", "gpu", "tpu"); None asks jax. Raises UserError as `validate` does.
    """
    config = checked(config)
    if config.env.repeat is None:
        config = assign(config, "env.repeat", default_repeat(config.task))
    if config.agent.precision == "auto":
        config = assign(config, "precision", _precision(backend))
    return config


def _precision(backend: str | None) -> str:
    if backend is None:
        import jax

        backend = jax.default_backend()
    return "float32" if backend == "cpu" else "bfloat16"


ADDED: dict[str, Any] = {
    "strict_resume": False,
    "checkpoint.snapshots": 0,
    "evaluation.max_steps": 10_000,
    "env.observation_noise": 0.0,
    "env.dynamics_noise": 0.0,
    "observations": "proprio",
    "env.image_size": 64,
    "log.dreams": 0,
    "warm_start": None,
    "warm_start_parts": ["encoder", "decoder"],
    "devices": encode(DevicesConfig()),
    "agent.regularizer": "jacobian",
}
"""Settings that the files of earlier versions lack, by path in the JSON tree, with what those versions did.

One that has this value does not count in the name of a run's folder, so that older runs keep theirs.
"""


def to_json(config: TrainConfig) -> str:
    """A config as JSON text; `from_json` gives the same config back, field by field."""
    return codec.to_json(config)


def from_json(text: str) -> TrainConfig:
    """The config that `to_json` wrote, now or before a setting was `ADDED`.

    Raises UserError for unknown, missing or wrong settings.
    """
    return _decoded(codec.tree(text))


def _decoded(tree: Any) -> TrainConfig:
    """The config of a JSON tree, whose method says of what type its agent's settings are."""
    method = tree.get("method", "gpld") if isinstance(tree, dict) else "gpld"
    if method not in METHODS:
        raise nearest("method", str(method), METHODS)
    kind, kinds = METHODS[method].config, {}
    penalty = penalty_type(kind, _regularizer(tree))
    if penalty is not None:
        kinds["agent.penalty"] = penalty
    return decode(TrainConfig, tree, Schema({"agent": kind, **kinds}, ADDED))


def _regularizer(tree: Any) -> str:
    agent = tree.get("agent") if isinstance(tree, dict) else None
    return str(agent.get("regularizer", "jacobian")) if isinstance(agent, dict) else "jacobian"
