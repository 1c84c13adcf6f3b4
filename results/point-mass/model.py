"""What world models know of an action's effect: python results/point-mass/model.py RUN… [--out FILE].

RUN… are run folders of the study with a world model, such as RUNS/runs/mage-4-8d-noise-0. A target's gradient is
made of the model's ∂s'/∂a and ∂r/∂a (docs/dsdpg.md), and here both are compared with the simulator's, at states of the
policy's own episodes at which the goal is known. Adds the numbers of these runs to FILE, and prints tables of the
medians over seeds of all runs in it.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from sobolev.agents.baselines.ensemble import Ensemble
from sobolev.agents.dsdpg.learner import State
from sobolev.agents.dsdpg.networks import joined
from sobolev.agents.dsdpg.units import OneStep, imagination
from sobolev.checkpoints.run_folder import read_config
from sobolev.envs.families.toy import STIR, Layout, closeness, layout_of, locations, moved, worths
from sobolev.envs.specs import Spaces
from sobolev.errors import UserError
from sobolev.experiments.point_mass.gradients import cosines, location_of
from sobolev.experiments.point_mass.runs import VARIANTS, Cell, run_name
from sobolev.experiments.trained import visited
from sobolev.sweeps.run_status import saved_steps
from sobolev.system.atomic_files import write_json
from sobolev.system.columns import aligned

EPISODES, STATES, DRAWS = 8, 64, 64
"""Episodes per seed, states of them, and draws of the noise at each state over which gradients are averaged."""
MEASURES = {
    "step": "∂s'/∂a: squared error over squared size",
    "reward": "∂r/∂a: squared error over squared size",
    "cosine": "∂r/∂a: cosine with the simulator's",
}

Effect = tuple[Float[Array, "state action"], Float[Array, " action"]]
"""∂s'/∂a and ∂r/∂a, in the environment's units, for one draw of the noise."""
Effects = tuple[Float[Array, "states state action"], Float[Array, "states action"]]
"""Means of them over the noise."""


def of_model(state: State, s: Float[Array, " state"], a: Float[Array, " action"], key: Key[Array, ""]) -> Effect:
    """The effect of an action in the model of an agent; in an ensemble, in that of a member drawn at random."""
    units, keys = state.statistics, jax.random.split(key)
    model: OneStep = state.model.dynamics
    if isinstance(model, Ensemble):
        number = jax.random.randint(keys[0], (), 0, model.config.members)
        model = model.member(jax.tree.map(lambda leaf: leaf[number], model.transitions))
    noise, draw = jax.random.normal(keys[1], (model.noise,)), imagination(model, units)
    step, reward = jax.jacfwd(lambda a: draw(units.normalised(s), a, noise)[:2])(a)
    return step * units.state.std(units.min_std)[:, None], reward


def of_simulator(
    layout: Layout, noise: float, spaces: Spaces, seen: dict[str, Array], action: Array, key: Key[Array, ""]
) -> Effect:
    """The effect of an action in the simulator."""
    places = jnp.asarray(locations(layout), jnp.float32)
    heights = jnp.asarray(worths(layout.locations), jnp.float32)
    added = float(np.hypot(STIR, noise)) * jax.random.normal(key, action.shape)
    at = location_of(seen["goal"], layout)

    def outcome(action: Float[Array, " action"]) -> tuple[Float[Array, " state"], Float[Array, ""]]:
        position, velocity = moved(seen["position"], seen["velocity"], action, added, jnp)
        following = joined(spaces, {**seen, "position": position, "velocity": velocity})
        return following, heights[at] * closeness(position, places[at], jnp)

    return jax.jacfwd(outcome)(action)


def compared(found: Effects, true: Effects) -> dict[str, float]:
    """The numbers of `MEASURES`, given the mean effects at some states."""
    (step, reward), (true_step, true_reward) = found, true
    return {
        "step": float(jnp.square(step - true_step).sum() / jnp.square(true_step).sum()),
        "reward": float(jnp.square(reward - true_reward).sum() / jnp.square(true_reward).sum()),
        "cosine": float(cosines(reward, true_reward).mean()),
    }


def measured(run: Path) -> dict[str, Any]:
    """The record of a run: its method, point mass and numbers for each seed."""
    config = read_config(run)
    if saved_steps(run) < config.steps:
        raise UserError(f"{run} is not finished: it has {saved_steps(run):,} of {config.steps:,} env steps")
    agent, found = visited(run, EPISODES, STATES)
    if not jax.tree.leaves(found[0].state.model.dynamics):
        raise UserError(f"{run} has no world model: leave out runs of {config.method}")
    layout, noise = layout_of(config.task.removeprefix("toy:")), config.env.dynamics_noise

    def mean(effect: Callable[..., Effect], keys: Key[Array, " states"], states: Any, actions: Array) -> Effects:
        """The mean effect over draws at every state."""
        at = jax.vmap(lambda key, s, a: jax.vmap(lambda k: effect(s, a, k))(jax.random.split(key, DRAWS)))
        return jax.tree.map(lambda leaf: leaf.mean(1), jax.jit(at)(keys, states, actions))

    seeds = []
    for seed, state, now, _ in found:
        known = np.abs(now["observation"]["goal"]).sum(1) > 0
        chosen = jax.tree.map(lambda leaf, at=known: jnp.asarray(leaf[at]), (now["observation"], now["action"]))
        seen, action = chosen
        keys = jax.random.split(jax.random.key(seed), len(action))
        by_model = mean(partial(of_model, state), keys, joined(agent.spaces, seen), action)
        by_simulator = mean(partial(of_simulator, layout, noise, agent.spaces), keys, seen, action)
        seeds.append({"seed": seed, **compared(by_model, by_simulator)})
    where = Cell(*layout, noise)
    names = [name for name in VARIANTS if run.name == run_name(name, where)]
    return {"method": (names or [config.method])[0], **where._asdict(), "seeds": seeds}


def cell(record: dict[str, Any]) -> tuple[str, int, float, int]:
    """Which run a record is of: its method, locations, noise and dimensions."""
    return record["method"], record["locations"], record["noise"], record["dimensions"]


def tables(records: Sequence[dict[str, Any]]) -> list[str]:
    """A table for each of `MEASURES`: medians over seeds, by method, locations, noise and D."""
    dimensions, lines = sorted({record["dimensions"] for record in records}), []
    seeds = {cell(record): record["seeds"] for record in records}
    for name, title in MEASURES.items():
        rows = [[title, *(f"D = {d}" for d in dimensions)]]
        for method, number, noise in dict.fromkeys(key[:3] for key in sorted(seeds)):
            found = [seeds.get((method, number, noise, d), []) for d in dimensions]
            medians = [f"{np.median([seed[name] for seed in some]):.2f}" if some else "" for some in found]
            rows.append([f"{method}, N = {number}, noise {noise:g}", *medians])
        lines += [*aligned(rows), ""]
    return lines[:-1]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", metavar="RUN", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("model.json"), help="FILE")
    arguments = parser.parse_args()
    file: Path = arguments.out
    before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    records = {cell(record): record for record in [*before, *map(measured, arguments.runs)]}
    write_json(file, [records[key] for key in sorted(records)], indent=1)
    print("\n".join(tables(list(records.values()))))


if __name__ == "__main__":
    main()
