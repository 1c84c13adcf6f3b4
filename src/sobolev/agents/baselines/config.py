"""What defines a TD3 and a MAGE agent: deterministic critics on the same base networks as DSDPG's.

MAGE's numbers are its paper's and public code's (arXiv 2004.14309); TD3's are those of arXiv 1802.09477 but for the
Huber loss and the ten updates per step, which it shares with the others here.
"""

from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

from sobolev.agents.dsdpg.config import ActorConfig, ExplorationConfig, NetworkConfig, NormalizerConfig
from sobolev.agents.method import Precision


@dataclass(frozen=True)
class ValueConfig:
    """Two critics Q(s, a) and their targets."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    discount: Annotated[float, Ge(0), Lt(1)] = 0.99
    """discount of returns"""
    rate: Annotated[float, Gt(0), Le(1)] = 0.005
    """share by which target networks move"""
    smoothing: Annotated[float, Ge(0)] = 0.2
    """standard deviation of the noise on the target policy's action"""
    smoothing_clip: Annotated[float, Ge(0)] = 0.5
    """largest such noise"""


@dataclass(frozen=True)
class RatesConfig:
    """Adam for actor and critics."""

    actor: Annotated[float, Gt(0)] = 3e-4
    """learning rate of the actor"""
    critic: Annotated[float, Gt(0)] = 3e-4
    """learning rate of the critics"""
    beta1: Annotated[float, Ge(0), Lt(1)] = 0.9
    """decay of the momentum"""
    beta2: Annotated[float, Ge(0), Lt(1)] = 0.999
    """decay of the mean squared gradient"""
    eps: Annotated[float, Gt(0)] = 1e-8
    """added to the root mean squared gradient"""


@dataclass(frozen=True)
class TD3Config:
    """Twin delayed deterministic policy gradient, with Huber loss."""

    batch_size: Annotated[int, Ge(1)] = 256
    """transitions of one update"""
    updates_per_step: Annotated[int, Ge(1)] = 10
    """updates per agent step"""
    precision: Precision = "float32"
    """float32 or bfloat16 of the networks' products; auto: bfloat16 off the CPU"""
    critic: ValueConfig = field(default_factory=ValueConfig)
    actor: ActorConfig = field(default_factory=ActorConfig)
    exploration: ExplorationConfig = field(default_factory=ExplorationConfig)
    optimizer: RatesConfig = field(default_factory=RatesConfig)
    normalizer: NormalizerConfig = field(default_factory=NormalizerConfig)


@dataclass(frozen=True)
class EnsembleConfig:
    """The world model: an ensemble for the distribution of Δs, one network for the reward, one for the end."""

    network: NetworkConfig = field(default_factory=lambda: NetworkConfig(512, 4))
    members: Annotated[int, Ge(1)] = 8
    """networks of the ensemble; batch_size must be a multiple of it"""
    low: Annotated[float, Ge(-20), Le(20)] = -5.0
    """smallest log-variance of a normalised Δs"""
    high: Annotated[float, Ge(-20), Le(20)] = -1.0
    """largest one"""
    reward: NetworkConfig = field(default_factory=lambda: NetworkConfig(256, 3))
    """of the reward and, ours, of the end of the episode, which MAGE takes for known"""
    batch_size: Annotated[int, Ge(1)] = 256
    """transitions of one update of a member; each draws its own"""
    every: Annotated[int, Ge(1)] = 25
    """agent steps between two trainings of the model"""
    batches: Annotated[int, Ge(1)] = 120
    """updates of one training"""
    learning_rate: Annotated[float, Gt(0)] = 1e-4
    """learning rate of the model"""
    weight_decay: Annotated[float, Ge(0)] = 1e-4
    """weight decay of the model"""
    clip: Annotated[float, Gt(0)] = 5.0
    """largest entry of a gradient"""
    memory: Annotated[float, Ge(1)] = 1e6
    """number of replayed steps over which the statistics of state changes are averaged (ours)"""


@dataclass(frozen=True)
class GradientConfig:
    """The critic's loss, Huber(δ) + weight · Huber(‖∇_a δ‖), and when it counts as diverged."""

    weight: Annotated[float, Ge(0)] = 5.0
    """weight of the action-gradient term; 0 is TD learning on imagined transitions"""
    clip: Annotated[float, Gt(0)] = 5.0
    """largest entry of a gradient of actor or critics"""
    reset_critic: Annotated[float, Gt(0)] = 100.0
    """actor and critics are initialized again where the mean of Huber(δ) is above this"""
    reset_actor: Annotated[float, Gt(0)] = 1e5
    """or where the mean value of the policy's actions is beyond this"""


@dataclass(frozen=True)
class MAGEConfig:
    """Model-based action-gradient-estimator policy optimisation."""

    batch_size: Annotated[int, Ge(1)] = 1024
    """imagined transitions of one update"""
    updates_per_step: Annotated[int, Ge(1)] = 10
    """updates per agent step"""
    precision: Precision = "float32"
    """float32 or bfloat16 of the networks' products; auto: bfloat16 off the CPU"""
    critic: ValueConfig = field(default_factory=lambda: ValueConfig(NetworkConfig(384, 2)))
    gradient: GradientConfig = field(default_factory=GradientConfig)
    ensemble: EnsembleConfig = field(default_factory=EnsembleConfig)
    actor: ActorConfig = field(default_factory=lambda: ActorConfig(NetworkConfig(384, 2)))
    exploration: ExplorationConfig = field(default_factory=ExplorationConfig)
    optimizer: RatesConfig = field(default_factory=lambda: RatesConfig(1e-4, 1e-4))
    normalizer: NormalizerConfig = field(default_factory=NormalizerConfig)
