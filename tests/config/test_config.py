"""Configs: presets, JSON round trip, resolution, and one sentence for everything impossible."""

import json
import math
import sys
import types
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import pytest
from annotated_types import Ge, Gt, Le, Lt
from hypothesis import given
from hypothesis import strategies as st

from sobolev.agents.dreamer.config import SIZES
from sobolev.agents.method import Pace
from sobolev.config import TrainConfig, configure, defaults, from_json, resolved, to_json
from sobolev.config.codec import assign, encode, flattened, settings
from sobolev.config.registry import OURS
from sobolev.config.train import EvaluationConfig
from sobolev.config.validate import validate
from sobolev.errors import UserError
from sobolev.ranges import bounded, check_ranges


def changed(**values: Any) -> TrainConfig[Any]:
    """The laptop preset with settings changed; a double underscore is a dot."""
    method = values.pop("method", "gpld")
    settings = {name.replace("__", "."): value for name, value in values.items()}
    return configure("walker-walk", method=method, preset="laptop", settings=settings)


def test_paper_preset_is_table_2() -> None:
    config = defaults("walker-walk")
    agent = config.agent
    assert (config.steps, config.env.number) == (10**6, 16)
    assert (config.evaluation.every, config.evaluation.episodes) == (5000, 3)
    assert (agent.batch_size, agent.batch_length, agent.train_ratio, agent.behavior.horizon) == (16, 64, 512, 25)
    assert (agent.optimizer.learning_rate, agent.optimizer.warmup, agent.optimizer.clip) == (4e-5, 1000, 0.3)
    assert (agent.penalty.posterior, agent.penalty.prior, agent.penalty.rho, agent.penalty.floor) == (0.5, 0, 0.5, 1e-3)
    assert agent.model == SIZES["12m"]


@pytest.mark.parametrize("preset", ["paper", "laptop", "demo"])
@pytest.mark.parametrize("method", ["gpld", "dreamer"])
@pytest.mark.parametrize("size", [None, *SIZES])
def test_every_combination_of_labels_is_a_valid_run(preset: str, method: str, size: str | None) -> None:
    config = defaults("walker-walk", method, size, preset)
    validate(config)
    assert config.agent.model == SIZES[config.size]
    assert (config.agent.penalty.posterior > 0) == (method == "gpld")


def test_methods_differ_by_the_penalty_alone() -> None:
    gpld, dreamer = defaults("walker-walk", "gpld"), defaults("walker-walk", "dreamer")
    different = [path for path, leaf in settings(gpld).items() if settings(dreamer)[path] != leaf]
    assert different == ["method", "penalty.posterior"]


def test_resolution_leaves_nothing_open() -> None:
    config = resolved(defaults("walker-walk"), "cpu")
    assert (config.env.repeat, config.agent.precision) == (2, "float32")
    assert resolved(defaults("walker-walk"), "gpu").agent.precision == "bfloat16"
    assert resolved(changed(env__repeat=4, precision="bfloat16"), "cpu").env.repeat == 4
    assert resolved(config, "gpu") == config


def test_whole_numbers_are_taken_for_floats() -> None:
    """So that 512 and 512.0 are one run, not two."""
    text = to_json(defaults("walker-walk"))
    assert '"train_ratio": 512.0' in text
    assert to_json(from_json(text.replace('"train_ratio": 512.0', '"train_ratio": 512'))) == text
    assert to_json(configure("walker-walk", settings={"train_ratio": 512})) == text


@given(
    steps=st.integers(1, 10**9),
    seeds=st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=5, unique=True),
    rho=st.floats(0.001, 1.0),
    rate=st.floats(1e-300, 1e300),
    rows=st.none() | st.integers(1, 32),
    run=st.none() | st.text("abc/ :", min_size=1).map(Path).filter(lambda path: bool(str(path).strip())),
)
def test_json_round_trip_is_exact(
    steps: int, seeds: list[int], rho: float, rate: float, rows: int | None, run: Path | None
) -> None:
    values = {"steps": steps, "seeds": tuple(seeds), "penalty.rho": rho, "optimizer.learning_rate": rate}
    values |= {"penalty.rows": rows, "run": run, "penalty.schedule": "custom", "penalty.custom": ((0, 1.0), (10, rho))}
    config = configure("gym:Ant-v5", settings=values)
    assert from_json(to_json(config)) == config


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"steps": 60000,', "", "the setting 'steps' is missing"),
        ('"steps": 60000', '"stepps": 60000', "unknown setting 'stepps': did you mean steps"),
        ('"rho": 0.5', '"rhoo": 0.5', r"unknown setting 'agent.penalty.rhoo': did you mean agent.penalty.rho"),
        ('"steps": 60000', '"steps": "many"', "steps takes a whole number, not 'many'"),
        ('"steps": 60000', '"steps": true', "steps takes a whole number"),
        ('"steps": 60000', '"steps": 1.5', "steps takes a whole number"),
        ('"fresh": false', '"fresh": 0', "fresh takes true or false"),
        ('"schedule": "sqrt"', '"schedule": "sqr"', "unknown agent.penalty.schedule 'sqr': did you mean sqrt"),
        ('{\n  "task"', '[\n  "task"', "not valid JSON"),
    ],
)
def test_json_of_another_schema_is_refused(old: str, new: str, message: str) -> None:
    text = to_json(defaults("walker-walk", preset="laptop"))
    assert old in text
    with pytest.raises(UserError, match=message):
        from_json(text.replace(old, new, 1))


