"""Suites hold the runs that the paper's tables and figures are made of, and come to commands that can be typed."""

import json
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest

from sobolev.checkpoints.run_folder import opened
from sobolev.cli.train import config_from
from sobolev.config import resolved
from sobolev.errors import UserError
from sobolev.logs.sinks import field_name
from sobolev.sweeps import suites
from sobolev.sweeps.expand import expand
from sobolev.sweeps.suites import load, narrowed, parse

TABLE_1 = {"cheetah-run", "hopper-hop", "hopper-stand", "walker-run", "walker-stand", "walker-walk"}
QUADRUPED = {"quadruped-run", "quadruped-walk"}


@pytest.mark.long
@pytest.mark.parametrize("name", suites.named())
def test_every_suite_comes_to_commands_of_its_runs(name):
    found = expand(load(name))
    for run in found:
        command = run.command(Path("there"))
        assert command[0] == "train"
        assert config_from(command[1:]) == config_in_a_folder(run)


def config_in_a_folder(run):
    return replace(run.config, run=Path("there"))


@pytest.mark.long
def test_tasks_and_steps_are_the_papers():
    table_3 = set(load("dmc-proprio-2m").tasks)
    assert len(table_3) == 18 and table_3 > TABLE_1
    assert set(load("dmc-proprio").tasks) == table_3 | QUADRUPED
    assert set(load("dmc-proprio-locomotion").tasks) == TABLE_1
    assert set(load("quadruped-4m").tasks) == QUADRUPED
    assert load("dmc-pixels").tasks == ("walker-run", "quadruped-run", "quadruped-walk", "hopper-hop")
    assert {run.config.observations for run in expand(load("dmc-pixels-20"))} == {"pixels"}
    assert set(load("sensitivity").tasks) == {"walker-walk", "hopper-stand"}
    steps = {"dmc-proprio": 1_000_000, "dmc-proprio-2m": 2_000_000, "quadruped-4m": 4_000_000, "cost": 500_000}
    for name, number in steps.items():
        assert {run.config.steps for run in expand(load(name))} == {number}
    assert len(expand(load("dmc-proprio"))) == 20 * 2
    assert {run.seeds for run in expand(load("dmc-proprio"))} == {(0, 1, 2, 3, 4)}


@pytest.mark.long
def test_the_ablations_have_the_settings_of_figure_5():
    def settings(name):
        found = [run for run in expand(load(name)) if run.task == "walker-walk" and run.variant.method == "gpld"]
        penalties = [run.config.agent.penalty for run in found]
        return sorted((p.posterior, p.prior, p.rho, p.schedule) for p in penalties)

    rhos = (0.25, 0.5, 0.75, 1.0)
    assert settings("ablation-rho") == sorted(
        [(0.5, 0.0, rho, "sqrt") for rho in rhos] + [(0.0, 0.5, rho, "sqrt") for rho in rhos]
    )
    strengths = (0.0, 0.25, 0.5, 0.75)
    pairs = [(a, b, 0.5, "sqrt") for a in strengths for b in strengths if a or b]
    assert settings("ablation-target") == sorted(pairs)  # without both it is dreamer, which is in the suite too
    assert settings("ablation-decay") == [(0.5, 0.0, 0.5, "none"), (0.5, 0.0, 0.5, "sqrt")]


TABLE_4 = [(0.25, 0, 0.5), (0.25, 0.5, 0), (0.5, 0, 0.5), (0.5, 0.25, 0), (0.5, 0.25, 0.25), (0.5, 0.5, 0)]
TABLE_4 += [(0.5, 0.5, 0.5), (0.5, 0.75, 0.75), (0.75, 0, 0.5), (0.75, 0.5, 0), (1.0, 0, 0.5), (1.0, 0.5, 0)]
"""rho, posterior, prior"""


def test_cost_has_the_settings_of_table_4():
    found = [run.config.agent.penalty for run in expand(load("cost")) if run.variant.method == "gpld"]
    assert sorted({(p.rho, p.posterior, p.prior) for p in found}) == TABLE_4
    assert all(len(run.seeds) == 1 for run in expand(load("cost")))


def test_pixel_tasks_are_those_of_the_published_scores():
    text = resources.files("sobolev.reports").joinpath("published/dmc_vision_dreamerv3_official.json").read_text()
    assert sorted(map(field_name, load("dmc-pixels-20").tasks)) == sorted({score["task"] for score in json.loads(text)})


