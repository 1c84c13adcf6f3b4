"""The study of penalties on DSDPG's world model: its runs, what is measured of them, its figure, a tiny pass."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.agents.dsdpg.agent import DSDPG
from sobolev.cli.study import main
from sobolev.config import resolved
from sobolev.config.codec import settings
from sobolev.errors import UserError
from sobolev.experiments.transition import experiment, figures, measure, runs
from sobolev.plotting.colors import colors
from tests import tiny
from tests.agents import family
from tests.experiments import drawn

CONFIG = runs.TransitionConfig(task="toy:point-mass-2")


def test_runs_differ_in_the_penalty_alone():
    cells = runs.cells(CONFIG)
    assert cells[0] == runs.NONE and len(cells) == 11
    configs = [resolved(runs.train_config(CONFIG, cell), "cpu") for cell in cells]
    assert len({config.run for config in configs}) == 11
    usual = settings(configs[0])
    for cell, config in zip(cells[1:], configs[1:], strict=True):
        own = settings(config)
        changed = {path for path, (_, value) in own.items() if path not in usual or usual[path][1] != value}
        assert {path for path in changed if not path.startswith("penalty.")} <= {"run", "regularizer"}
        assert own["penalty.transition"][1] == cell.strength
    assert settings(configs[-1])["penalty.bound"][1] == 1.01


@pytest.mark.long
def test_slopes_and_error_of_a_model_that_is_known():
    """Without weights in the decoder and the policy s' = s + mean change: slope and κ are 1, and the error is that of
    the mean change. With a weight in the policy κ is √(1 + its slope²), at the states that the model predicts."""
    agent = family.program("dsdpg").agent
    assert isinstance(agent, DSDPG)
    state = agent.init(jax.random.key(0))
    decoder, actor = (jax.tree.map(jnp.zeros_like, net) for net in (state.model.dynamics.decoder, state.model.actor))
    model = replace(state.model, dynamics=replace(state.model.dynamics, decoder=decoder), actor=actor)
    steps = [
        {
            name: np.float32(np.random.default_rng(seed).normal(size=(50, 2)))
            for name in ("goal", "position", "velocity")
        }
        for seed in (0, 1)
    ]
    joined = [np.concatenate([step[name] for name in ("goal", "position", "velocity")], -1) for step in steps]
    units = state.statistics
    everywhere = jnp.ones(50, bool)
    change = units.change.update(jnp.asarray(joined[1] - joined[0]), everywhere)
    units = replace(units, state=units.state.update(jnp.asarray(joined[0]), everywhere), change=change)
    state = replace(state, model=model, statistics=units)
    now = {"observation": steps[0], "action": np.zeros((50, 2), np.float32)}
    following = {"observation": steps[1], "reward": np.zeros(50, np.float32)}
    said = measure._measure(agent, state, now, following, jax.random.key(1))
    assert said["slope"] == pytest.approx(1.0, rel=1e-5) and said["kappa"] == pytest.approx(1.0, rel=1e-5)
    # changes have variance 1 in these units; the decoder's own noise adds its variance over the number of draws
    spread = float(model.dynamics.decode(jnp.zeros(6), jnp.zeros(2), jnp.zeros(2)).std[0])
    assert said["error"] == pytest.approx(1.0 + spread**2 / measure.DRAWS, rel=0.02)

    reacting = replace(model, actor=agent.init(jax.random.key(4)).model.actor)
    moving = replace(units, change=replace(change, mean=change.mean + 0.7))
    states = jax.vmap(lambda s: units.normalised(s + moving.change.mean))(jnp.asarray(joined[0]))
    slopes = jax.vmap(lambda s: jnp.linalg.svd(jax.jacrev(reacting.actor)(s), compute_uv=False)[0])(states)
    state = replace(state, model=reacting, statistics=moving)
    said = measure._measure(agent, state, now, following, jax.random.key(1))
    assert said["kappa"] == pytest.approx(float(jnp.sqrt(1 + slopes.max() ** 2)), rel=1e-4)


def record(regularizer: str, strength: float, level: float) -> dict:
    """Of two seeds, with measures that are multiples of `level`."""
    model = [{"seed": seed, "slope": level, "kappa": 2 * level + seed, "error": 0.1 * level} for seed in (0, 1)]
    return {"regularizer": regularizer, "strength": strength, "returns": [level, 3 * level], "model": model}


def test_the_figure_has_a_line_for_each_penalty_from_the_run_without():
    found = [record("none", 0.0, 4.0), record("jacobian", 0.1, 3.0), record("jacobian", 10.0, 1.0)]
    found += [record("jacobian-norm", 0.1, 2.0), record("jacobian-norm", 10.0, 0.5)]
    kappa, slope, returns, error = figures.draw(found, 0.5, "a note").axes
    assert [ax.get_title() for ax in (kappa, slope, returns, error)] == list(figures.MEASURES)
    assert [label.get_text() for label in kappa.get_xticklabels()] == ["0", "0.1", "10"]
    shades = colors(["jacobian", "jacobian-norm"])
    for name, means in (("jacobian", [8.0, 6.0, 2.0]), ("jacobian-norm", [8.0, 4.0, 1.0])):
        (line,) = [line for line in returns.lines if line.get_color() == shades[name] and line.get_marker() == "o"]
        np.testing.assert_allclose(drawn.y(line), means)
    (bound,) = [line for line in kappa.lines if line.get_label() == "1 / γ"]
    np.testing.assert_allclose(drawn.y(bound), 2.0)
    table = experiment.summary(CONFIG, {"transition": {"records": found, "discount": 0.5}})
    assert "no penalty" in table[1] and "jacobian-norm, λ 10" in table[-1] and "1 ± 0.5" in table[-1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--regularizers jacobain", "did you mean jacobian"),
        ("--regularizers noise", "--regularizers noise is no penalty"),
        ("--strengths 1 0.1", "--strengths must increase"),
        ("--strengths 0 1", "--strengths is 0.0, but must be above 0"),
        ("--states 0", "--states is 0"),
    ],
)
def test_mistakes(words: str, message: str):
    with pytest.raises(UserError, match=message):
        main(["transition", *words.split()])


@pytest.mark.long
def test_a_tiny_pass_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = (
        f"--task toy:point-mass-2 --out {tmp_path} --regularizers jacobian-norm --strengths 1 --bound 0.5 --seeds 0 1 "
        "--steps 530 --updates-per-step 1 --episodes 2 --states 16"
    )
    with tiny.quickly():
        assert main(["transition", *words.split()]) == 0
    printed = capsys.readouterr().out
    assert "no penalty" in printed and "jacobian-norm, λ 1" in printed and "transition.png" in printed
    written = json.loads((tmp_path / "transition.json").read_text())
    assert [(r["regularizer"], r["strength"]) for r in written["records"]] == [("none", 0.0), ("jacobian-norm", 1.0)]
    for seed in (seed for one in written["records"] for seed in one["model"]):
        assert seed["kappa"] >= 1 and seed["kappa"] >= seed["slope"] > 0 and seed["error"] > 0
    assert {path.name for path in tmp_path.iterdir()} == {
        *(f"transition.{kind}" for kind in ("png", "pdf", "json")),
        "parts",
        "runs",
    }
