"""A controller that uses the equations of the point mass, as a reference for the methods."""

import numpy as np
from jaxtyping import Float

from sobolev.envs.families.toy import PointMass
from sobolev.experiments.api import Record

EPISODES = 600
"""Number of episodes of the controller, for each number of locations."""


def controlled(observation: dict[str, np.ndarray]) -> Float[np.ndarray, "2"]:
    """Returns its action: towards the goal with damping, and towards the centre while the goal is unknown."""
    return (3 * (observation["goal"] - observation["position"]) - 2 * observation["velocity"]).astype(np.float32)


def reference(number: int, episodes: int = EPISODES) -> Record:
    """Plays episodes with seeds 0, 1, … and `number` locations. Returns `returns` [episodes], `goals` and `paths`.

    goals: the location of each episode, −1 if none was revealed. paths: positions [episodes][steps][2].
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
