"""A controller that knows the equations of the point mass: what the methods are compared with."""

import numpy as np
from jaxtyping import Float

from sobolev.envs.families.toy import PointMass
from sobolev.experiments.api import Record

EPISODES = 600
"""Episodes of the controller for each number of locations."""


def controlled(observation: dict[str, np.ndarray]) -> Float[np.ndarray, "2"]:
    """Its action: towards the goal with damping, towards the middle until the goal is known."""
    return (3 * (observation["goal"] - observation["position"]) - 2 * observation["velocity"]).astype(np.float32)


def reference(number: int, episodes: int = EPISODES) -> Record:
    """What it gets with that number of locations, in episodes seeded 0, 1, …: `returns` [episodes], `goals`, `paths`.

    goals: the location of each episode, −1 where none was drawn; paths: positions [episodes][steps][2].
    """
    environment, returns, goals, paths = PointMass(f"point-mass-{number}"), [], [], []
    for seed in range(episodes):
        step, total, path = environment.reset(seed), 0.0, []
        while not step.last:
            path.append(environment.position.tolist())
            step = environment.step(controlled(step.observation))
            total += step.reward
        returns.append(total)
        goals.append(environment.goal)
        paths.append(path)
    return {"locations": number, "returns": returns, "goals": goals, "paths": paths}
