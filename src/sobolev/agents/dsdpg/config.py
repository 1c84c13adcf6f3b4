"""What defines a DSDPG agent.

Paper 2 was not at hand: what is known of it are its equations, the ten samples and updates, and the kernel with h =
100. Sizes, rates and shares (marked "ours") are choices of this project, explained in docs/dsdpg.md.
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
    """A perceptron: hidden layers of equal width with SiLU (ours)."""

    units: Annotated[int, Ge(1)] = 256
    """width of a hidden layer"""
    layers: Annotated[int, Ge(1)] = 2
    """number of hidden layers"""


@dataclass(frozen=True)
class CriticConfig:
    """The generator Z(s, a, ξ) and its target."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    noise: Annotated[int, Ge(1)] = 8
    """dimensions of ξ ~ N(0, I), which joins state and action at the input (ours)"""
    draws: Literal["noise", "quantile"] = "noise"
    """what ξ is: normal noise, or features cos(π k τ), k = 1 … noise, of a quantile τ ~ U(0, 1) (IQN)"""
    samples: Annotated[int, Ge(2)] = 10
    """samples of each critic, and of each target critic, per state (paper 2)"""
    drop: Annotated[float, Ge(0), Lt(1)] = 0.1
    """share of the pooled target samples that is dropped, largest returns first, their gradients with them (ours)"""
    discount: Annotated[float, Ge(0), Lt(1)] = 0.99
    """discount of returns"""
    rate: Annotated[float, Gt(0), Le(1)] = 0.005
    """share by which target networks move after every update (MAGE's)"""
    gradient: bool = True
    """train on [return; action gradient]; without it on the return alone, an ablation"""
    actions: Literal["policy", "replay"] = "policy"
    """where a critic is trained: at the policy's own actions, or at those in replay"""
    spread: Annotated[float, Ge(0)] = 0.3
    """standard deviation of the normal noise on the policy's actions there; 0 for none, as in the paper (ours)"""
    smoothing: Annotated[float, Ge(0)] = 0.0
    """standard deviation of the noise on the target policy's action; 0 for none (TD3 has 0.2)"""
    smoothing_clip: Annotated[float, Ge(0)] = 0.5
    """largest such noise"""