RANGES = {path: (method, limits) for method in OURS for path, _, limits in bounded(defaults("walker-walk", method))}
NUMBERS = sorted(
    {
        path
        for method in OURS
        for path, (kind, _) in settings(defaults("walker-walk", method)).items()
        if kind in (int, float, int | None)
    }
)


@pytest.mark.parametrize("path", NUMBERS)
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf")])
def test_every_number_has_a_range_and_is_refused_outside_of_it(path: str, value: float) -> None:
    method, limits = RANGES[path]
    assert limits, f"{path} has no bounds: give its field some, as in Annotated[float, Ge(0)]"
    kind = settings(defaults("walker-walk", method))[path][0]
    if kind is not float and value != -1:
        with pytest.raises(UserError, match="takes a whole number"):
            configure("walker-walk", method=method, settings={path: value})
        return
    value = -100.0 if Ge(-20) in limits and value == -1 else value
    if value == math.inf and Le(math.inf) in limits:
        validate(configure("walker-walk", method=method, settings={path: value}))
        return
    with pytest.raises(UserError, match=path.rpartition(".")[2].replace("_", ".")):
        validate(configure("walker-walk", method=method, settings={path: value}))


def test_bounds_in_words() -> None:
    @dataclass(frozen=True)
    class Numbers:
        share: Annotated[float, Ge(0), Lt(1)] = 0.5
        rate: Annotated[float, Gt(0)] = 1.0
        rows: Annotated[int, Ge(1)] | None = None
        most: Annotated[int, Le(3)] = 0

    check_ranges(Numbers())
    check_ranges(Numbers(share=0.0, rows=1, most=-7))
    for found, sentence in (
        (Numbers(share=1.0), "--share is 1.0, but must be in [0, 1)"),
        (Numbers(rate=0.0), "--rate is 0.0, but must be above 0"),
        (Numbers(rate=math.inf), "--rate is inf, but must be a finite number above 0"),
        (Numbers(rate=math.nan), "--rate is nan, but must be a finite number above 0"),
        (Numbers(rows=0), "--rows is 0, but must be at least 1"),
        (Numbers(most=4), "--most is 4, but must be at most 3"),
    ):
        with pytest.raises(UserError) as caught:
            check_ranges(found)
        assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 0}, "--steps is 0, but must be at least 1"),
        ({"penalty__rho": 0.0}, "rho is 0.0"),
        ({"penalty__rho": 1.01}, "rho is 1.01"),
        ({"penalty__posterior": -0.5}, "posterior is -0.5"),
        ({"seeds": ()}, "--seeds is empty"),
        ({"seeds": (0, 1, 0)}, "--seeds holds 0 more than once"),
        ({"seeds": (0, -2)}, "--seeds holds -2"),
        ({"seeds": (2**31,)}, r"below 2\^31"),
        ({"env__number": 0}, "env.number"),
        ({"train_ratio": -1.0}, "--train-ratio is -1.0"),
        ({"model__deter": 100}, "--model.deter 100 is not divisible into --model.blocks 8: 96 would be"),
        ({"penalty__posterior": 0.0}, "choose --method dreamer"),
        ({"penalty__rows": 33}, "--penalty.rows is 33, but the posterior has only 32 rows"),
        (
            {"penalty__custom": ((0, 1.0),)},
            "--penalty.custom is not for --penalty.schedule sqrt: choose",
        ),
        (
            {"method": "dreamer", "penalty__posterior": 0.5},
            "method dreamer has no penalty: leave out --penalty",
        ),
        ({"batch_length": 300, "replay__capacity": 1200}, "raise --replay.capacity to 1204 or lower --batch-length"),
        ({"behavior__min_std": 2.0}, "--behavior.min-std must not be above"),
        ({"behavior__return_low": 96.0}, "--behavior.return-low must be below"),
        ({"precision": "float16"}, "unknown precision 'float16': did you mean bfloat16"),
    ],
)
def test_impossible_runs_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        validate(changed(**values))