def test_a_warm_run_starts_from_the_cold_one_of_its_task():
    found = expand(load("warm-start"), output=Path("out"))
    assert [(run.task, run.variant.label) for run in found[:3]] == [
        ("hopper-hop", "dreamer"),
        ("hopper-hop", "dreamer, warm"),
        ("hopper-hop", "gpld, warm"),
    ]
    cold, *warm = found[:3]
    assert cold.needs is None and cold.config.warm_start is None
    assert {run.needs for run in warm} == {cold.folder}
    assert {run.config.warm_start for run in warm} == {Path("out") / cold.folder}
    assert warm[0].checked().warm_start_parts == ("encoder", "decoder")


def test_a_warm_run_has_its_folder_wherever_the_sweep_is(tmp_path, monkeypatch):
    """However --output is written, and after a move: it goes on with the path with which it was begun."""

    def warm(output: Path):
        return expand(load("warm-start"), output=output)[1]

    monkeypatch.chdir(tmp_path)
    run = warm(Path("out"))
    assert warm(tmp_path / "out").folder == run.folder == warm(Path("elsewhere")).folder
    assert warm(tmp_path / "out").config.warm_start == tmp_path / "out" / str(run.needs)
    begun = replace(run.config, run=Path("out") / run.folder)
    with opened(resolved(begun)):
        pass
    Path("out").rename("moved")
    again = warm(tmp_path / "moved")
    assert again.folder == run.folder
    command = config_from(again.command(tmp_path / "moved" / again.folder)[1:])
    with opened(resolved(command)):  # no other run, with another --warm-start
        pass
    assert command.warm_start == Path("out") / str(run.needs)


def test_a_warm_run_that_an_earlier_version_began_is_found(tmp_path):
    """Its folder is named after the whole path of the other run."""
    new = expand(load("warm-start"), output=tmp_path)[1]
    old = replace(new, named_after=None)
    assert old.folder != new.folder
    (tmp_path / old.folder).mkdir(parents=True)
    found = expand(load("warm-start"), output=tmp_path)[1]
    assert (found.folder, found.config) == (old.folder, old.config)


def test_a_suite_of_ones_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        """
        tasks = ["quadruped-4m", "walker-walk"]
        seeds = [3, 4, 5]
        seeds_per_run = 2
        preset = "laptop"
        settings.steps = 5000
        settings."env.number" = 8
        variants = [
            { method = "dreamer", label = "base" },
            { method = "gpld", label = "half", settings = { "penalty.rho" = 0.5 }, grid = { size = ["1m", "12m"] } },
        ]
        """
    )
    suite = load(str(path))
    assert (suite.name, suite.tasks) == ("mine", ("quadruped-run", "quadruped-walk", "walker-walk"))
    found = expand(suite)
    assert len(found) == 3 * 3 * 2
    assert [run.seeds for run in found[:2]] == [(3, 4), (5,)]
    assert [v.label for v in suite.variants] == ["base", "half size=1m", "half size=12m"]
    assert {(c.config.steps, c.config.env.number, c.config.preset) for c in found} == {(5000, 8, "laptop")}
    sizes = {run.variant.label: run.config.agent.model.deter for run in found}
    assert sizes == {"base": 512, "half size=1m": 512, "half size=12m": 2048}


def test_settings_as_tables_are_settings_as_paths(tmp_path):
    """Also where suite and variant name different settings of one group, and in the commands of the runs."""
    path = tmp_path / "mine.toml"
    text = """
        tasks = ["walker-walk"]
        seeds = [0]
        settings.evaluation.episodes = 1
        settings.agent.batch_size = 8
        [[variants]]
        method = "gpld"
        settings.evaluation.every = 50
        [variants.grid.penalty]
        rho = [0.25, 0.5]
        """
    path.write_text(text)
    suite = load(str(path))
    assert [variant.label for variant in suite.variants] == ["gpld every=50 rho=0.25", "gpld every=50 rho=0.5"]
    for run, rho in zip(expand(suite), (0.25, 0.5), strict=True):
        config = run.config
        assert (config.evaluation.episodes, config.evaluation.every) == (1, 50)
        assert (config.agent.batch_size, config.agent.penalty.rho) == (8, rho)
        assert config_from(run.command(tmp_path)[1:]).evaluation == config.evaluation
    with pytest.raises(UserError, match="evaluation.every is what suite mine varies"):
        expand(suite, {"gpld": {"evaluation.every": 3}})


