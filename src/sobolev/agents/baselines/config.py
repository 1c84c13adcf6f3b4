"""The settings of TD3 and MAGE agents, which have deterministic critics and the same networks as DSDPG.

MAGE's numbers are those of its paper and public code (arXiv 2004.14309). TD3's are those of arXiv 1802.09477, except
for the Huber loss and the ten updates per step, as in the other methods here.
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
    """fraction of the distance by which target networks move in an update"""
    smoothing: Annotated[float, Ge(0)] = 0.2
    """standard deviation of the noise on the target policy's action"""
    smoothing_clip: Annotated[float, Ge(0)] = 0.5
    """largest absolute value of that noise"""


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
    """number of transitions in the batch of an update"""
    updates_per_step: Annotated[int, Ge(1)] = 10
    """number of updates per agent step"""
    precision: Precision = "float32"
    """dtype of the networks' products; auto: float32 on a CPU, bfloat16 elsewhere"""
    critic: ValueConfig = field(default_factory=ValueConfig)
    actor: ActorConfig = field(default_factory=ActorConfig)
    exploration: ExplorationConfig = field(default_factory=ExplorationConfig)
    optimizer: RatesConfig = field(default_factory=RatesConfig)
    normalizer: NormalizerConfig = field(default_factory=NormalizerConfig)


@dataclass(frozen=True)
class EnsembleConfig:
    """The world model: an ensemble for the distribution of Δs, networks for the reward and the end of the episode."""

    network: NetworkConfig = field(default_factory=lambda: NetworkConfig(512, 4))
    members: Annotated[int, Ge(1)] = 8
    """number of networks in the ensemble; the agent's batch_size must be a multiple of it"""
    low: Annotated[float, Ge(-20), Le(20)] = -5.0
    """smallest log-variance of a normalised Δs"""
    high: Annotated[float, Ge(-20), Le(20)] = -1.0
    """largest log-variance of a normalised Δs"""
    reward: NetworkConfig = field(default_factory=lambda: NetworkConfig(256, 3))
    """network of the reward and (ours) of the end of the episode, which MAGE assumes to be known"""
    batch_size: Annotated[int, Ge(1)] = 256
    """number of transitions in the batch of a member's update; every member has its own batch"""
    every: Annotated[int, Ge(1)] = 25
    """number of agent steps between two trainings of the model"""
    batches: Annotated[int, Ge(1)] = 120
    """number of updates in a training of the model"""
    learning_rate: Annotated[float, Gt(0)] = 1e-4
    """learning rate of the model"""
    weight_decay: Annotated[float, Ge(0)] = 1e-4
    """weight decay of the model"""
    clip: Annotated[float, Gt(0)] = 5.0
    """largest absolute value of an entry of the model's gradient"""
    memory: Annotated[float, Ge(1)] = 1e6
    """number of replayed steps over which the statistics of state changes are averaged (ours)"""


@dataclass(frozen=True)
class GradientConfig:
    """The critics' loss, Huber(δ) + weight · Huber(‖∇_a δ‖), and limits beyond which learning has diverged."""

    weight: Annotated[float, Ge(0)] = 5.0
    """weight of the action-gradient term; 0 is TD learning on imagined transitions"""
    clip: Annotated[float, Gt(0)] = 5.0
    """largest absolute value of an entry of the gradients of actor and critics"""
    reset_critic: Annotated[float, Gt(0)] = 100.0
    """mean of Huber(δ) above which actor and critics are initialized again"""
    reset_actor: Annotated[float, Gt(0)] = 1e5
    """absolute mean value of the policy's actions above which actor and critics are initialized again"""


@dataclass(frozen=True)
class MAGEConfig:
    """Model-based action-gradient-estimator policy optimisation."""

    batch_size: Annotated[int, Ge(1)] = 1024
    """number of imagined transitions in the batch of an update"""
    updates_per_step: Annotated[int, Ge(1)] = 10
    """number of updates per agent step"""
    precision: Precision = "float32"
    """dtype of the networks' products; auto: float32 on a CPU, bfloat16 elsewhere"""
    critic: ValueConfig = field(default_factory=lambda: ValueConfig(NetworkConfig(384, 2)))
    gradient: GradientConfig = field(default_factory=GradientConfig)
    ensemble: EnsembleConfig = field(default_factory=EnsembleConfig)
    actor: ActorConfig = field(default_factory=lambda: ActorConfig(NetworkConfig(384, 2)))
    exploration: ExplorationConfig = field(default_factory=ExplorationConfig)
    optimizer: RatesConfig = field(default_factory=lambda: RatesConfig(1e-4, 1e-4))
    normalizer: NormalizerConfig = field(default_factory=NormalizerConfig)
