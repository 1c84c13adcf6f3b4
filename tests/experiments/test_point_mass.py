"""The study of the point mass: runs that differ in the method alone, its controller, true gradients, a tiny pass."""

import json
import shutil
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.agents.dsdpg.learner import Learner
from sobolev.cli.study import main
from sobolev.config import resolved
from sobolev.config.codec import settings
from sobolev.envs.families import toy
from sobolev.envs.families.toy import Layout, PointMass, locations
from sobolev.errors import UserError
from sobolev.experiments.point_mass import experiment, figures, gradients, runs
from sobolev.experiments.point_mass.controller import reference
from sobolev.experiments.trained import returns_while_training
from sobolev.plotting.colors import COLORS
from tests import tiny
from tests.agents import family
from tests.experiments import drawn

CONFIG = runs.PointMassConfig()
SHARED = (
    "steps seeds updates_per_step env.number actor.network.units critic.network.units critic.discount "
    "actor.delay exploration.noise exploration.random_steps optimizer.actor optimizer.critic"
)


def test_runs_share_networks_and_updates():
    cell = runs.Cell(4, 8, 0.2)
    configs = [resolved(runs.train_config(CONFIG, method, cell), "cpu") for method in runs.VARIANTS]
    for path in SHARED.split():
        assert len({settings(config)[path][1] for config in configs}) == 1, path
    assert {(config.task, config.env.dynamics_noise) for config in configs} == {("toy:point-mass-4-8d", 0.2)}
    names = {runs.train_config(CONFIG, "td3", one).run for one in runs.cells(CONFIG)}
    assert len(names) == len(runs.cells(CONFIG)) == 20
    kinds = {
        name: settings(config).get("discrepancy.kind") for name, config in zip(runs.VARIANTS, configs, strict=True)
    }
    assert {name: kind[1] for name, kind in kinds.items() if kind} == {
        "dsdpg": "msmmd",
        "dsdpg-mmd": "mmd",
        "dsdpg-reward": "msmmd",
        "mmd": "mmd",
        "iqn": "quantile",
    }


def test_the_controller_goes_to_the_goal():
    """Its returns cluster by the worth of the goal, and one location leaves nothing to chance but the time of it."""
    found = reference(Layout(3, 2), episodes=60)
    returns, goals = np.array(found["returns"]), np.array(found["goals"])
    means = [returns[goals == k].mean() for k in range(3)]
    assert means[0] > means[1] > means[2] > 15
    ends = np.array([path[-1] for path in found["paths"]])
    assert np.hypot(*(ends[goals == 0] - [1, 0]).T).max() < 0.3


def test_the_mean_over_training_weighs_by_steps():
    record = {"method": "td3", "locations": 2, "dimensions": 4, "noise": 0.0, "returns": [9.0, 4.0]}
    record["curve"] = {"steps": [0, 10, 40], "returns": [[0.0, 2.0, 2.0], [4.0, 4.0, 4.0]]}
    assert returns_while_training(record) == [1.75, 4.0]
    controller = [{"locations": 2, "dimensions": 4, "noise": 0.0, "returns": [8.0]}]
    results = {"point-mass": {"records": [record], "controller": controller}}
    final, training = "\n".join(experiment.summary(CONFIG, results)).split("\n\n")
    assert final.startswith("N = 2, noise 0: final return") and "D = 4" in final
    assert "6.5 ± 2.5" in final and "2.9 ± 1.1" in training and "8.0" in final and "controller" in training


