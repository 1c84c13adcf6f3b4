"""Checks that a run is possible: an impossible setting raises a UserError that says what to do."""

from sobolev.config.codec import settings
from sobolev.config.registry import OURS, method_of
from sobolev.config.train import TrainConfig
from sobolev.envs import check_task
from sobolev.errors import UserError, nearest, spelled
from sobolev.ranges import check_ranges


def validate(config: TrainConfig) -> None:
    """Raises UserError for the first impossible setting of a config."""
    check_task(config.task)
    _check_name(config)
    check_ranges(config)
    _check_seeds(config.seeds)
    _check_fixed(config)
    method_of(config).check(config.agent, config.observations != "proprio")
    _check_images(config)
    _check_warm_start(config)
    _check_replay(config)
    _check_devices(config)


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise UserError(sentence)


def _check_name(config: TrainConfig) -> None:
    """Raises UserError if scores of a method of another package would count as those of a built-in one."""
    method = method_of(config)
    if OURS.get(method.name, method) is not method:
        raise UserError(f"method {config.method} is called {method.name}, which is a method of sobolev: rename it")


def _check_seeds(seeds: tuple[int, ...]) -> None:
    _require(len(seeds) > 0, "--seeds is empty: give at least one, as in --seeds 0 1 2")
    _require(min(seeds) >= 0, f"--seeds holds {min(seeds)}, but seeds must be at least 0")
    twice = sorted({seed for seed in seeds if seeds.count(seed) > 1})
    _require(not twice, f"--seeds holds {twice[0] if twice else ''} more than once: give each seed once")
    _require(max(seeds) < 2**31, f"--seeds holds {max(seeds)}, but seeds must be below 2^31")


def _check_fixed(config: TrainConfig) -> None:
    """Raises UserError if a setting that the method fixes differs from its preset."""
    method = method_of(config)
    usual = settings(method.presets[config.preset].agent) if config.preset in method.presets else {}
    for path, (_, value) in settings(config.agent).items():
        fixing = method.fixing(path)
        if fixing is not None and path in usual and value != usual[path][1]:
            reason, other = fixing
            raise UserError(f"method {method.name} {reason}: leave out {spelled(path)}, or choose --method {other}")


def _check_warm_start(config: TrainConfig) -> None:
    method, parts = method_of(config), config.warm_start_parts
    if config.warm_start is None:
        _require(not parts, "--warm-start-parts names networks of another run: give that run with --warm-start")
        return
    _require(bool(method.parts), f"method {method.name} takes no networks of another run: leave out --warm-start")
    for part in parts:
        if part not in method.parts:
            raise nearest(f"part of method {method.name}", part, method.parts)


def _check_images(config: TrainConfig) -> None:
    size = config.env.image_size
    _require(size % 16 == 0, f"--env.image-size is {size}, but must be a multiple of 16: it is halved four times")
    if config.observations != "proprio" and not method_of(config).images:
        raise UserError(
            f"method {method_of(config).name} does not see images: leave out --observations {config.observations}, or "
            f"choose --method {next(name for name, method in OURS.items() if method.images)}"
        )
    _require(
        config.observations != "pixels" or not config.env.observation_noise,
        "--env.observation-noise does not disturb images: leave it out, or take --observations both",
    )


def _check_replay(config: TrainConfig) -> None:
    method = method_of(config)
    if config.replay.memory == "host" and not method.host_replay:
        raise UserError(f"method {method.name} keeps its replay on the device: leave out --replay.memory host")
    length, kept = method.pace(config.agent).length, config.replay.capacity // config.env.number
    if length + 1 > kept:
        shorter = " or lower --batch-length" if "batch_length" in settings(config.agent) else ""
        raise UserError(
            f"a window of {length} steps and its context step do not fit the replay, which holds {kept} steps per "
            f"environment: raise --replay.capacity to {(length + 1) * config.env.number}{shorter}"
        )


def _check_devices(config: TrainConfig) -> None:
    devices, batch, method = config.devices, config.agent.batch_size, method_of(config)
    if devices.data > 1 and not method.divides:
        raise UserError(f"method {method.name} cannot divide its batches among devices: leave out --devices.data")
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
