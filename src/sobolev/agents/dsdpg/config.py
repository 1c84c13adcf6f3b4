"""The settings of a DSDPG agent.

Of paper 2, only its equations, the numbers of samples and updates (ten each), and the kernel with h = 100 were known
here. Other sizes, rates and fractions, marked "ours", are choices of this project, explained in docs/dsdpg.md.
"""

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt
from tyro.conf import arg

from sobolev.agents.method import Precision
from sobolev.smoothness import CHOICES, JacobianConfig, Maps, Sampling, Schedule
from sobolev.smoothness.config import ScheduleKind, check_all

DiscrepancyKind = Literal["msmmd", "mmd", "sliced", "quantile"]
KernelKind = Literal["multiquadric", "energy", "mixture"]


@dataclass(frozen=True)
class NetworkConfig:
    """Size of a perceptron: hidden layers of equal width with SiLU (ours)."""

    units: Annotated[int, Ge(1)] = 256
    """width of a hidden layer"""
    layers: Annotated[int, Ge(1)] = 2
    """number of hidden layers"""


@dataclass(frozen=True)
class CriticConfig:
    """The critic, a generator Z(s, a, ξ) of samples of the return, and its target."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    noise: Annotated[int, Ge(1)] = 8
    """dimension of ξ ~ N(0, I), an input beside state and action (ours)"""
    draws: Literal["noise", "quantile"] = "noise"
    """how ξ is drawn. noise: normal; quantile: a quantile level τ ~ U(0, 1), encoded as cos(π k τ) for k from 1 to
    --critic.noise, as in IQN"""
    samples: Annotated[int, Ge(2)] = 10
    """number of samples of each critic, and of each target critic, per state (paper 2)"""
    drop: Annotated[float, Ge(0), Lt(1)] = 0.1
    """fraction of the pooled target samples that is dropped, those with the largest returns first (ours)"""
    truncation: Literal["pooled", "critic"] = "pooled"
    """where target samples are dropped: from those of both critics together, or from those of each critic alone, before
    they are pooled (as secondary sources describe paper 2; the paper's text does not settle it)"""
    discount: Annotated[float, Ge(0), Lt(1)] = 0.99
    """discount of returns"""
    rate: Annotated[float, Gt(0), Le(1)] = 0.005
    """fraction of the distance by which target networks move after every update (as in MAGE)"""
    gradient: bool = True
    """train on samples [return; action gradient]; without it on the return alone, an ablation"""
    actions: Literal["policy", "replay"] = "replay"
    """actions at which critics are trained: those of the policy, or those in replay (ours: the better one in
    results/tuning)"""
    spread: Annotated[float, Ge(0)] = 0.3
    """with --critic.actions policy, standard deviation of the normal noise on these actions (ours; paper 2 has no such
    noise, which is 0)"""
    smoothing: Annotated[float, Ge(0)] = 0.0
    """standard deviation of the noise on the target policy's action, clipped to [-1, 1]; 0 for none (0.2 in TD3)"""
    smoothing_clip: Annotated[float, Ge(0)] = 0.5
    """largest absolute value of that noise"""


@dataclass(frozen=True)
class DynamicsConfig:
    """The one-step world model, a conditional variational autoencoder."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    latent: Annotated[int, Ge(1)] = 16
    """dimension of the latent variable z (ours)"""
    beta: Annotated[float, Ge(0)] = 1.0
    """weight of the KL term in the evidence bound (ours)"""
    min_std: Annotated[float, Gt(0)] = 0.01
    """smallest standard deviation of prior, encoder and decoder, in normalised units (ours)"""
    max_std: Annotated[float, Gt(0)] = 2.0
    """largest standard deviation of prior and encoder (ours)"""
    decoder_std: Annotated[float, Gt(0)] = 0.1
    """largest standard deviation of the decoder, learned for each output; larger variation must come from z (ours)"""
    reward: Literal["decoder", "network"] = "decoder"
    """what predicts the reward: the decoder, together with the change of state (paper 2), or a network of its own from
    state, action and change of state, as in MAGE (ours)"""
    memory: Annotated[float, Ge(1)] = 1e6
    """number of replayed steps over which the statistics of state changes are averaged (ours)"""
    warmup: Annotated[int, Ge(0)] = 500
    """number of updates of the model before critics and actor begin to learn from its predictions (ours)"""


@dataclass(frozen=True)
class DiscrepancyConfig:
    """The discrepancy between the critic's samples and the target's."""

    kind: DiscrepancyKind = "msmmd"
    """msmmd: largest MMD over projections on a unit vector; sliced: mean MMD over random projections; mmd: MMD without
    projection; quantile: loss of quantile regression, of returns alone, with --critic.draws quantile"""
    kernel: KernelKind = "multiquadric"
    """multiquadric: -sqrt(1 + h^2 d^2); energy: -d; mixture: sum over s = 1 to 10 of exp(-d^2 / s), as in MMDQN"""
    bandwidth: Annotated[float, Gt(0)] = 100.0
    """h of the multiquadric kernel (paper 2)"""
    unbiased: bool = True
    """leave the kernel of a sample with itself out of the means; included, it favours distributions that are too narrow
    (ours)"""
    gradient_scale: Annotated[float, Ge(0)] = 0.1
    """factor of the gradient's coordinates relative to the return; actions are in [-1, 1]. With too large a factor, the
    worst direction is always one of gradients, and the return is not learned (ours)"""
    direction: Literal["batch", "item"] = "batch"
    """msmmd: one direction for the whole batch, or one for each of its states (ours)"""
    search: Annotated[int, Ge(1)] = 32
    """msmmd: number of states of the batch that are used to find the common direction (ours)"""
    steps: Annotated[int, Ge(1)] = 10
    """msmmd: number of steps of gradient ascent on the sphere (ours)"""
    restarts: Annotated[int, Ge(0)] = 2
    """msmmd: number of random initial directions, beside that of the difference of means (ours)"""
    first_step: Annotated[float, Gt(0)] = 0.5
    """msmmd: length of the first step of the search for a direction, in radians (ours)"""
    last_step: Annotated[float, Gt(0)] = 0.04
    """msmmd: length of the last step, in radians; lengths decrease geometrically (ours)"""
    slices: Annotated[int, Ge(1)] = 16
    """sliced: number of random directions (ours)"""


@dataclass(frozen=True)
class ActorConfig:
    """The deterministic policy."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    delay: Annotated[int, Ge(1)] = 2
    """number of critic updates per actor update (as in TD3)"""


@dataclass(frozen=True)
class ExplorationConfig:
    """The random part of actions in training."""

    noise: Annotated[float, Ge(0)] = 0.1
    """standard deviation of the normal noise on actions, which are in [-1, 1] (as in TD3)"""
    random_steps: Annotated[int, Ge(0)] = 1000
    """number of agent steps with uniformly random actions before the policy acts (as in MAGE)"""


@dataclass(frozen=True)
class AdamConfig:
    """Adam, with a learning rate for each of actor, critics and world model."""

    actor: Annotated[float, Gt(0)] = 3e-4
    """learning rate of the actor (ours)"""
    critic: Annotated[float, Gt(0)] = 3e-4
    """learning rate of the critics (ours)"""
    dynamics: Annotated[float, Gt(0)] = 3e-4
    """learning rate of the world model (ours)"""
    dynamics_clip: Annotated[float, Gt(0)] = 10.0
    """largest norm of the world model's gradient, whose likelihood loss has outliers (ours)"""
    beta1: Annotated[float, Ge(0), Lt(1)] = 0.9
    """decay of the momentum"""
    beta2: Annotated[float, Ge(0), Lt(1)] = 0.999
    """decay of the mean squared gradient"""
    eps: Annotated[float, Gt(0)] = 1e-8
    """added to the root mean squared gradient"""


@dataclass(frozen=True)
class NormalizerConfig:
    """The running statistics that normalise the networks' inputs."""

    min_std: Annotated[float, Gt(0)] = 0.01
    """smallest standard deviation by which an entry of a state is divided (ours)"""
    clip: Annotated[float, Gt(0)] = 10.0
    """normalised entries of states and of their changes are clipped to plus or minus this value (ours)"""


@dataclass(frozen=True)
class Transition(Maps):
    """The transition map of a one-step world model."""

    transition: Annotated[float, Ge(0)] = 0.0
    """initial coefficient of the transition map (s, a) -> s', at least 0; 0 turns the regularizer off"""


@dataclass(frozen=True)
class TransitionPenalty(Schedule, Transition):
    """Settings that all regularizers of the world model have; not part of either paper."""

    schedule: ScheduleKind = "none"
    """how the coefficient decays; custom and values: by the pairs in `custom`"""


@dataclass(frozen=True)
class TransitionJacobian(JacobianConfig, Sampling, TransitionPenalty):
    """Jacobian penalty on the transition map. A coefficient of 0 turns it off."""

    __post_init__ = check_all


@dataclass(frozen=True)
class DSDPGConfig:
    """A DSDPG agent (paper 2)."""

    batch_size: Annotated[int, Ge(1)] = 256
    """number of transitions in the batch of an update (ours)"""
    updates_per_step: Annotated[int, Ge(1)] = 10
    """number of updates per agent step (paper 2)"""
    precision: Precision = "float32"
    """dtype of the networks' products; auto: float32 on a CPU, bfloat16 elsewhere, which is coarse for gradients"""
    critic: CriticConfig = field(default_factory=CriticConfig)
    dynamics: DynamicsConfig = field(default_factory=DynamicsConfig)
    regularizer: Annotated[str, arg(metavar=CHOICES)] = "jacobian"
    """how the world model is regularised; determines which settings --penalty has, and their defaults"""
    penalty: TransitionPenalty = field(default_factory=TransitionJacobian)
    discrepancy: DiscrepancyConfig = field(default_factory=DiscrepancyConfig)
    actor: ActorConfig = field(default_factory=ActorConfig)
    exploration: ExplorationConfig = field(default_factory=ExplorationConfig)
    optimizer: AdamConfig = field(default_factory=AdamConfig)
    normalizer: NormalizerConfig = field(default_factory=NormalizerConfig)


def without_gradients(config: DSDPGConfig) -> DSDPGConfig:
    """The plain MMD critic of paper 2's baselines: the same networks and world model, without gradients in the loss.

    It is trained at replayed actions: at the policy's actions alone, it could not learn how the return depends on them.
    """
    return replace(
        config,
        critic=replace(config.critic, gradient=False, actions="replay"),
        discrepancy=replace(config.discrepancy, kind="mmd"),
    )


def with_quantiles(config: DSDPGConfig) -> DSDPGConfig:
    """The IQN critic of paper 2's baselines (arXiv 1806.06923): `without_gradients`, with quantiles as noise."""
    plain = without_gradients(config)
    critic = replace(plain.critic, draws="quantile")
    return replace(plain, critic=critic, discrepancy=replace(plain.discrepancy, kind="quantile"))
