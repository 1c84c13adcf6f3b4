"""Environments: DeepMind Control ("walker-walk"), Gymnasium ("gym:Ant-v5") and toys, and `VectorEnv`, which steps many.

This package does not depend on agents. Importing it loads neither jax nor a physics engine.
"""

from sobolev.envs.catalog import check_task, default_repeat, make, tasks
from sobolev.envs.config import EnvConfig, worker_count
from sobolev.envs.failures import WorkerError
from sobolev.envs.family import Family
from sobolev.envs.processes.workers import Workers
from sobolev.envs.specs import ActionScale, ArraySpec, Environment, Spaces, Step, build_spaces
from sobolev.envs.vector import Records, Transition, VectorEnv
from sobolev.envs.wrappers.noise import Kicks, Noise
from sobolev.envs.wrappers.view import View

__all__ = [
    "ActionScale",
    "ArraySpec",
    "EnvConfig",
    "Environment",
    "Family",
    "Kicks",
    "Noise",
    "Records",
    "Spaces",
    "Step",
    "Transition",
    "VectorEnv",
    "View",
    "WorkerError",
    "Workers",
    "build_spaces",
    "check_task",
    "default_repeat",
    "make",
    "tasks",
    "worker_count",
]
