"""How a coefficient decays over the updates of a run (paper 1, Section 4.2 and Algorithm 2)."""

from typing import get_args

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sobolev.errors import nearest
from sobolev.smoothness.config import Schedule, ScheduleKind


def coefficient(config: Schedule, initial: float, update: Int[Array, ""]) -> Float[Array, ""]:
    """lambda at optimizer update `update` (0 for the first one), float32, at least 0; `floor` is `config.floor`.

    It is 0 if `initial` is 0, and before update `config.start`. From there on it is the value of the schedule
    `config.schedule` at T = update - start, for lambda0 = `initial`:

        none          lambda0
        sqrt          max(lambda0 / sqrt(1 + T / decay_scale), floor)             (Algorithm 2)
        step          max(lambda0 * step_factor^floor(T / step_size), floor)
        linear        floor + (lambda0 - floor) * (1 - progress),                 progress = min(T / decay_updates, 1)
        exponential   floor + (lambda0 - floor) * exp(-5 * progress)
        cosine        floor + (lambda0 - floor) * (1 + cos(pi * progress)) / 2
        custom        lambda0 * factor, the factor interpolated linearly between the pairs of `config.custom`
        values        max(value, floor), the value of the last pair of `config.custom` whose update has come, lambda0
                      before the first one                                        (the authors' code)

    A positive lambda0 below the floor is raised to it by sqrt (as in the paper), step and values; linear, exponential
    and cosine begin at lambda0 and rise to the floor; none and custom have no floor. Raises UserError for an unknown
    schedule.
    """
    if initial == 0:
        return jnp.zeros((), jnp.float32)
    after = jnp.maximum(update - config.start, 0)
    value = _decayed(config, initial, after)
    return jnp.where(update < config.start, 0.0, value).astype(jnp.float32)


def _decayed(config: Schedule, initial: float, after: Int[Array, ""]) -> Float[Array, ""]:
    floor = config.floor
    time = after.astype(jnp.float32)
    progress = jnp.minimum(time / config.decay_updates, 1)
    match config.schedule:
        case "none":
            return jnp.full_like(time, initial)
        case "sqrt":
            return jnp.maximum(initial / jnp.sqrt(1 + time / config.decay_scale), floor)
        case "step":
            drops = (after // config.step_size).astype(jnp.float32)
            return jnp.maximum(initial * config.step_factor**drops, floor)
        case "linear":
            return floor + (initial - floor) * (1 - progress)
        case "exponential":
            return floor + (initial - floor) * jnp.exp(-5 * progress)
        case "cosine":
            return floor + (initial - floor) * (1 + jnp.cos(jnp.pi * progress)) / 2
        case "custom":
            updates, factors = jnp.asarray(config.custom, jnp.float32).T
            return initial * jnp.interp(time, updates, factors)
        case "values":
            updates, values = zip(*config.custom, strict=True)
            passed = jnp.sum(jnp.asarray(updates, jnp.int32) <= after)
            return jnp.maximum(jnp.asarray((initial, *values), jnp.float32)[passed], floor)
    raise nearest("schedule", config.schedule, get_args(ScheduleKind))