@pytest.mark.parametrize("method", ["gpld", "dsdpg"])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"penalty.rows": 99}, "--penalty.rows is 99, but the (posterior has only 32 rows|transition has only 1 row)$"),
        (
            {"penalty.schedule": "sqrt", "penalty.custom": ((10, 0.5),)},
            "--penalty.custom is not for --penalty.schedule",
        ),
    ],
)
def test_every_method_checks_its_regularizer(method: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        validate(configure("walker-walk", method=method, preset="laptop", settings=values))


@pytest.mark.parametrize(
    ("nested", "dotted"),
    [
        ({"evaluation": {"episodes": 1}}, {"evaluation.episodes": 1}),
        ({"penalty": {"rho": 0.25}, "penalty.prior": 0.5}, {"penalty.rho": 0.25, "penalty.prior": 0.5}),
        ({"agent": {"batch_size": 4, "penalty": {"rho": 0.25}}}, {"batch_size": 4, "penalty.rho": 0.25}),
        ({"agent": {"penalty.rho": 0.25}, "agent.batch_size": 4}, {"batch_size": 4, "penalty.rho": 0.25}),
        (
            {"agent": {"regularizer": "spectral", "penalty": {"bound": 2}}},
            {"regularizer": "spectral", "penalty.bound": 2},
        ),
    ],
)
def test_a_table_names_part_of_a_groups_settings(nested: dict[str, Any], dotted: dict[str, Any]) -> None:
    assert configure("walker-walk", settings=nested) == configure("walker-walk", settings=dotted)
    assert flattened(nested) == dotted


def test_a_whole_group_may_be_given_as_it_is() -> None:
    group = EvaluationConfig(every=7)
    assert configure("walker-walk", settings={"evaluation": group}).evaluation == group
    assert configure("walker-walk", settings={"evaluation": encode(group)}).evaluation == group


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"evaluation": {"episods": 1}}, "unknown setting 'evaluation.episods': did you mean evaluation.episodes?"),
        ({"evaluaton": {"episodes": 1}}, "unknown setting 'evaluaton.episodes': did you mean evaluation.episodes?"),
        ({"evaluation": {"episodes": "x"}}, "evaluation.episodes takes a whole number, not 'x'"),
        ({"evaluation": 3}, "evaluation must be a table of settings, not 3"),
        ({"evaluation": {}}, "the table 'evaluation' has no settings"),
        ({"evaluation": EvaluationConfig(), "evaluation.every": 2}, "the setting 'evaluation.every' is given twice"),
        ({"evaluation.every": 2, "evaluation": EvaluationConfig()}, "the setting 'evaluation' is given twice"),
        ({"evaluation": {"every": 1}, "evaluation.every": 2}, "the setting 'evaluation.every' is given twice"),
        ({"steps": {"x": 1}}, "steps takes a whole number"),
        ({"agent": {"penalty": {"roh": 1}}}, "unknown setting 'penalty.roh': did you mean penalty.rho?"),
    ],
)
def test_mistakes_in_tables(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        configure("walker-walk", settings=given)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_of_several_missing_settings_the_first_is_named() -> None:
    tree = {name: value for name, value in encode(defaults("walker-walk")).items() if name not in ("seeds", "steps")}
    with pytest.raises(UserError, match="the setting 'steps' is missing"):
        from_json(json.dumps(tree))
    with pytest.raises(UserError, match="unknown setting 'one'"):
        from_json(json.dumps({**tree, "one": 1, "two": 2}))


@pytest.mark.parametrize("regularizer", ["jacobian", "noise"])
def test_a_regularizer_for_a_method_without_one_is_what_is_named(regularizer: str) -> None:
    for call in (
        lambda: defaults("walker-walk", "dreamer", regularizer=regularizer),
        lambda: configure("walker-walk", method="dreamer", settings={"agent": {"regularizer": regularizer}}),
    ):
        with pytest.raises(UserError, match="has no regularizer: leave out --regularizer, or choose --method gpld"):
            call()


def test_only_flags_that_the_method_has_are_suggested(monkeypatch: pytest.MonkeyPatch) -> None:
    """A method of one's own, whose windows have a length that no setting changes."""
    pace = lambda agent: Pace(100, 1, 1.0, 1)  # noqa: E731
    config = replace(defaults("walker-walk", "td3"), method="plain")
    monkeypatch.setitem(OURS, "plain", replace(OURS["td3"], name="plain", pace=pace))
    with pytest.raises(UserError) as caught:
        validate(assign(config, "replay.capacity", 50 * config.env.number))
    assert "batch_length" not in settings(config)
    assert str(caught.value).endswith(f"raise --replay.capacity to {101 * config.env.number}")


def test_size_and_preset_among_the_settings_choose_the_defaults() -> None:
    for several in ({"size": "1m", "preset": "demo", "steps": 100}, {"steps": 100, "preset": "demo", "size": "1m"}):
        assert configure("walker-walk", settings=several) == configure(
            "walker-walk", size="1m", preset="demo", settings={"steps": 100}
        )
    assert configure("walker-walk", settings={"size": "12m"}) == configure("walker-walk", size="12m")
    for one, message in (
        ({"size": "1m"}, "size is given twice, as 12m and among the settings as 1m"),
        ({"preset": "demo"}, "preset is given twice, as laptop and among the settings as demo"),
        ({"method": "td3"}, "method is among the settings: give it as an argument of its own"),
        ({"task": "walker-run"}, "task is among the settings"),
    ):
        with pytest.raises(UserError, match=message):
            configure("walker-walk", size="12m", preset="laptop", settings=one)


def test_a_method_of_another_package_cannot_pass_for_one_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("impostor")
    monkeypatch.setitem(sys.modules, "impostor", module)
    module.METHOD = replace(OURS["td3"], about="another one")  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="impostor:METHOD is called td3, which is a method of sobolev: rename it"):
        validate(configure("gym:Ant-v5", method="impostor:METHOD"))
    module.METHOD = replace(OURS["td3"], name="td3-mine")  # type: ignore[attr-defined]
    validate(configure("gym:Ant-v5", method="impostor:METHOD"))
    for name in ("a/b", "two words", "", "-x", ".."):
        with pytest.raises(UserError, match="a method cannot be called"):
            replace(OURS["td3"], name=name)


