"""Sensitivity of trained agents: latents along episodes, the numbers at them, checkpoints, groups and figures."""

import dataclasses
import re
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.agents.dreamer.tables import latent_tables
from sobolev.checkpoints.pytree_io import flatten
from sobolev.checkpoints.run_folder import opened
from sobolev.checkpoints.slots import Checkpoints
from sobolev.errors import UserError
from sobolev.experiments.api import Record
from sobolev.experiments.sensitivity import figures, runs
from sobolev.experiments.sensitivity.measure import TABLES, measure
from sobolev.plotting.colors import COLORS
from sobolev.reports.figures.sensitivity import NUMBERS
from sobolev.reports.figures.sensitivity import TABLES as TITLES
from sobolev.smoothness import probability_table
from sobolev.smoothness.sensitivity import sensitivity as local_sensitivity
from sobolev.training import evaluation
from sobolev.training.snapshot import keep_weights, read_weights
from tests import tiny
from tests.experiments import drawn
from tests.quick_runs import quick_runs

SEEDS = (0, 3)


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch, quick_runs(None):
        patch.setattr(runs, "Program", evaluation.Program)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a checkpoint at 100 env steps, and a kept copy at 40 whose posterior ignores its input."""
    config = tiny.config(seeds=SEEDS)
    config = dataclasses.replace(config, run=tmp_path_factory.mktemp("runs") / "run")
    with opened(config) as folder:
        state = tiny.program(tiny.agent(), SEEDS).initial_state()
        Checkpoints(folder / "checkpoint").save(50, flatten({"agent": state}), {}, {"env_steps": 100})
        blind = eqx.tree_at(lambda s: s.model.world.rssm.posterior.logits.kernel, state, replace_fn=jnp.zeros_like)
        keep_weights(folder, tiny.agent(), blind, 40)
        keep_weights(folder, tiny.agent(), blind, 100)
    return folder


@pytest.fixture(scope="module")
def records(run: Path) -> list[Record]:
    return runs.measure_runs([run], 2, 8, lambda line: None)


@pytest.fixture(scope="module")
def stream() -> tuple[Any, dict[str, Any]]:
    """A world model and seven steps of two environments, an episode beginning in the middle of one."""
    world = tiny.agent().init(jax.random.key(0)).model.world
    steps = tiny.random_steps(np.random.default_rng(0), (7, 2))
    # Actions beyond 1 would be scaled back to 1, so that a change of theirs could not show.
    steps["first"], steps["action"] = np.zeros((7, 2), bool), np.clip(steps["action"], -0.5, 0.5)
    steps["first"][0], steps["first"][4, 1] = True, True
    return world, steps


def latents(
    stream: tuple[Any, dict[str, Any]], dtype: str = "float32", **changes: Any
) -> tuple[np.ndarray, np.ndarray]:
    world, steps = stream
    steps = steps | changes
    deter, tokens = inputs_of(world, steps, jax.random.key(1), dtype)
    return np.asarray(deter).reshape(7, 2, -1), np.asarray(tokens).reshape(7, 2, -1)


@partial(jax.jit, static_argnums=3)
def inputs_of(world: Any, steps: dict[str, Any], key: Any, dtype: str) -> tuple[Any, Any]:
    """Deter and tokens at which the tables are measured."""
    tables = latent_tables(world, dtype, steps, key)
    deter, (both, tokens) = tables["prior"].inputs, (tables["posterior"].inputs, tables["posterior"].perturbed)
    return deter, both[:, tokens]


def test_latents_follow_the_actions_that_were_taken_before(stream: tuple[Any, dict[str, Any]]) -> None:
    deter, tokens = latents(stream)
    action = stream[1]["action"].copy()
    action[2, 0] += 0.5
    changed, same = latents(stream, action=action)
    np.testing.assert_array_equal(changed[:3], deter[:3])
    assert (changed[3, 0] != deter[3, 0]).any()
    np.testing.assert_array_equal(changed[:, 1], deter[:, 1])
    np.testing.assert_array_equal(same, tokens)
    world, steps = stream
    one = {name: values[5, 1] for name, values in steps["observation"].items()}
    np.testing.assert_allclose(tokens[5, 1], world.encoder(jax.tree.map(jnp.asarray, one)), rtol=1e-5, atol=1e-6)


def test_an_episode_begins_from_nothing(stream: tuple[Any, dict[str, Any]]) -> None:
    deter, _ = latents(stream)
    np.testing.assert_allclose(deter[4, 1], deter[0, 1], rtol=1e-5, atol=1e-6)
    assert (deter[4, 0] != deter[0, 0]).any()


def test_half_precision_is_near(stream: tuple[Any, dict[str, Any]]) -> None:
    """At first steps, where no latent has been drawn yet that could come out another."""
    for wide, half in zip(latents(stream), latents(stream, "bfloat16"), strict=True):
        assert half.dtype == np.float32
        np.testing.assert_allclose(half[0], wide[0], atol=0.05)


def test_numbers_are_those_of_the_tables(stream: tuple[Any, dict[str, Any]]) -> None:
    (world, steps), chosen, key = stream, np.array([1, 4, 9]), jax.random.key(2)
    measured = jax.jit(lambda w, s: measure(partial(latent_tables, w, "float32", s), chosen, key))(world, steps)
    keys = jax.random.split(key, 3)
    deter, tokens = inputs_of(world, steps, keys[0], "float32")
    both = jnp.concatenate([deter, tokens], -1)[chosen]
    size = deter.shape[1]
    local = partial(local_sensitivity, perturbed=slice(size, None), directions=2)
    moved = jax.jit(local)(world.rssm.posterior, both, keys[1])
    np.testing.assert_allclose(measured["posterior"]["sensitivity"], moved.value, rtol=1e-3)
    np.testing.assert_allclose(measured["posterior"]["sizes"][-1], 0.1 * jnp.linalg.norm(tokens[chosen], axis=1).mean())
    for table, inputs in (("posterior", both), ("prior", deter[chosen])):
        network = getattr(world.rssm, table)
        jacobian = jax.jacrev(lambda x, network=network: probability_table(network, x))
        jacobians = jax.jit(jax.vmap(jacobian))(inputs)
        norms = np.linalg.norm(jacobians, axis=(2, 3))
        np.testing.assert_allclose(measured[table]["jacobian_norm"], norms.mean(), rtol=1e-4)
        np.testing.assert_allclose(measured[table]["jacobian_energy"], np.square(norms).mean(), rtol=1e-4)


def test_every_checkpoint_and_seed_has_a_record(records: list[Record], run: Path) -> None:
    assert [(r["env_steps"], r["seed"]) for r in records] == [(40, 0), (40, 3), (100, 0), (100, 3)]
    for record in records:
        assert (record["label"], record["run"], record["states"]) == ("gpld", str(run), 8)
        blind = record["env_steps"] == 40
        for number in ("sensitivity", "jacobian_norm"):
            assert record["prior"][number] > 0
            assert (record["posterior"][number] == 0) == blind


def test_the_table_has_mean_and_deviation_of_every_checkpoint(records: list[Record]) -> None:
    head, *rows = [re.split(r"\s{2,}", line) for line in runs.table(records)]
    assert head == ["task", "method", "env steps", "seeds", *(f"{t} {n}" for n in ("KL/|d|", "|J|") for t in TABLES)]
    assert [row[:4] for row in rows] == [[tiny.TASK, "gpld", steps, "2"] for steps in ("40", "100")]
    for row, steps in zip(rows, (40, 100), strict=True):
        numbers = [(name, table) for name in ("sensitivity", "jacobian_norm") for table in TABLES]
        for cell, (name, table) in zip(row[4:], numbers, strict=True):
            values = [r[table][name] for r in records if r["env_steps"] == steps]
            assert cell == f"{np.mean(values):.3g} ± {np.std(values):.2g}"


def test_episodes_are_those_of_evaluate(records: list[Record], run: Path) -> None:
    played = {r["seed"]: r["mean"] for r in evaluation.evaluate(run, 2)}
    newest = [r for r in records if r["env_steps"] == 100]
    np.testing.assert_allclose([r["return"] for r in newest], [played[r["seed"]] for r in newest], rtol=1e-6)


def test_a_damaged_copy_is_told(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "000000040.safetensors"
    path.write_bytes(b"nothing")
    state = tiny.program(tiny.agent(), SEEDS).initial_state()
    with pytest.raises(UserError, match="000000040.safetensors cannot be read.*delete the file"):
        read_weights(path, tiny.agent(), state)


def test_runs_are_grouped_by_their_settings(tmp_path: Path) -> None:
    def folder(name: str, **settings: Any) -> Path:
        config = dataclasses.replace(tiny.config(**settings), run=tmp_path / name)
        with opened(config) as made:
            return made

    a, b = folder("a", seeds=(0, 1)), folder("b", seeds=(2,))
    plain, other = folder("plain", method="dreamer"), folder("other", penalty__rho=0.25)
    assert [group.label for group in runs.grouped([a, b, a, plain])] == ["gpld", "dreamer"]
    labels = [(group.label, len(group.runs)) for group in runs.grouped([a, b, other, plain])]
    assert labels == [("gpld (a)", 2), ("gpld (other)", 1), ("dreamer", 1)]
    with pytest.raises(UserError, match="the same experiment with the same seed"):
        runs.grouped([a, folder("c", seeds=(1,))])
    with pytest.raises(UserError, match="no checkpoint yet"):
        runs.measure_runs([b], 1, 8, print)


def test_the_figure_over_training_has_every_seed_and_their_mean(records: list[Record]) -> None:
    figure = figures.draw(records, "a note")
    for ax, (number, table) in zip(figure.axes, product(NUMBERS, TABLES), strict=True):
        *seeds, mean = [drawn.y(line) for line in ax.lines]
        wanted = [[r[table][number] for r in records if r["seed"] == seed] for seed in SEEDS]
        np.testing.assert_allclose(seeds, wanted)
        np.testing.assert_allclose(mean, np.mean(wanted, 0))
        assert ax.lines[2].get_color() == COLORS["gpld"]
    assert [ax.get_title() for ax in figure.axes[:2]] == [f"{tiny.TASK}\n{TITLES[table]}" for table in TABLES]
    assert "a note" in [text.get_text() for text in figure.texts]


def test_the_figure_of_single_checkpoints_has_methods_side_by_side(records: list[Record]) -> None:
    newest = records[2:]
    double = {"posterior": {name: 2 * newest[0]["posterior"][name] for name in NUMBERS}}
    figure = figures.draw([*newest, *(r | {"label": "dreamer"} | double for r in newest)])
    first = figure.axes[0]
    assert [tick.get_text() for tick in first.get_xticklabels()] == ["dreamer\nat 100", "gpld\nat 100"]
    own = [r["posterior"]["sensitivity"] for r in newest]
    heights = drawn.heights(first.patches)
    np.testing.assert_allclose(heights, [double["posterior"]["sensitivity"], np.mean(own)])
    np.testing.assert_allclose(drawn.y(first.lines[1]), own)