def records(noises: tuple[float, ...] = (0.0,)) -> tuple[list, list]:
    """Of two methods in two and eight dimensions, with returns and errors of gradients that grow with these."""
    found, references = [], []
    for dimensions in (2, 8):
        for noise in noises:
            cell = {"locations": 2, "dimensions": dimensions, "noise": noise}
            references.append({**cell, "returns": [8.0 * dimensions, 4.0 * dimensions]})
            for number, method in enumerate(("mage", "td3")):
                curve = {"steps": [0, 10], "returns": [[0.0, 4.0 * dimensions], [2.0 * dimensions, 4.0 * dimensions]]}
                seeds = [
                    {"seed": seed, "bias": float(dimensions + seed), "variance": 0.1, "cosine": 0.5, "agreement": 0.9}
                    for seed in (0, 1)
                ]
                means = [(9.0 + number) * dimensions, (3.0 + number) * dimensions]
                facts = {"returns": means, "curve": curve, "gradients": seeds}
                found.append({"method": method, **cell, **facts})
    return found, references


def test_the_figure_shows_returns_over_the_controllers():
    found, references = records()
    figure = figures.draw_returns(found, references, "a note")
    place, distributions, during, end = figure.axes
    assert place.get_title() == "toy:point-mass-4" and len(place.lines) == 4 + figures.SHOWN
    assert distributions.get_yticks().tolist() == [0, 1]
    assert np.asarray(distributions.collections[1].get_paths()[0].vertices)[:, 1].max() == pytest.approx(1.85)
    for ax, seeds in ((during, [2 / 6, 3 / 6]), (end, [9 / 6, 3 / 6])):
        shown = [line for line in ax.lines if line.get_color() == COLORS["mage"] and line.get_marker() == "."]
        assert len(shown) == 2 and ax.get_title() == "N = 2, noise 0"
        for line in shown:
            np.testing.assert_allclose(drawn.y(line), seeds)
    assert [label.get_text() for label in end.get_xticklabels()] == ["2", "8"]


def test_curves_and_gradients_have_a_panel_for_every_combination():
    found, references = records((0.0, 0.2))
    curves = drawn.grid(figures.draw_curves(found, references, "a note").axes, 2, 2)
    assert [ax.get_title() for ax in curves[0]] == ["D = 2", "D = 8"]
    assert curves[1, 0].get_ylabel() == "return\nN = 2, noise 0.2"
    np.testing.assert_allclose(drawn.y(curves[1, 1].lines[0]), [8, 32])
    gradients = drawn.grid(figures.draw_gradients(found, "a note").axes, 4, 2)
    bias = [line for line in gradients[0, 1].lines if line.get_marker() == "." and len(drawn.y(line)) == 2]
    np.testing.assert_allclose([drawn.y(line) for line in bias], [[2, 3], [8, 9]] * 2)


def test_statistics_of_errors_of_gradients():
    """Bias and variance of synthetic gradients come out as they were put in, whatever the noise of the truth."""
    rng, truth, off = np.random.default_rng(0), np.array([3.0, 4.0]), np.array([1.0, -2.0])
    number = 40_000
    found = truth + off + 0.5 * rng.normal(size=(2, number, 2))
    halves = truth + 2.0 * rng.normal(size=(number, 2, 2))
    said = gradients.statistics(jnp.asarray(found, jnp.float32), jnp.asarray(halves, jnp.float32))
    assert said["bias"] == pytest.approx(5 / 25, rel=0.05)
    assert said["variance"] == pytest.approx(2 * 0.25 / 25, rel=0.05)
    exact = jnp.broadcast_to(jnp.asarray(truth, jnp.float32), (2, 9, 2))
    said = gradients.statistics(exact, exact.swapaxes(0, 1))
    assert said["cosine"] == pytest.approx(1.0) and said["agreement"] == pytest.approx(1.0)
    across = jnp.stack([exact[0], exact[0] @ jnp.asarray([[0.0, 1.0], [-1.0, 0.0]])], 1)
    assert gradients.statistics(exact, across)["agreement"] == pytest.approx(0.0, abs=1e-6)