@dataclass(frozen=True)
class DynamicsConfig:
    """The one-step world model, a conditional variational autoencoder."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    latent: Annotated[int, Ge(1)] = 16
    """dimensions of z (ours)"""
    beta: Annotated[float, Ge(0)] = 1.0
    """weight of the KL term in the evidence bound (ours)"""
    min_std: Annotated[float, Gt(0)] = 0.01
    """smallest standard deviation of prior, encoder and decoder, in normalised units (ours)"""
    max_std: Annotated[float, Gt(0)] = 2.0
    """largest one of prior and encoder (ours)"""
    decoder_std: Annotated[float, Gt(0)] = 0.1
    """largest one of the decoder, which is learned for each output: what varies more has to pass through z (ours)"""
    memory: Annotated[float, Ge(1)] = 1e6
    """number of replayed steps over which the statistics of state changes are averaged (ours)"""
    warmup: Annotated[int, Ge(0)] = 500
    """updates of the model before critics and actor are trained on what it imagines (ours)"""


@dataclass(frozen=True)
class DiscrepancyConfig:
    """How far the critic's samples are from the target's."""

    kind: DiscrepancyKind = "msmmd"
    """msmmd: largest MMD over projections on a unit vector; sliced: mean over random ones; mmd: without projection;
    quantile: the loss of quantile regression, on returns alone and for --critic.draws quantile"""
    kernel: KernelKind = "multiquadric"
    """multiquadric: -sqrt(1 + h^2 d^2); energy: -d; mixture: sum over s = 1 to 10 of exp(-d^2 / s) (MMDQN's)"""
    bandwidth: Annotated[float, Gt(0)] = 100.0
    """h of the multiquadric kernel (paper 2)"""
    unbiased: bool = True
    """leave a sample's kernel with itself out of the means; with it, the loss favours distributions that are too narrow
    (ours)"""
    gradient_scale: Annotated[float, Ge(0)] = 0.1
    """what gradient coordinates are multiplied by beside the return; actions are in [-1, 1]. Where gradients are the
    larger ones, the worst direction is theirs, and nothing learns the return (ours)"""
    direction: Literal["batch", "item"] = "batch"
    """msmmd: one direction for the whole batch, or one for each of its states (ours)"""
    search: Annotated[int, Ge(1)] = 32
    """msmmd: states of the batch in which the one direction is searched for (ours)"""
    steps: Annotated[int, Ge(1)] = 10
    """msmmd: steps of gradient ascent on the sphere (ours)"""
    restarts: Annotated[int, Ge(0)] = 2
    """msmmd: random directions to start from, beside that of the difference of means (ours)"""
    first_step: Annotated[float, Gt(0)] = 0.5
    """msmmd: length of the first step, in radians (ours)"""
    last_step: Annotated[float, Gt(0)] = 0.04
    """msmmd: length of the last step; lengths fall geometrically (ours)"""
    slices: Annotated[int, Ge(1)] = 16
    """sliced: random directions (ours)"""


@dataclass(frozen=True)
class ActorConfig:
    """The deterministic policy."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    delay: Annotated[int, Ge(1)] = 2
    """updates of the critics per update of the actor (TD3's)"""


@dataclass(frozen=True)
class ExplorationConfig:
    """How training actions differ from the policy's."""

    noise: Annotated[float, Ge(0)] = 0.1
    """standard deviation of the normal noise on actions in [-1, 1] (TD3's)"""
    random_steps: Annotated[int, Ge(0)] = 1000
    """agent steps with uniform random actions before the policy acts (MAGE's)"""


@dataclass(frozen=True)
class AdamConfig:
    """Adam, one for each of actor, critics and model."""

    actor: Annotated[float, Gt(0)] = 3e-4
    """learning rate of the actor (ours)"""
    critic: Annotated[float, Gt(0)] = 3e-4
    """learning rate of the critics (ours)"""
    dynamics: Annotated[float, Gt(0)] = 3e-4
    """learning rate of the world model (ours)"""
    dynamics_clip: Annotated[float, Gt(0)] = 10.0
    """largest norm of the model's gradient, whose likelihood knows outliers; a critic's loss grows linearly (ours)"""
    beta1: Annotated[float, Ge(0), Lt(1)] = 0.9
    """decay of the momentum"""
    beta2: Annotated[float, Ge(0), Lt(1)] = 0.999
    """decay of the mean squared gradient"""
    eps: Annotated[float, Gt(0)] = 1e-8
    """added to the root mean squared gradient"""


@dataclass(frozen=True)
class NormalizerConfig:
    """Running statistics of what networks see."""

    min_std: Annotated[float, Gt(0)] = 0.01
    """smallest standard deviation that a state's entry is divided by (ours)"""
    clip: Annotated[float, Gt(0)] = 10.0
    """normalised entries of states and of their changes are cut to plus or minus this (ours)"""


@dataclass(frozen=True)
class Transition(Maps):
    """The map that a one-step world model is."""

    transition: Annotated[float, Ge(0)] = 0.0
    """initial coefficient of the transition map (s, a) -> s', at least 0; 0 turns the regularizer off"""


@dataclass(frozen=True)
class TransitionPenalty(Schedule, Transition):
    """What all regularizers of the world model have in common; a part of neither paper."""

    schedule: ScheduleKind = "none"
    """decay of the coefficient; custom: values at update numbers, given in `custom`"""


@dataclass(frozen=True)
class TransitionJacobian(JacobianConfig, Sampling, TransitionPenalty):
    """Jacobian penalty on the transition map. A coefficient of zero turns it off."""

    __post_init__ = check_all


@dataclass(frozen=True)
class DSDPGConfig:
    """A DSDPG agent (paper 2)."""

    batch_size: Annotated[int, Ge(1)] = 256
    """steps of one update (ours)"""
    updates_per_step: Annotated[int, Ge(1)] = 10
    """updates per agent step (paper 2)"""
    precision: Precision = "float32"
    """float32 or bfloat16 of the networks' products; auto: bfloat16 off the CPU, whose digits are few for gradients"""
    critic: CriticConfig = field(default_factory=CriticConfig)
    dynamics: DynamicsConfig = field(default_factory=DynamicsConfig)
    regularizer: Annotated[str, arg(metavar=CHOICES)] = "jacobian"
    """how the world model is made smooth; chooses the defaults of --penalty, and what is set there"""
    penalty: TransitionPenalty = field(default_factory=TransitionJacobian)
    discrepancy: DiscrepancyConfig = field(default_factory=DiscrepancyConfig)
    actor: ActorConfig = field(default_factory=ActorConfig)
    exploration: ExplorationConfig = field(default_factory=ExplorationConfig)
    optimizer: AdamConfig = field(default_factory=AdamConfig)
    normalizer: NormalizerConfig = field(default_factory=NormalizerConfig)


def without_gradients(config: DSDPGConfig) -> DSDPGConfig:
    """The plain MMD critic of paper 2's baselines: same networks and model, no derivatives in the loss.

    It is trained at replayed actions, since at the policy's alone it would not see what actions do.
    """
    return replace(
        config,
        critic=replace(config.critic, gradient=False, actions="replay"),
        discrepancy=replace(config.discrepancy, kind="mmd"),
    )


def with_quantiles(config: DSDPGConfig) -> DSDPGConfig:
    """The IQN critic of paper 2's baselines (arXiv 1806.06923): `without_gradients`, and quantiles for the noise."""
    plain = without_gradients(config)
    critic = replace(plain.critic, draws="quantile")
    return replace(plain, critic=critic, discrepancy=replace(plain.discrepancy, kind="quantile"))
