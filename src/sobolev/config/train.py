"""What defines a run: task, method, agent, environments, replay, and what is watched on the way.

Presets and sizes only choose defaults; every field can be set on its own. `resolve.py` builds a config, the command
line builds the same one from flags.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Generic, Literal

from annotated_types import Ge, Gt, Le
from typing_extensions import TypeVar
from tyro.conf import Positional, arg

from sobolev.agents.method import AgentConfig
from sobolev.envs import View
from sobolev.envs.config import EnvConfig
from sobolev.replay.config import ReplayConfig

C = TypeVar("C", bound=AgentConfig, default=AgentConfig)


@dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation during training."""

    every: Annotated[int, Ge(1)] = 5000
    """env steps between two evaluations"""
    episodes: Annotated[int, Ge(0)] = 3
    """episodes of one evaluation; 0 turns it off"""
    max_steps: Annotated[int, Ge(1)] = 10_000
    """env steps after which an evaluation episode is truncated, for tasks without an end; its return so far counts"""


@dataclass(frozen=True)
class CheckpointConfig:
    """When a run is saved."""

    minutes: Annotated[float, Gt(0), Le(math.inf)] = 10.0
    """minutes between two checkpoints, inf for none on the way; one more is written at the end"""
    snapshots: Annotated[int, Ge(0)] = 0
    """env steps between two copies of the networks, kept for good in RUN/snapshots; 0 keeps none"""


@dataclass(frozen=True)
class LogConfig:
    """What is written down on the way."""

    every: Annotated[int, Ge(1)] = 1000
    """env steps between two lines of metrics"""
    dreams: Annotated[int, Ge(0)] = 20_000
    """env steps between two looks at what the world model predicts (RUN/dreams), taken at evaluations; 0 for none"""
    tensorboard: bool = True
    """write TensorBoard event files beside metrics.jsonl"""
    wandb: str | None = None
    """Weights & Biases project to log to (needs the extra: pip install 'sobolev[wandb]')"""
    sinks: tuple[str, ...] = ()
    """further places to log to: sinks of installed packages, or my_package.my_module:SINK"""


@dataclass(frozen=True)
class DevicesConfig:
    """Which devices share the work; without these, seeds are spread over all that are present."""

    data: Annotated[int, Ge(1)] = 1
    """devices that divide every batch of one model among them, each with the whole networks and replay"""
    coordinator: Annotated[str | None, arg(metavar="HOST:PORT")] = None
    """where the first of several processes listens; under SLURM's srun nothing of this is needed"""
    processes: Annotated[Annotated[int, Ge(1)] | None, arg(metavar="N")] = None
    """how many processes share the model"""
    process: Annotated[Annotated[int, Ge(0)] | None, arg(metavar="I")] = None
    """which of them this one is, from 0 on; 0 has the environments, and writes"""


@dataclass(frozen=True)
class TrainConfig(Generic[C]):
    """One run: an experiment with one or several seeds trained in one program. C: the settings of its agent."""

    task: Annotated[Positional[str], arg(metavar="TASK", help_behavior_hint="")]
    """walker-walk (DeepMind Control), gym:Ant-v5 (Gymnasium), toy:point-mass, or my_package.my_module:FAMILY:NAME"""
    observations: Literal["proprio", "pixels", "both"] = "proprio"
    """what the agent sees: the environment's own observations, images alone, or both"""
    method: Annotated[str, arg(metavar="NAME")] = "gpld"
    """how the agent learns: one of the methods above, of an installed package, or my_package.my_module:METHOD"""
    size: Annotated[str, arg(metavar="NAME")] = "12m"
    """how large its networks are; which sizes there are depends on the method (see above)"""
    preset: Annotated[str, arg(metavar="NAME")] = "paper"
    """where the defaults come from: paper, its protocol; laptop and demo, shorter ones (an hour, minutes)"""
    steps: Annotated[int, Ge(1), arg(metavar="N")] = 1_000_000
    """env steps per seed (agent steps times action repeat)"""
    seeds: Annotated[tuple[int, ...], arg(metavar="S …")] = (0,)
    """seeds trained side by side in one program"""
    warm_start: Annotated[Path | None, arg(metavar="RUN")] = None
    """run whose newest checkpoint gives some networks a trained start; all is trained further, the rest starts fresh"""
    warm_start_parts: Annotated[tuple[str, ...], arg(metavar="PART …")] = ()
    """which networks those are; for gpld and dreamer encoder, decoder (both of these unless others are given), rssm,
    reward, cont, actor, critic"""
    run: Annotated[Path | None, arg(metavar="DIR")] = None
    """run folder; none: runs/TASK/METHOD-SIZE-HASH"""
    fresh: bool = False
    """delete what the run has left in its folder and start again; a folder that holds other things is left alone"""
    strict_resume: bool = False
    """stop where a checkpoint is damaged, instead of resuming with what is whole"""
    compilation_cache: bool = True
    """keep compiled programs in the user's cache folder, where the next run finds them"""
    agent: Annotated[C, arg(name="")] = field(kw_only=True)
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