def test_given_settings_go_before_the_suites_and_after_a_variants():
    suite = narrowed(load("ablation-rho"), tasks=["walker-walk"])
    given = {"gpld": {"steps": 10, "penalty.decay_scale": 5.0}, "dreamer": {"steps": 10}}
    found = expand(suite, given, preset="laptop", seeds=[7])
    assert {(c.config.steps, c.seeds, c.config.size) for c in found} == {(10, (7,), "1m")}
    assert {c.config.agent.penalty.decay_scale for c in found if c.variant.method == "gpld"} == {5.0}
    with pytest.raises(UserError, match="penalty.rho is what suite ablation-rho varies"):
        expand(suite, {"gpld": {"penalty.rho": 0.1}})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "suite x has no tasks"),
        ({"task": ["walker-walk"]}, "unknown key of suite x 'task': did you mean tasks?"),
        ({"tasks": "walker-walk"}, "tasks of suite x takes a list"),
        ({"tasks": ["walker-wlak"]}, "unknown task 'walker-wlak': did you mean walker-walk?"),
        ({"tasks": ["walker-walk"], "methods": ["gpdl"]}, "unknown method 'gpdl': did you mean gpld?"),
        ({"tasks": ["walker-walk"], "methods": ["gpld"], "variants": [{}]}, "leave out methods"),
        ({"tasks": ["walker-walk"], "variants": [{"metod": "gpld"}]}, "did you mean method?"),
        ({"tasks": ["walker-walk"], "variants": [{"grid": {"penalty.rho": 0.5}}]}, "takes a list of values"),
        ({"tasks": ["walker-walk"], "variants": [{}, {}]}, "has the variant 'gpld' twice"),
        ({"tasks": ["walker-walk"], "variants": [{"label": "a"}, {"label": "b"}]}, "'a' and 'b' are the same run"),
        ({"tasks": ["walker-walk"], "settings": {"penalty.rhoo": 1}}, "did you mean penalty.rho?"),
        ({"tasks": ["walker-walk"], "settings": {"steps": "many"}}, "steps takes a whole number"),
        ({"tasks": ["walker-walk"], "seeds": []}, "seeds of suite x are"),
        ({"tasks": ["walker-walk"], "seeds_per_run": 0}, "must be at least 1"),
        ({"tasks": ["walker-walk"], "variants": [{"warm_start": "bsae"}, {"label": "base"}]}, "did you mean base?"),
        ({"tasks": ["walker-walk"], "variants": [{"warm_start": "base"}]}, "one at least must start by itself"),
        ({"tasks": ["walker-walk"], "variants": [{"grid": {"penalty.rho": []}}]}, "for penalty.rho, with one at least"),
        ({"tasks": ["walker-walk"], "preset": "labtop"}, "unknown preset of method dreamer 'labtop'"),
        ({"tasks": ["walker-walk"], "settings": {"preset": "demo"}}, "cannot have preset: it is given by preset = ..."),
        ({"tasks": ["walker-walk"], "variants": [{"settings": {"seeds": [5]}}]}, "it is given by seeds = [...]"),
        ({"tasks": ["walker-walk"], "variants": [{"settings": {"method": "td3"}}]}, "it is given by method = ..."),
        ({"tasks": ["walker-walk"], "variants": [{"settings": {"run": "a"}}]}, "it is given by --output"),
        ({"tasks": ["walker-walk"], "variants": [{"grid": {"task": ["a"]}}]}, "it is given by tasks = [...]"),
    ],
)
def test_mistakes_are_one_sentence(table, message):
    with pytest.raises(UserError) as caught:
        expand(parse("x", table))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_presets_of_variants():
    variants = [{"method": "td3"}, {"method": "td3", "label": "small", "preset": "demo"}, {"method": "mage"}]
    table = {"tasks": ["gym:Ant-v5"], "variants": variants}
    assert [run.config.preset for run in expand(parse("x", table))] == ["paper", "demo", "paper"]
    variants[1]["preset"], table["preset"] = "paper", "laptop"
    assert [run.config.preset for run in expand(parse("x", table))] == ["laptop", "paper", "laptop"]
    found = expand(parse("x", {**table, "variants": variants[::2]}), preset="demo")
    assert [(run.config.preset, run.config.size) for run in found] == [("demo", "small")] * 2


def test_unknown_suites_and_files(tmp_path):
    with pytest.raises(UserError, match="unknown suite 'dmc-propio': did you mean dmc-proprio"):
        load("dmc-propio")
    with pytest.raises(UserError, match="does not exist"):
        load(str(tmp_path / "mine.toml"))
    (tmp_path / "bad.toml").write_text("tasks = [")
    with pytest.raises(UserError, match="cannot be read"):
        load(str(tmp_path / "bad.toml"))


def test_narrowing():
    suite = load("ablation-decay")
    small = narrowed(suite, ["walker-walk"], ["gpld"])
    assert (small.tasks, [v.label for v in small.variants]) == (
        ("walker-walk",),
        ["gpld schedule=sqrt", "gpld schedule=none"],
    )
    with pytest.raises(UserError, match="unknown task of the suite 'walker-wlak': did you mean walker-walk"):
        narrowed(suite, ["walker-wlak"])
    with pytest.raises(UserError, match="unknown method of the suite 'td3'"):
        narrowed(suite, (), ["td3"])
