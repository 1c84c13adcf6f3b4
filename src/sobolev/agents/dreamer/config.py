"""The settings of a Dreamer agent, with the protocol of paper 1 (Table 2) as defaults."""

from dataclasses import dataclass, field, replace
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt
from tyro.conf import arg

from sobolev.agents.method import Precision
from sobolev.smoothness import CHOICES, LatentPenalty, PenaltyConfig, coefficients


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the networks. `--size` sets the first five; the others are the same for every size."""

    deter: Annotated[int, Ge(1)] = 2048
    """width of the recurrent state (deter)"""
    hidden: Annotated[int, Ge(1)] = 256
    """width of the hidden layers in the recurrent model"""
    classes: Annotated[int, Ge(2), Le(256)] = 16
    """classes C of one categorical latent; replay stores one in a byte"""
    units: Annotated[int, Ge(1)] = 256
    """width of encoder, decoder and heads"""
    depth: Annotated[int, Ge(1)] = 16
    """unit of the convolutions' numbers of channels, for images"""
    rows: Annotated[int, Ge(1)] = 32
    """number K of categorical latents"""
    blocks: Annotated[int, Ge(1)] = 8
    """blocks G of the recurrent layers"""
    unimix: Annotated[float, Ge(0), Lt(1)] = 0.01
    """weight of the uniform distribution that is mixed into every categorical latent"""
    encoder_layers: Annotated[int, Ge(1)] = 3
    """hidden layers of the encoder of vectors"""
    decoder_layers: Annotated[int, Ge(1)] = 3
    """hidden layers of the decoder of vectors"""
    prior_layers: Annotated[int, Ge(1)] = 2
    """hidden layers of the prior"""
    posterior_layers: Annotated[int, Ge(1)] = 1
    """hidden layers of the posterior"""
    reward_layers: Annotated[int, Ge(1)] = 1
    """hidden layers of the reward head"""
    continue_layers: Annotated[int, Ge(1)] = 1
    """hidden layers of the continue head"""
    actor_layers: Annotated[int, Ge(1)] = 3
    """hidden layers of the actor"""
    critic_layers: Annotated[int, Ge(1)] = 3
    """hidden layers of the critic"""
    bins: Annotated[int, Ge(3)] = 255
    """number of bins of the two-hot heads"""


SIZES: dict[str, ModelConfig] = {
    name: ModelConfig(deter=deter, hidden=hidden, classes=classes, units=hidden, depth=classes)
    for name, deter, hidden, classes in (
        ("1m", 512, 64, 4),
        ("12m", 2048, 256, 16),
        ("25m", 3072, 384, 24),
        ("50m", 4096, 512, 32),
        ("100m", 6144, 768, 48),
        ("200m", 8192, 1024, 64),
        ("400m", 12288, 1536, 96),
    )
}
"""Model sizes by name, for 1 to 400 million parameters."""


@dataclass(frozen=True)
class OptimizerConfig:
    """One optimizer for all networks: clipping of each tensor, RMS scaling, momentum, learning rate."""

    learning_rate: Annotated[float, Gt(0)] = 4e-5
    """learning rate after the warm-up"""
    warmup: Annotated[int, Ge(0)] = 1000
    """updates over which the learning rate rises linearly from 0"""
    clip: Annotated[float, Gt(0)] = 0.3
    """adaptive clipping: largest ratio of a tensor's gradient norm to max(1e-3, the tensor's norm)"""
    beta1: Annotated[float, Ge(0), Lt(1)] = 0.9
    """decay of the momentum"""
    beta2: Annotated[float, Ge(0), Lt(1)] = 0.999
    """decay of the mean squared gradient"""
    eps: Annotated[float, Gt(0)] = 1e-20
    """added to the root mean squared gradient"""


@dataclass(frozen=True)
class LossConfig:
    """Scales of the loss terms: loss = sum of scale times mean."""

    reconstruction: Annotated[float, Ge(0)] = 1.0
    """scale of the reconstruction of every observation"""
    reward: Annotated[float, Ge(0)] = 1.0
    """scale of the reward's cross-entropy"""
    cont: Annotated[float, Ge(0)] = 1.0
    """scale of the continue flag's cross-entropy"""
    dyn: Annotated[float, Ge(0)] = 1.0
    """scale of the KL that pulls the prior towards the posterior"""
    rep: Annotated[float, Ge(0)] = 0.1
    """scale of the KL that pulls the posterior towards the prior"""
    policy: Annotated[float, Ge(0)] = 1.0
    """scale of the actor's loss"""
    value: Annotated[float, Ge(0)] = 1.0
    """scale of the critic's loss on imagined states"""
    replay_value: Annotated[float, Ge(0)] = 0.3
    """scale of the critic's loss on replayed states"""
    free_nats: Annotated[float, Ge(0)] = 1.0
    """nats below which a KL is not reduced any further"""


@dataclass(frozen=True)
class BehaviorConfig:
    """Imagination, returns, actor and critic."""

    horizon: Annotated[int, Ge(1)] = 25
    """imagined steps H"""
    discount_horizon: Annotated[float, Ge(1)] = 333.0
    """effective horizon of returns, in steps; the discount is 1 - 1/discount_horizon"""
    trace: Annotated[float, Ge(0), Le(1)] = 0.95
    """lambda of the lambda-return"""
    entropy: Annotated[float, Ge(0)] = 3e-4
    """weight of the policy's entropy"""
    min_std: Annotated[float, Gt(0)] = 0.1
    """smallest standard deviation of an action"""
    max_std: Annotated[float, Gt(0)] = 1.0
    """largest standard deviation of an action"""
    slow_rate: Annotated[float, Gt(0), Le(1)] = 0.02
    """fraction of the distance by which the slow critic moves towards the critic after every update"""
    slow_regularizer: Annotated[float, Ge(0)] = 1.0
    """weight of the critic's loss to the slow critic's prediction"""
    return_rate: Annotated[float, Gt(0), Le(1)] = 0.01
    """rate at which the running percentiles of returns follow those of a batch"""
    return_low: Annotated[float, Ge(0), Le(100)] = 5.0
    """lower percentile of imagined returns; the distance to the upper one is the scale of advantages"""
    return_high: Annotated[float, Ge(0), Le(100)] = 95.0
    """upper percentile of imagined returns"""
    return_floor: Annotated[float, Gt(0)] = 1.0
    """smallest scale by which advantages are divided"""


@dataclass(frozen=True)
class DreamerConfig:
    """A DreamerV3 agent; with a non-zero penalty, a GPLD-DreamerV3 agent."""

    batch_size: Annotated[int, Ge(1)] = 16
    """windows in the batch of an update"""
    batch_length: Annotated[int, Ge(1)] = 64
    """steps in a window"""
    train_ratio: Annotated[float, Ge(0)] = 512.0
    """replayed steps per agent step; larger values make more updates"""
    precision: Precision = "auto"
    """dtype of the networks' products; auto: float32 on a CPU, bfloat16 elsewhere"""
    model: ModelConfig = field(default_factory=ModelConfig)
    regularizer: Annotated[str, arg(metavar=CHOICES)] = "jacobian"
    """how posterior and prior are regularised; determines which settings --penalty has, and their defaults"""
    penalty: LatentPenalty = field(default_factory=PenaltyConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    behavior: BehaviorConfig = field(default_factory=BehaviorConfig)


def without_penalty(config: DreamerConfig) -> DreamerConfig:
    """The settings of the same agent without a penalty: plain DreamerV3."""
    return replace(config, penalty=replace(config.penalty, **dict.fromkeys(coefficients(config.penalty), 0.0)))