def test_unknown_names_get_the_nearest_one() -> None:
    for call, message in (
        (lambda: validate(configure("walker-wlak")), "unknown task 'walker-wlak': did you mean walker-walk"),
        (lambda: defaults("walker-walk", method="gpdl"), "unknown method 'gpdl': did you mean gpld"),
        (lambda: defaults("walker-walk", size="1"), "unknown size of method gpld '1': did you mean 1m"),
        (
            lambda: defaults("walker-walk", preset="laptpo"),
            "preset of method gpld 'laptpo': did you mean laptop",
        ),
        (lambda: changed(penalty__roh=0.5), "unknown setting 'penalty.roh': did you mean penalty.rho"),
        (lambda: changed(steps="3"), "steps takes a whole number, not '3'"),
    ):
        with pytest.raises(UserError, match=message):
            call()


def test_assign_changes_one_setting_and_nothing_else() -> None:
    before = defaults("walker-walk")
    after = assign(before, "model.deter", 64)
    old, new = settings(before), settings(after)
    assert [path for path in old if old[path] != new[path]] == ["model.deter"]
    assert after.agent.model.deter == 64


def test_a_run_may_save_at_its_end_alone() -> None:
    """JSON has no word for infinity: the file says "inf", and Python may too."""
    config = resolved(changed(checkpoint__minutes="inf"), "cpu")
    assert config.checkpoint.minutes == math.inf
    assert json.loads(to_json(config), parse_constant=pytest.fail)["checkpoint"]["minutes"] == "inf"
    assert from_json(to_json(config)) == config


@pytest.mark.parametrize("method", OURS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400])
def test_numbers_that_are_not_finite_are_refused_everywhere(method: str, value: float) -> None:
    config = defaults("toy:point-mass", method)
    for path, (kind, _) in settings(config).items():
        if kind in (float, float | None) and not (path == "checkpoint.minutes" and value == math.inf):
            with pytest.raises(UserError, match=f"^{path.replace('_', '[_-]')} takes|must be|it must be"):
                validate(assign(config, path, value))


@pytest.mark.parametrize("order", [1, -1])
def test_settings_that_only_fit_together_are_given_in_any_order(order: int) -> None:
    given = {"penalty.schedule": "custom", "penalty.custom": ((0, 1.0), (10, 0.5))}
    config = configure("walker-walk", settings=dict(list(given.items())[::order]))
    assert (config.agent.penalty.schedule, config.agent.penalty.custom) == ("custom", ((0, 1.0), (10, 0.5)))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_pairs_of_the_custom_schedule_are_finite(value: float) -> None:
    with pytest.raises(UserError, match="penalty.custom"):
        changed(penalty__schedule="custom", penalty__custom=((0, value),))


def test_the_home_folder_in_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a shell leaves it in --run=~/mine, and as Python gives it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    config = changed(run="~/a b/mine", warm_start=Path("~/other"))
    assert (config.run, config.warm_start) == (tmp_path / "a b/mine", tmp_path / "other")
    assert changed(run="here/~/x").run == Path("here/~/x")