def test_slopes_stay_within_the_range_of_actions():
    """Of a quadratic, whose slope over an interval is the derivative at its middle."""
    action = jnp.asarray([0.3, 1.0, -0.95])
    values = lambda a: jnp.stack([jnp.square(a) @ jnp.asarray([1.0, 2.0, 3.0]), a.sum()])  # noqa: E731
    found = gradients.slopes(values, action)
    middles = np.array([0.3, 0.95, -0.925])
    np.testing.assert_allclose(found, np.stack([2 * middles * [1, 2, 3], np.ones(3)], 1), rtol=1e-4)


def test_true_gradients_stay_finite_where_the_closed_loop_is_unstable():
    """A stiff policy's rollouts have derivatives that grow along them; the slopes of their returns have none."""
    layout, action = Layout(1, 2), jnp.asarray([0.1, -0.1])
    mass = gradients.Mass(jnp.asarray([0.9, 0.1]), jnp.zeros(2), jnp.asarray(0))
    stiff = lambda mass: jnp.tanh(60 * (jnp.asarray([1.0, 0.0]) - mass.position))  # noqa: E731
    draw = partial(gradients.simulate, stiff, mass, layout=layout, noise=0.2, discount=0.99)
    keys = jax.random.split(jax.random.key(0), 16)
    mean = jax.jit(lambda a: jax.vmap(lambda key: draw(a, key))(keys).mean())
    assert not np.abs(jax.grad(mean)(action)).max() < 1e3
    assert np.abs(gradients.slopes(mean, action)).max() < 30


@pytest.mark.long
@pytest.mark.parametrize("method", ["dsdpg", "mage"])
def test_gradients_of_critics_are_those_of_their_expected_values(method: str):
    """By central differences, with the same samples of the distribution."""
    agent = family.program(method).agent
    assert isinstance(agent, Learner)
    state = agent.init(jax.random.key(0))
    states, actions = (jax.random.normal(jax.random.key(i), (3, size)) for i, size in ((1, 6), (2, 2)))
    find = jax.jit(lambda actions: gradients.critic_gradients(agent, state, states, actions, jax.random.key(3)))
    step = jnp.asarray([[0.05, 0.0]])
    (values, slopes), (low, _), (high, _) = find(actions), find(actions - step), find(actions + step)
    assert values.shape == (2, 3) and slopes.shape == (2, 3, 2) and not np.allclose(values[0], values[1])
    np.testing.assert_allclose(slopes[..., 0], (high - low) / 0.1, rtol=0.02, atol=1e-4)


@pytest.mark.parametrize("dimensions", [1, 4])
def test_the_simulator_is_the_environment_and_its_derivative_is_right(dimensions: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gradients, "HORIZON", 30)
    monkeypatch.setattr(gradients, "STIR", 0.0)
    layout, action = Layout(2, dimensions), np.full(dimensions, 0.3, np.float32)
    environment = PointMass(layout.name)
    environment.reset(4)
    environment.goal = 1
    position = jnp.asarray(environment.position, jnp.float32)
    start = gradients.Mass(position, jnp.zeros(dimensions), jnp.asarray(1))
    slope = lambda mass: 0.5 * (jnp.asarray(locations(layout)[1], jnp.float32) - mass.position)  # noqa: E731
    arguments = {"layout": layout, "noise": 0.0, "discount": 0.9}
    value = lambda a: gradients.simulate(slope, start, jnp.asarray(a), jax.random.key(0), **arguments)  # noqa: E731
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toy, "STIR", 0.0)
        push, total = action, 0.0
        for time in range(30):
            step = environment.step(push)
            total += 0.9**time * step.reward
            push = 0.5 * (step.observation["goal"] - step.observation["position"])
    assert value(action) == pytest.approx(total, rel=1e-4)
    found = jax.grad(value)(jnp.asarray(action))
    for entry in range(dimensions):
        by = np.zeros(dimensions, np.float32)
        by[entry] = 0.03
        assert found[entry] == pytest.approx(float(value(action + by) - value(action - by)) / 0.06, rel=0.02, abs=1e-3)


