"""Finite-difference smoothing of the transition probabilities of finite MDPs embedded in R^d (paper 1, Section 3.1).

The estimator minimises, over transition probabilities P, the negative log-likelihood of the counts, L_MLE, plus lambda
times equation (1),

    L_FD(P) = sum_a sum_s sum_{k near s} ||P(. | k, a) - P(. | s, a)||^2 / ||e(k) - e(s)||^2.

The problem is convex, separates over actions, and is solved with a certified gap. Everything is NumPy in float64.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped

from sobolev.errors import UserError


@dataclass(frozen=True)
class EmbeddedMDP:
    """A finite MDP whose states have coordinates."""

    embedding: Float[np.ndarray, "states dimensions"]
    """e(s)"""
    transitions: Float[np.ndarray, "states actions states"]
    """P(s' | s, a)"""


def grid_mdp(
    side: int, dimensions: int, actions: int, rng: np.random.Generator, *, width: float = 0.1, jump: float = 0.0
) -> EmbeddedMDP:
    """A random MDP on a grid of side^dimensions points in [0, 1]^d, whose actions move states along smooth fields.

    P(s' | s, a) is proportional to exp(-||e(s') - m_a(e(s))||^2 / (2 width^2)). m_a(x) is x plus a displacement of at
    most 0.3, a sum of a few random waves. A positive `jump` makes P discontinuous: where the first coordinate is above
    1/2, the displacement is shifted by -`jump` in that coordinate, so that close states on both sides differ.
    """
    axes = np.meshgrid(*[np.linspace(0, 1, side)] * dimensions, indexing="ij")
    points = np.stack(axes, -1).reshape(-1, dimensions)
    waves = rng.normal(0, 2, (actions, 4, dimensions))
    phases = rng.uniform(0, 2 * np.pi, (actions, 4))
    directions = rng.uniform(-1, 1, (actions, 4, dimensions)) * 0.3 / (4 * np.sqrt(dimensions))
    moves = np.einsum("awd,saw->sad", directions, np.sin(np.einsum("sd,awd->saw", points, waves) + phases))
    moves[points[:, 0] > 0.5, :, 0] -= jump
    targets = np.clip(points[:, None] + moves, 0, 1)
    squares = np.square(targets[:, :, None] - points).sum(-1)
    weights = np.exp(-squares / (2 * width**2)) + 1e-12
    return EmbeddedMDP(points, weights / weights.sum(-1, keepdims=True))


def sample_counts(
    mdp: EmbeddedMDP, number: int, rng: np.random.Generator
) -> Float[np.ndarray, "states actions states"]:
    """Counts N(s, a, s') of `number` transitions from independent, uniformly distributed states and actions."""
    states, actions, _ = mdp.transitions.shape
    visits = rng.multinomial(number, np.full(states * actions, 1 / (states * actions)))
    rows = mdp.transitions.reshape(states * actions, states)
    return rng.multinomial(visits, rows).reshape(mdp.transitions.shape).astype(np.float64)


def laplacian(embedding: Float[np.ndarray, "states dimensions"], epsilon: float) -> Float[np.ndarray, "states states"]:
    """Graph Laplacian L of the epsilon-neighbourhoods with weights 1 / distance^2: L_FD = 2 sum_a tr(P_a^T L P_a).

    Raises UserError if two states have the same embedding, for which finite differences are undefined.
    """
    distances = np.linalg.norm(embedding[:, None] - embedding[None], axis=-1)
    others = ~np.eye(len(embedding), dtype=bool)
    if (distances[others] == 0).any():
        raise UserError("two states have the same embedding: finite differences need distinct ones")
    near = others & (distances <= epsilon)
    weights = np.where(near, 1 / np.square(np.where(near, distances, 1)), 0)
    return np.diag(weights.sum(1)) - weights


def state_errors(
    estimated: Float[np.ndarray, "states actions states"], true: Float[np.ndarray, "states actions states"]
) -> Float[np.ndarray, " states"]:
    """Total variation distance of two P in every state, averaged over actions, in [0, 1]."""
    return np.abs(estimated - true).sum(-1).mean(-1) / 2


def estimate(
    counts: Shaped[np.ndarray, "states actions states"],
    embedding: Float[np.ndarray, "states dimensions"],
    epsilon: float,
    strength: float,
    *,
    tolerance: float = 1e-8,
) -> Float[np.ndarray, "states actions states"]:
    """P(s' | s, a) that minimises L_MLE(P) + strength * L_FD(P) (Section 3.1); all entries are positive.

    For each action, the objective is above its minimum by at most `tolerance` * max(1, number of its transitions), or
    by the rounding of float64 where that is larger, for very strong smoothing. If the minimum is not unique (a state
    without counts, whose neighbours have none), the result is the central minimum, which is uniform there. Raises
    UserError for negative counts or strength, or if the solver does not converge.
    """
    if strength < 0 or (counts < 0).any():
        raise UserError("counts and the strength of the smoothing must be at least 0")
    coupling = 4 * strength * laplacian(embedding, epsilon)
    actions = range(counts.shape[1])
    return np.stack([_solve(counts[:, action].astype(np.float64), coupling, tolerance) for action in actions], 1)


def error_curve(
    mdp: EmbeddedMDP, numbers: Sequence[int], strengths: Sequence[float], epsilons: Sequence[float], seed: int
) -> Float[np.ndarray, "numbers strengths epsilons states"]:
    """Total variation error of every state's estimate, for several numbers of transitions.

    The dataset of a seed grows from number to number: `numbers` must increase. Raises ValueError if they do not.
    """
    rng = np.random.default_rng(seed)
    counts, had = np.zeros_like(mdp.transitions), 0
    errors = np.zeros((len(numbers), len(strengths), len(epsilons), len(mdp.embedding)))
    for i, number in enumerate(numbers):
        counts, had = counts + sample_counts(mdp, number - had, rng), number
        for j, strength in enumerate(strengths):
            for k, epsilon in enumerate(epsilons):
                estimated = estimate(counts, mdp.embedding, epsilon, strength, tolerance=1e-6)
                errors[i, j, k] = state_errors(estimated, mdp.transitions)
    return errors


def _solve(
    counts: Float[np.ndarray, "states next"], coupling: Float[np.ndarray, "states states"], tolerance: float
) -> np.ndarray:
    """Primal-dual interior-point method for min -<counts, log P> + tr(P^T coupling P) / 2 over row-stochastic P.

    At the optimum, coupling P + nu 1^T = t and P t = counts, where t is the multiplier of P > 0 and of the logarithm.
    Steps aim at P t = counts + mu with mu decreasing to 0; mu acts as a pseudo-count for all entries. The first
    equation is linear and holds from the start (coupling maps uniform rows to 0), so that every iterate has a bound on
    its gap, the objective's distance from its minimum.
    """
    probs = np.full(counts.shape, 1 / counts.shape[1])
    levels = counts.sum(1) + counts.sum() / len(counts) + 1
    dual = np.repeat(levels[:, None], counts.shape[1], 1)
    # coupling @ probs is exact up to a few units in the last place, and so is the gap.
    rounding = 8 * np.finfo(float).eps * float(coupling.max()) * len(counts)
    bound, gap = max(tolerance * max(1.0, counts.sum()), rounding), np.inf
    for _ in range(100):
        target = counts + 0.1 * max(float(np.mean(probs * dual - counts)), 0.0)
        move, dual_move, new_levels = _newton_step(probs, dual, target, coupling)
        length = min(1.0, 0.99 * _room(probs, move), 0.99 * _room(dual, dual_move))
        probs, dual = probs + length * move, dual + length * dual_move
        probs /= probs.sum(1, keepdims=True)
        levels += length * (new_levels - levels)
        gap = _gap(probs, counts, coupling @ probs + levels[:, None])
        if gap <= bound:
            return probs
    raise UserError(f"the smoothing estimator stopped {gap:.1e} above its minimum: try a smaller strength")


def _newton_step(
    probs: np.ndarray, dual: np.ndarray, target: np.ndarray, coupling: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The steps of P and t towards P t = target, and the multipliers nu of the row sums.

    The Hessian is coupling + diag(t / P) for each next state, [next, states, states]; only row sums couple next states.
    """
    hessians = coupling + np.eye(len(probs)) * (dual / probs).T[:, :, None]
    inverses = np.linalg.inv(hessians)
    free = np.einsum("tsk,kt->st", inverses, target / probs - coupling @ probs)
    levels = np.linalg.solve(inverses.sum(0), free.sum(1))
    move = free - np.einsum("tsk,k->st", inverses, levels)
    return move, target / probs - dual - dual / probs * move, levels


def _gap(probs: np.ndarray, counts: np.ndarray, dual: np.ndarray) -> float:
    """Upper bound on the objective's distance from its minimum, if coupling P + nu 1^T = `dual`.

    By convexity, it is the sum over entries of dual P - counts log P, minus the minimum of that over P in [0, 1].
    """
    seen = counts > 0
    if (dual[seen] <= 0).any():
        return np.inf
    product = probs * dual
    ratio = np.where(seen, product / np.where(seen, counts, 1), 1)
    return float(np.sum(np.where(seen, counts * (ratio - 1 - np.log(ratio)), product - np.minimum(dual, 0))))


def _room(values: np.ndarray, moves: np.ndarray) -> float:
    """The longest step that keeps every value at least 0."""
    ratios = np.where(moves < 0, -values / np.where(moves < 0, moves, -1), np.inf)
    return float(ratios.min())
