"""A controller that uses the equations of the point mass, as a reference for the methods."""

import numpy as np
from jaxtyping import Float

from sobolev.envs.families.toy import Layout, PointMass
from sobolev.envs.wrappers.noise import Kicks
from sobolev.experiments.api import Record

EPISODES = 600
"""Number of episodes of the controller, for each cell of the study."""


def controlled(observation: dict[str, np.ndarray]) -> Float[np.ndarray, " dimensions"]:
    """Returns its action: towards the goal with damping, and towards the centre while the goal is unknown."""
    return (3 * (observation["goal"] - observation["position"]) - 2 * observation["velocity"]).astype(np.float32)


def reference(layout: Layout, noise: float = 0.0, episodes: int = EPISODES) -> Record:
    """Plays episodes with seeds 0, 1, …. Returns `returns` [episodes], `goals` and `paths`.

    noise: the standard deviation of the noise on velocities. goals: the location of each episode, −1 if none was
    revealed. paths: positions [episodes][steps][D].
    """
    environment, returns, goals, paths = PointMass(layout.name, kicks=Kicks(noise)), [], [], []
    for seed in range(episodes):
        step, total, path = environment.reset(seed), 0.0, []
        while not step.last:
            path.append(environment.position.tolist())
            step = environment.step(controlled(step.observation))
            total += step.reward
        returns.append(total)
        goals.append(environment.goal)
        paths.append(path)
    facts = {"locations": layout.locations, "dimensions": layout.dimensions, "noise": noise}
    return {**facts, "returns": returns, "goals": goals, "paths": paths}
