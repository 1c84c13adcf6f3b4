"""What defines a Dreamer agent, with the protocol of paper 1 (Table 2) as defaults."""

from dataclasses import dataclass, field, replace
from typing import Annotated

from tyro.conf import arg

from sobolev.smoothness import CHOICES, LatentPenalty, PenaltyConfig, coefficients


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the networks. `--size` sets the first five; the rest is the same at every size."""

    deter: int = 2048
    """width of the recurrent state"""
    hidden: int = 256
    """width of the hidden layers in the recurrent model"""
    classes: int = 16
    """classes C of one categorical latent"""
    units: int = 256
    """width of encoder, decoder and heads"""
    depth: int = 16
    """channels of the first convolution (pixels)"""
    rows: int = 32
    """number K of categorical latents"""
    blocks: int = 8
    """blocks G of the recurrent layers"""
    unimix: float = 0.01
    """share of the uniform distribution in every categorical latent"""
    encoder_layers: int = 3
    decoder_layers: int = 3
    prior_layers: int = 2
    posterior_layers: int = 1
    reward_layers: int = 1
    continue_layers: int = 1
    actor_layers: int = 3
    critic_layers: int = 3
    bins: int = 255
    """bins of the two-hot heads"""


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
"""Model sizes by name, from 1m to 400m parameters."""


@dataclass(frozen=True)
class OptimizerConfig:
    """One optimizer for everything: clip per tensor, RMS scaling, momentum, learning rate."""

    learning_rate: float = 4e-5
    warmup: int = 1000
    """updates of linear warm-up from 0"""
    clip: float = 0.3
    """adaptive clipping: gradient norm of a tensor over max(1e-3, its own norm)"""
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-20


@dataclass(frozen=True)
class LossConfig:
    """Scales of the loss terms: loss = sum of scale times mean."""

    reconstruction: float = 1.0
    reward: float = 1.0
    cont: float = 1.0
    dyn: float = 1.0
    rep: float = 0.1
    policy: float = 1.0
    value: float = 1.0
    replay_value: float = 0.3
    free_nats: float = 1.0
    """KL below this many nats is not pushed down further"""


@dataclass(frozen=True)
class BehaviorConfig:
    """Imagination, returns, actor and critic."""

    horizon: int = 25
    """imagined steps H"""
    discount_horizon: float = 333.0
    """effective horizon; the discount is 1 - 1/horizon"""
    trace: float = 0.95
    """lambda of the lambda-return"""
    entropy: float = 3e-4
    min_std: float = 0.1
    max_std: float = 1.0
    slow_rate: float = 0.02
    """share by which the slow critic moves after every update"""
    slow_regularizer: float = 1.0
    """weight of the loss towards the slow critic's prediction"""
    return_rate: float = 0.01
    """rate of the running return percentiles"""
    return_low: float = 5.0
    return_high: float = 95.0
    return_floor: float = 1.0
    """smallest scale by which advantages are divided"""


@dataclass(frozen=True)
class DreamerConfig:
    """A DreamerV3 agent; with a non-zero penalty it is GPLD-DreamerV3."""

    batch_size: int = 16
    batch_length: int = 64
    train_ratio: float = 512.0
    """replayed steps per agent step"""
    precision: str = "auto"
    """float32 or bfloat16 of the networks' products; auto: float32 on CPU, bfloat16 elsewhere"""
    model: ModelConfig = field(default_factory=ModelConfig)
    regularizer: Annotated[str, arg(metavar=CHOICES)] = "jacobian"
    """how posterior and prior are made smooth; chooses the defaults of --penalty, and what is set there"""
    penalty: LatentPenalty = field(default_factory=PenaltyConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    behavior: BehaviorConfig = field(default_factory=BehaviorConfig)


def without_penalty(config: DreamerConfig) -> DreamerConfig:
    """The same agent as plain DreamerV3."""
    return replace(config, penalty=replace(config.penalty, **dict.fromkeys(coefficients(config.penalty), 0.0)))