def test_the_true_value_waits_for_the_goal():
    """At rest at the only location, before it is known: the value is the discounted sum from when it is revealed on."""
    layout = Layout(1, 2)
    mass = gradients.Mass(jnp.asarray([1.0, 0.0]), jnp.zeros(2), jnp.asarray(-1))
    stay = lambda mass: 3 * (jnp.asarray([1.0, 0.0]) - mass.position) - 2 * mass.velocity  # noqa: E731
    value = partial(gradients.simulate, stay, mass, jnp.zeros(2), layout=layout, noise=0.0, discount=0.9)
    found = jax.vmap(value)(jax.random.split(jax.random.key(1), 2000))
    chance = 1 - 0.8 ** np.arange(1, 400)
    wanted = np.sum(0.9 ** np.arange(399) * chance)
    assert found.mean() == pytest.approx(wanted, rel=0.03)  # the noise of velocities costs some of it
    assert (
        gradients.location_of(jnp.zeros(2), layout) == -1 and gradients.location_of(jnp.asarray([1.0, 0]), layout) == 0
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--locations 2 1", "--locations must increase"),
        ("--locations 0 1", "from 1 on"),
        ("--locations 1 65", "takes 1 to 64"),
        ("--dimensions 2 3", "takes 1, or an even number"),
        ("--dimensions 4 2", "--dimensions must increase"),
        ("--noise 0.2 0", "--noise must increase"),
        ("--noise -1", "--noise must increase"),
        ("--rollouts 1", "--rollouts is 1"),
        ("--methods dsdpg tr3", "unknown method 'tr3': did you mean td3"),
        ("--steps 0", "--steps is 0"),
        ("--episodes 0", "--episodes is 0"),
    ],
)
def test_mistakes(words: str, message: str):
    with pytest.raises(UserError, match=message):
        main(["point-mass", *words.split()])


@pytest.mark.long
def test_a_tiny_pass_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = (
        f"--out {tmp_path} --locations 2 --dimensions 4 --noise 0.2 --methods td3 --seeds 0 1 --steps 560 "
        "--updates-per-step 1 --episodes 2 --states 8 --rollouts 32"
    )
    with tiny.quickly():
        assert main(["point-mass", *words.split()]) == 0
    printed = capsys.readouterr().out
    assert "N = 2, noise 0.2: final return" in printed and "controller" in printed and "point-mass.png" in printed
    written = json.loads((tmp_path / "point-mass.json").read_text())
    cells = [(record["method"], record["locations"], record["dimensions"]) for record in written["records"]]
    assert cells == [("td3", 2, 4)]
    assert all(len(record["returns"]) == 2 for record in written["records"])
    for seed in (seed for record in written["records"] for seed in record["gradients"]):
        assert np.isfinite(list(seed.values())).all() and seed["variance"] > 0 and abs(seed["cosine"]) <= 1
    assert [sorted(r) for r in written["controller"]] == [["dimensions", "goals", "locations", "noise", "returns"]]
    names = ("point-mass", "point-mass-curves", "point-mass-gradients")
    files = {f"{name}.{kind}" for name in names for kind in ("png", "pdf")} | {"point-mass.json", "parts", "runs"}
    assert {path.name for path in tmp_path.iterdir()} == files
    run, (part,) = tmp_path / "runs" / "td3-2-4d-noise-0.2", (tmp_path / "parts").iterdir()
    before = (run / "metrics.jsonl").read_text()
    part.unlink()
    with tiny.quickly():
        assert main(["point-mass", *words.split()]) == 0  # a run that is complete is measured, not trained
    assert (run / "metrics.jsonl").read_text() == before
    shutil.rmtree(tmp_path / "runs")
    assert main(["point-mass", *words.split()]) == 0  # a part that is kept does not need its run
    assert not run.exists()
    assert json.loads((tmp_path / "point-mass.json").read_text())["records"] == written["records"]
