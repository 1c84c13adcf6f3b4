"""The settings of the sequence replay."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge


@dataclass(frozen=True)
class ReplayConfig:
    """Size and place of the replay buffer."""

    capacity: Annotated[int, Ge(1)] = 5_000_000
    """agent steps stored for one seed, over all its environments; each stores one window at least"""
    memory: Literal["device", "host"] = "device"
    """device: buffers are on the device, and batches never pass through the host; host: observations, actions and
    rewards are in host memory, where the next batch is gathered during an update. Both sample the same windows"""

    def steps_per_environment(self, environments: int, planned: int) -> int:
        """Length of one environment's ring: its share of the capacity, or the planned agent steps if these are fewer.

        environments: number of environments of one seed. planned: number of agent steps that each of them will take.
        """
        return min(self.capacity // environments, planned)
