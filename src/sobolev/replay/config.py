"""The settings of the sequence replay."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge


@dataclass(frozen=True)
class ReplayConfig:
    """How much replay holds, and where."""

    capacity: Annotated[int, Ge(1)] = 5_000_000
    """agent steps stored over all environments of one seed, at least one window per environment"""
    memory: Literal["device", "host"] = "device"
    """device: buffers live beside the model, and no batch visits the host; host: what was observed and done lies in
    host memory, and an accelerator's next batch is gathered while it updates. Does not change what is sampled"""

    def steps_per_environment(self, environments: int, planned: int) -> int:
        """Length of one environment's ring: its share of the capacity, or the planned agent steps if these are fewer.

        environments, planned: numbers of environments of one seed, and of agent steps that each will take."""
        return min(self.capacity // environments, planned)
