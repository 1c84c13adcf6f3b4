"""`TrainConfig`, the settings of a run: task, method, agent, environments, replay, evaluation, checkpoints and logs.

Presets and sizes only choose defaults; every field can be set on its own. `resolve.py` builds a config from Python, and
`sobolev.cli.train` the same one from flags.
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
    """env steps after which an evaluation episode is truncated, if its task may never end; its return so far counts"""


@dataclass(frozen=True)
class CheckpointConfig:
    """When a run writes checkpoints."""

    minutes: Annotated[float, Gt(0), Le(math.inf)] = 10.0
    """minutes between two checkpoints; inf for none but the last one, which is always written"""
    snapshots: Annotated[int, Ge(0)] = 0
    """env steps between two copies of the networks, which are kept in RUN/snapshots; 0 for none"""


@dataclass(frozen=True)
class LogConfig:
    """What is logged during training."""

    every: Annotated[int, Ge(1)] = 1000
    """env steps between two lines of metrics"""
    dreams: Annotated[int, Ge(0)] = 20_000
    """env steps between two films or plots of what the world model predicts (RUN/dreams), made at evaluations; 0 for
    none"""
    tensorboard: bool = True
    """write TensorBoard event files beside metrics.jsonl"""
    wandb: str | None = None
    """Weights & Biases project to log to (needs the extra: pip install 'sobolev[wandb]')"""
    sinks: tuple[str, ...] = ()
    """other places to log to: sinks of installed packages, by name, or my_package.my_module:SINK"""


@dataclass(frozen=True)
class DevicesConfig:
    """How devices share the work. By default the seeds are spread over all devices that are present."""

    data: Annotated[int, Ge(1)] = 1
    """devices that divide every batch of one model; each holds all of the networks and of replay"""
    coordinator: Annotated[str | None, arg(metavar="HOST:PORT")] = None
    """HOST:PORT of the first of several processes; not needed under SLURM's srun"""
    processes: Annotated[Annotated[int, Ge(1)] | None, arg(metavar="N")] = None
    """number of processes that share the model; not needed under srun"""
    process: Annotated[Annotated[int, Ge(0)] | None, arg(metavar="I")] = None
    """number of this process, from 0; not needed under srun. Process 0 steps the environments and writes the files"""


@dataclass(frozen=True)
class TrainConfig(Generic[C]):
    """The settings of one run, which trains one or more seeds in one program. C: the type of the agent's settings."""

    task: Annotated[Positional[str], arg(metavar="TASK", help_behavior_hint="")]
    """walker-walk (DeepMind Control), gym:Ant-v5 (Gymnasium), toy:point-mass, or my_package.my_module:FAMILY:NAME"""
    observations: Literal["proprio", "pixels", "both"] = "proprio"
    """what the agent observes: proprio, the environment's own observations; pixels, images only; or both"""
    method: Annotated[str, arg(metavar="NAME")] = "gpld"
    """the algorithm: one of the methods above, one of an installed package, or my_package.my_module:METHOD"""
    size: Annotated[str, arg(metavar="NAME")] = "12m"
    """size of the networks; the method determines the choices (see above)"""
    preset: Annotated[str, arg(metavar="NAME")] = "paper"
    """set of defaults; the method determines the choices (see above). Methods of sobolev have paper, the paper's
    protocol, and laptop and demo, runs of about an hour and of minutes on a CPU"""
    steps: Annotated[int, Ge(1), arg(metavar="N")] = 1_000_000
    """env steps per seed (agent steps times action repeat)"""
    seeds: Annotated[tuple[int, ...], arg(metavar="S …")] = (0,)
    """seeds to train, all in one program"""
    warm_start: Annotated[Path | None, arg(metavar="RUN")] = None
    """run whose newest checkpoint initialises some of the networks; these are trained further, the others start anew"""
    warm_start_parts: Annotated[tuple[str, ...], arg(metavar="PART …")] = ()
    """networks that --warm-start initialises; the method determines the choices and the default (see above)"""
    run: Annotated[Path | None, arg(metavar="DIR")] = None
    """folder of the run; none: runs/TASK/METHOD-SIZE-HASH"""
    fresh: bool = False
    """delete what an earlier run left in the folder, and start over; refused if the folder holds other files"""
    strict_resume: bool = False
    """stop if a checkpoint is damaged, instead of resuming from its undamaged parts"""
    compilation_cache: bool = True
    """keep compiled programs in the user's cache folder, for later runs"""
    agent: Annotated[C, arg(name="")] = field(kw_only=True)
    """settings of the agent; they depend on --method"""
    env: EnvConfig = field(default_factory=EnvConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    log: LogConfig = field(default_factory=LogConfig)
    devices: DevicesConfig = field(default_factory=DevicesConfig)

    @property
    def view(self) -> View:
        """The observations that the environments return."""
        return View(self.observations, self.env.image_size)
