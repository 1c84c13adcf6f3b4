"""What a run cannot be: every impossible setting is one sentence that says what to do."""

import math
from typing import TYPE_CHECKING

from sobolev.agents.dreamer.config import BehaviorConfig, DreamerConfig, ModelConfig, without_penalty
from sobolev.config import deterministic
from sobolev.config.codec import settings
from sobolev.config.registry import pace_of
from sobolev.envs import check_task
from sobolev.errors import UserError, nearest
from sobolev.smoothness import JacobianConfig

if TYPE_CHECKING:
    from sobolev.config.train import TrainConfig

PRECISIONS = ("auto", "float32", "bfloat16")

_POSITIVE = ("(0, inf)", "optimizer.learning_rate optimizer.clip optimizer.eps penalty.decay_scale")
_FROM_ONE = (
    "[1, inf)",
    "devices.data devices.processes "
    "steps batch_size batch_length model.deter model.hidden model.units model.depth model.rows model.blocks "
    "model.encoder_layers model.decoder_layers model.prior_layers model.posterior_layers model.reward_layers "
    "model.continue_layers model.actor_layers model.critic_layers behavior.horizon behavior.discount_horizon "
    "env.number env.repeat replay.capacity evaluation.every evaluation.max_steps log.every penalty.rows "
    "penalty.decay_updates penalty.step_size",
)
_FROM_ZERO = (
    "[0, inf)",
    "train_ratio penalty.posterior penalty.prior penalty.start penalty.floor penalty.step_factor optimizer.warmup "
    "loss.reconstruction loss.reward loss.cont loss.dyn loss.rep loss.policy loss.value loss.replay_value "
    "loss.free_nats behavior.entropy behavior.slow_regularizer devices.process env.workers evaluation.episodes "
    "checkpoint.snapshots env.dynamics_noise log.dreams",
)
_FRACTIONS = ("(0, 1]", "penalty.rho behavior.slow_rate behavior.return_rate")
_SHARES = ("[0, 1)", "model.unimix optimizer.beta1 optimizer.beta2 env.observation_noise")
_OTHERS = (
    ("[2, inf)", "model.classes"),
    ("[3, inf)", "model.bins"),
    ("[0, 1]", "behavior.trace"),
    ("[0, 100]", "behavior.return_low behavior.return_high"),
    ("[16, inf)", "env.image_size"),
    ("(0, inf)", "behavior.min_std behavior.max_std behavior.return_floor"),
    ("(0, inf]", "checkpoint.minutes"),
)
RANGES: dict[str, str] = {
    path: interval
    for interval, paths in (_POSITIVE, _FROM_ONE, _FROM_ZERO, _FRACTIONS, _SHARES, *_OTHERS)
    for path in paths.split()
} | deterministic.RANGES
"""The interval in which each numeric setting must lie."""


def flag(path: str) -> str:
    """The flag of a setting: --batch-size for batch_size."""
    return "--" + path.replace("_", "-")


def validate(config: "TrainConfig") -> None:
    """Raise a UserError for the first thing in a config that no run can have."""
    check_task(config.task)
    _check_ranges(config)
    _check_seeds(config.seeds)
    if config.agent.precision not in PRECISIONS:
        raise nearest("precision", config.agent.precision, PRECISIONS)
    if isinstance(config.agent, DreamerConfig):
        _check_model(config.agent.model)
        _check_penalty(config.method, config.agent)
        _check_behavior(config.agent.behavior)
    else:
        deterministic.check(config.method, config.agent)
    _check_images(config)
    _check_warm_start(config)
    _check_replay(config)
    _check_devices(config)


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise UserError(sentence)


def _inside(value: int | float, interval: str) -> bool:
    low, high = (float(end) for end in interval[1:-1].split(","))
    above = value >= low if interval[0] == "[" else value > low
    below = value <= high if interval[-1] == "]" else value < high
    return above and below


def _bounds(interval: str) -> str:
    low, high = interval[1:-1].split(", ")
    if high == "inf":
        return f"at least {low}" if interval[0] == "[" else f"above {low}"
    return f"in {interval}"


def _check_ranges(config: "TrainConfig") -> None:
    for path, (_, value) in settings(config).items():
        if path in RANGES and value is not None and not _inside(value, RANGES[path]):
            kind = "" if math.isfinite(value) else "a finite number "
            raise UserError(f"{flag(path)} is {value}, but must be {kind}{_bounds(RANGES[path])}")


def _check_seeds(seeds: tuple[int, ...]) -> None:
    _require(len(seeds) > 0, "--seeds is empty: give at least one, as in --seeds 0 1 2")
    _require(min(seeds) >= 0, f"--seeds holds {min(seeds)}, but seeds must be at least 0")
    twice = sorted({seed for seed in seeds if seeds.count(seed) > 1})
    _require(not twice, f"--seeds holds {twice[0] if twice else ''} more than once: give each seed once")
    _require(max(seeds) < 2**31, f"--seeds holds {max(seeds)}, but seeds must be below 2^31")


