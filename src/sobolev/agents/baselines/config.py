"""What defines a TD3 and a MAGE agent: deterministic critics on the same base networks as DSDPG's.

MAGE's numbers are its paper's and public code's (arXiv 2004.14309); TD3's are those of arXiv 1802.09477 but for the
Huber loss and the ten updates per step, which it shares with the others here.
"""

from dataclasses import dataclass, field

from sobolev.agents.dsdpg.config import ActorConfig, ExplorationConfig, NetworkConfig, NormalizerConfig


@dataclass(frozen=True)
class ValueConfig:
    """Two critics Q(s, a) and their targets."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    discount: float = 0.99
    rate: float = 0.005
    """share by which target networks move"""
    smoothing: float = 0.2
    """standard deviation of the noise on the target policy's action"""
    smoothing_clip: float = 0.5
    """largest such noise"""


@dataclass(frozen=True)
class RatesConfig:
    """Adam for actor and critics."""

    actor: float = 3e-4
    """learning rate of the actor"""
    critic: float = 3e-4
    """learning rate of the critics"""
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8


@dataclass(frozen=True)
class TD3Config:
    """Twin delayed deterministic policy gradient, with Huber loss."""

    batch_size: int = 256
    """transitions of one update"""
    updates_per_step: int = 10
    """updates per agent step"""
    precision: str = "float32"
    """float32 or bfloat16 of the networks' products; auto: bfloat16 off the CPU"""
    critic: ValueConfig = field(default_factory=ValueConfig)
    actor: ActorConfig = field(default_factory=ActorConfig)
    exploration: ExplorationConfig = field(default_factory=ExplorationConfig)
    optimizer: RatesConfig = field(default_factory=RatesConfig)
    normalizer: NormalizerConfig = field(default_factory=NormalizerConfig)


@dataclass(frozen=True)
class EnsembleConfig:
    """The world model: an ensemble of networks for the law of Δs, one network for the reward, one for the end."""

    network: NetworkConfig = field(default_factory=lambda: NetworkConfig(512, 4))
    members: int = 8
    """networks of the ensemble; batch_size must be a multiple of it"""
    low: float = -5.0
    """smallest log-variance of a normalised Δs"""
    high: float = -1.0
    """largest one"""
    reward: NetworkConfig = field(default_factory=lambda: NetworkConfig(256, 3))
    """of the reward and, ours, of the end of the episode, which MAGE takes for known"""
    batch_size: int = 256
    """transitions of one update of a member; each draws its own"""
    every: int = 25
    """agent steps between two trainings of the model"""
    batches: int = 120
    """updates of one training"""
    learning_rate: float = 1e-4
    weight_decay: float = 1e-4
    clip: float = 5.0
    """largest entry of a gradient"""
    memory: float = 1e6
    """number of replayed steps over which the statistics of state changes are averaged (ours)"""


@dataclass(frozen=True)
class GradientConfig:
    """The critic's loss, Huber(δ) + weight · Huber(‖∇_a δ‖), and when it counts as diverged."""

    weight: float = 5.0
    """weight of the action-gradient term; 0 is TD learning on imagined transitions"""
    clip: float = 5.0
    """largest entry of a gradient of actor or critics"""
    reset_critic: float = 100.0
    """actor and critics begin anew where the mean of Huber(δ) is above this"""
    reset_actor: float = 1e5
    """or where the mean value of the policy's actions is beyond this"""


@dataclass(frozen=True)
class MAGEConfig:
    """Model-based action-gradient-estimator policy optimisation."""

    batch_size: int = 1024
    """imagined transitions of one update"""
    updates_per_step: int = 10
    """updates per agent step"""
    precision: str = "float32"
    """float32 or bfloat16 of the networks' products; auto: bfloat16 off the CPU"""
    critic: ValueConfig = field(default_factory=lambda: ValueConfig(NetworkConfig(384, 2)))
    gradient: GradientConfig = field(default_factory=GradientConfig)
    ensemble: EnsembleConfig = field(default_factory=EnsembleConfig)
    actor: ActorConfig = field(default_factory=lambda: ActorConfig(NetworkConfig(384, 2)))
    exploration: ExplorationConfig = field(default_factory=ExplorationConfig)
    optimizer: RatesConfig = field(default_factory=lambda: RatesConfig(1e-4, 1e-4))
    normalizer: NormalizerConfig = field(default_factory=NormalizerConfig)