def _check_model(model: ModelConfig) -> None:
    if model.deter % model.blocks:
        below = max(model.blocks, model.deter // model.blocks * model.blocks)
        raise UserError(
            f"--model.deter {model.deter} is not divisible into --model.blocks {model.blocks}: {below} would be"
        )


def _check_penalty(method: str, agent: DreamerConfig) -> None:
    penalty, rows = agent.penalty, agent.model.rows
    if method == "dreamer" and agent.regularizer != "jacobian":
        raise UserError("method dreamer has no regularizer: leave out --regularizer, or choose --method gpld")
    if method == "dreamer":
        plain = without_penalty(DreamerConfig()).penalty
        changed = [name for name, (_, value) in settings(penalty).items() if value != getattr(plain, name)]
        if changed:
            raise UserError(
                f"method dreamer has no penalty: leave out {flag('penalty.' + changed[0])}, or choose --method gpld"
            )
    elif penalty.posterior == 0 and penalty.prior == 0:
        raise UserError(
            "method gpld needs a penalty: set --penalty.posterior or --penalty.prior, or choose --method dreamer"
        )
    if isinstance(penalty, JacobianConfig) and penalty.rows is not None and penalty.rows > rows:
        raise UserError(f"--penalty.rows is {penalty.rows}, but the model has only {rows} rows")
    if penalty.custom and penalty.schedule != "custom":
        raise UserError("--penalty.custom is only for --penalty.schedule custom: give both or none")


def _check_behavior(behavior: BehaviorConfig) -> None:
    _require(behavior.min_std <= behavior.max_std, "--behavior.min-std must not be above --behavior.max-std")
    _require(behavior.return_low < behavior.return_high, "--behavior.return-low must be below --behavior.return-high")


def _check_warm_start(config: "TrainConfig") -> None:
    parts = config.warm_start_parts
    if config.warm_start is None:
        usual = parts == ("encoder", "decoder")
        _require(usual, "--warm-start-parts says what to take from another run: name that one with --warm-start")
        return
    if not isinstance(config.agent, DreamerConfig):
        raise UserError(f"method {config.method} has no parts to start warm: leave out --warm-start")
    _require(len(parts) > 0, "--warm-start-parts is empty: give at least one, as in --warm-start-parts encoder")


def _check_images(config: "TrainConfig") -> None:
    size = config.env.image_size
    _require(size % 16 == 0, f"--env.image-size is {size}, but must be a multiple of 16: it is halved four times")
    if config.observations == "proprio":
        return
    if not isinstance(config.agent, DreamerConfig):
        raise UserError(
            f"method {config.method} does not see images: leave out --observations {config.observations}, or choose "
            "--method gpld"
        )
    model = config.agent.model
    if 4 * model.depth % model.blocks:
        raise UserError(
            f"--model.depth {model.depth} gives the decoder of images {4 * model.depth} channels, which --model.blocks "
            f"{model.blocks} does not divide: take a depth divisible by {model.blocks // math.gcd(model.blocks, 4)}"
        )


def _check_replay(config: "TrainConfig") -> None:
    if config.replay.memory == "host" and not isinstance(config.agent, DreamerConfig):
        raise UserError(f"method {config.method} keeps its replay on the device: leave out --replay.memory host")
    length, kept = pace_of(config).length, config.replay.capacity // config.env.number
    if length + 1 > kept:
        raise UserError(
            f"a window of {length} steps and its context step do not fit the replay, which holds {kept} steps per "
            f"environment: raise --replay.capacity to {(length + 1) * config.env.number} or lower --batch-length"
        )


def _check_devices(config: "TrainConfig") -> None:
    devices, batch = config.devices, config.agent.batch_size
    if devices.data > 1 and not isinstance(config.agent, DreamerConfig):
        raise UserError(f"--devices.data divides batches of dreamer and gpld, not of {config.method}: leave it out")
    if batch % devices.data:
        raise UserError(f"--batch-size {batch} is not divisible among --devices.data {devices.data} devices")
    where, number, index = devices.coordinator, devices.processes, devices.process
    if where is None and number is None and index is None:
        return
    if where is None or number is None or index is None:
        raise UserError("several processes need --devices.coordinator, --devices.processes and --devices.process")
    host, _, port = where.rpartition(":")
    if not (host and port.isdigit()):
        raise UserError(f"--devices.coordinator is {where}, but must be HOST:PORT, as in node1:12345")
    if index >= number:
        raise UserError(f"--devices.process is {index}, but {number} processes are numbered from 0 to {number - 1}")
