"""The programs in results, which read runs as the plans beside them say."""

import importlib.util
import json
import sys
import types
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.config import configure
from sobolev.envs.families.toy import Layout, PointMass
from sobolev.errors import UserError
from sobolev.reports.results.runs import find, load
from sobolev.training.start import start
from tests.reports import made_up

RESULTS = Path(__file__).parents[2] / "results"


def program(name: str) -> types.ModuleType:
    """A program in results."""
    spec = importlib.util.spec_from_file_location(name.replace("/", "_"), RESULTS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def printed(module: types.ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str):
    """What a program prints, without repeated spaces."""
    monkeypatch.setattr(sys, "argv", ["program", *words])
    module.main()
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def point_mass(gains: dict[tuple[int, float], float]) -> dict:
    """Records of two methods with areas 10 + gain and 10, and final returns 20 − D / 100 and 20."""
    records = []
    for (dimensions, noise), gain in gains.items():
        for method, mean in (("dsdpg", 10 + gain), ("mage", 10)):
            curves = [[mean + seed / 10, mean + seed / 10] for seed in (-1, 0, 1)]
            less = dimensions / 100 * (method == "dsdpg")
            returns = [score - less for score in (20.0, 21.0, 19.0)]
            record = {"method": method, "locations": 4, "dimensions": dimensions, "noise": noise, "returns": returns}
            records.append({**record, "curve": {"steps": [0, 10], "returns": curves}})
    return {"records": records}


def test_the_point_mass_is_read_as_planned(tmp_path, capsys, monkeypatch):
    gains = {(1, 0.0): 0.0, (4, 0.0): 1.0, (16, 0.0): -1.0, (1, 0.2): 0.05, (4, 0.2): 2.0, (16, 0.2): 5.0}
    (tmp_path / "point-mass.json").write_text(json.dumps(point_mass(gains)))
    lines = printed(program("point-mass/compare"), capsys, monkeypatch, str(tmp_path / "point-mass.json"))
    assert lines[0] == "area, dsdpg against mage D = 1 D = 4 D = 16 better, worse rank with D"
    assert lines[1] == "noise 0 +0.00 no difference +0.05 better -0.05 worse 1, 1 -0.5"
    assert lines[2] == "noise 0.2 +0.00 no difference +0.09 better +0.20 better 2, 0 +1.0"
    change = np.mean([0.05 / 20.05, 2 / 22, 5 / 25]) - np.mean([0, 1 / 21, -1 / 19])
    assert lines[3].startswith(f"from noise 0 to 0.2: {change:+.3f} (+0.0")
    final = lines[lines.index("") + 1 :]
    assert final[0].startswith("final return") and final[1].count("no difference") == 3
    assert final[1].endswith("0, 0 -1.0")


def test_numbers_of_locations_are_read_apart(tmp_path, capsys, monkeypatch):
    records = []
    for number, gain in ((1, 2.0), (4, -2.0)):
        some = point_mass({(1, 0.2): gain, (4, 0.2): gain})["records"]
        records += [record | {"locations": number} for record in some]
    (tmp_path / "point-mass.json").write_text(json.dumps({"records": records}))
    lines = printed(program("point-mass/compare"), capsys, monkeypatch, str(tmp_path / "point-mass.json"))
    heads = [line for line in lines if "against" in line]
    assert [line.split(",")[0] for line in heads] == ["N = 1: area", "N = 1: final return", "N = 4: area"] + [
        "N = 4: final return"
    ]
    assert lines[1].count("better") == 2 and lines[lines.index(heads[2]) + 1].count("worse") == 2


def test_the_bootstrap_of_growth_covers_what_seeds_leave_open():
    """With seeds that differ much, the interval of no change has 0 inside, and it is wider than that of equal seeds."""
    module, rng = program("point-mass/compare"), np.random.default_rng(1)
    cells = {(m, d, n): rng.normal(10, 3, 5) for m in ("dsdpg", "mage") for d in (1, 2) for n in (0.0, 0.2)}
    value, low, high = module.growth(cells, "mage", [1, 2], [0.0, 0.2])
    assert low < value < high and low < 0 < high
    equal = {key: np.full(5, 10.0) for key in cells}
    assert module.growth(equal, "mage", [1, 2], [0.0, 0.2]) == (0, 0, 0)


def test_mujoco_is_read_as_planned(tmp_path, capsys, monkeypatch):
    module = program("mujoco/compare")
    for number, task in enumerate(module.ACTIONS):
        for noise in (0.0, 0.1):
            for method, level in (("dsdpg", 100.0 + 50 * number * (noise > 0)), ("mage", 100.0)):
                folder = tmp_path / f"{task[4:]}-{method}-{noise}"
                made_up.run(folder, task, method, end=5000, every=1000, level=level, env__dynamics_noise=noise)
    lines = printed(module, capsys, monkeypatch, str(tmp_path))
    head = "InvertedDoublePendulum-v5 (1) gym:Hopper-v5 (3) gym:HalfCheetah-v5 (6) gym:Ant-v5 (8)"
    assert lines[0] == f"area, dsdpg against mage gym:{head}"
    assert lines[1].startswith("no noise ") and lines[1].endswith("of 4")
    assert lines[2].startswith("dynamics noise 0.1") and lines[2].split("gym")[0].count(" better") >= 3
    assert lines[4].endswith("; rises with the dimensions")
    assert any(line.startswith("final, dsdpg against mage") for line in lines)


def test_a_run_that_failed_does_not_shorten_the_others(tmp_path, capsys, monkeypatch):
    """Its last evaluation stands for those that it did not live to see."""
    module = program("mujoco/compare")
    for method, end in (("dsdpg", 5000), ("mage", 2000), ("td3", 5000)):
        made_up.run(tmp_path / method, "gym:Hopper-v5", method, end=end, every=1000, evaluated=end == 5000)
    runs = [run for folder in find([tmp_path]) for run in load(folder)]
    whole, short = module.held(runs)
    assert short == [f"mage, seed {seed}, ended at 2,000 of 5,000 env steps" for seed in (0, 1, 2)]
    for before, after in zip(runs, whole, strict=True):
        for seed, one in after.scores.items():
            if before.method == "mage":
                assert one.steps.tolist() == [0, 1000, 2000, 5000]
                assert one.returns.tolist() == [*before.scores[seed].returns, before.scores[seed].returns[-1]]
            else:
                assert one == before.scores[seed]
    lines = printed(module, capsys, monkeypatch, str(tmp_path))
    assert [line for line in lines if "ended at" in line] == short
    of_td3 = lines[lines.index(next(line for line in lines if line.startswith("area, dsdpg against td3"))) + 1]
    areas = [np.mean([np.trapezoid(one.returns, one.steps) / 5000 for one in run.scores.values()]) for run in runs]
    mine, other = areas[0], areas[2]  # in the order of their folders
    assert of_td3.startswith(f"no noise {(mine - other) / (mine + other):+.2f} ")


def test_seeds_that_overlap_are_no_difference():
    module = program("mujoco/compare")
    assert module.called([3, 4, 5], [1, 2, 2.9]) == "better"
    assert module.called([1, 2, 2.9], [3, 4, 5]) == "worse"
    assert module.called([1, 2, 3], [3, 4, 5]) == "no difference"
    assert module.relative([3.0], [-1.0]) == 1.0


def test_settings_are_ranked_by_areas_over_those_of_their_preset(tmp_path):
    module = program("tuning/measure")
    from sobolev.reports.analysis.compare import compare
    from sobolev.reports.analysis.measures import AREA

    for name, samples, level in (("preset", 10, 100.0), ("many", 20, 150.0), ("few", 5, 50.0)):
        for task in ("gym:Hopper-v5", "gym:Ant-v5"):
            folder = tmp_path / f"{name}-{task[4:]}"
            made_up.run(folder, task, "dsdpg", (0, 1), level=level, critic__samples=samples)
    comparison = compare([run for folder in find([tmp_path]) for run in load(folder)], baseline="dsdpg")
    entries = module.ranking(comparison)
    assert [entry["measure"] for entry in entries] == sorted((e["measure"] for e in entries), reverse=True)
    assert [entry["label"].split("samples=")[-1] for entry in entries] == ["20", "dsdpg", "5"]
    assert entries[1]["measure"] == 1 and entries[1]["ratios"].keys() == {"gym:Hopper-v5", "gym:Ant-v5"}
    for task in comparison.tasks():
        ratio = np.mean(list(comparison.values(AREA, task, entries[0]["label"]).values())) / np.mean(
            list(comparison.values(AREA, task, "dsdpg").values())
        )
        assert entries[0]["ratios"][str(task)] == pytest.approx(ratio)
    head = "setting gym:Ant-v5 gym:Hopper-v5 measure expected over true"
    assert module.table(entries)[0].split() == head.split()


def test_effects_of_an_action_are_compared_by_hand():
    module = program("point-mass/model")
    step, reward = jnp.array([[[1.0], [0.0]], [[0.0], [2.0]]]), jnp.array([[3.0, 4.0], [1.0, 0.0]])
    assert module.compared((step, reward), (step, reward)) == pytest.approx({"step": 0, "reward": 0, "cosine": 1})
    found = module.compared((step.at[0, 0, 0].set(3.0), jnp.array([[4.0, -3.0], [-1.0, 0.0]])), (step, reward))
    assert found == pytest.approx({"step": 4 / 5, "reward": (1 + 49 + 4) / 26, "cosine": -0.5})
    seeds = [{"step": value, "reward": 0.0, "cosine": 0.0} for value in (1.0, 5.0, 2.0)]
    records = [{"method": "mage", "locations": 4, "dimensions": d, "noise": 0.2, "seeds": seeds} for d in (8, 1)]
    lines = [" ".join(line.split()) for line in module.tables([*records, {**records[0], "method": "dsdpg"}])]
    assert lines[0].endswith("D = 1 D = 8")
    assert lines[1:3] == ["dsdpg, N = 4, noise 0.2 2.00", "mage, N = 4, noise 0.2 2.00 2.00"]


def test_the_simulator_has_the_effects_of_its_equations():
    """v' = 0.8 v + 0.2 a, p' = p + 0.2 v', and the reward's slope by finite differences."""
    module = program("point-mass/model")
    layout = Layout(4, 2)
    spaces = PointMass(layout.name).spaces
    seen = {"position": jnp.array([0.5, 0.2]), "velocity": jnp.array([0.1, 0.0]), "goal": jnp.array([1.0, 0.0])}
    at = partial(module.of_simulator, layout, 0.0, spaces, seen, key=jax.random.key(0))
    step, reward = at(jnp.array([0.3, -0.2]))
    rows = dict(zip([name for name, _ in spaces.observation], jnp.split(step, 3), strict=True))
    for name, slope in (("position", 0.04), ("velocity", 0.2), ("goal", 0.0)):
        np.testing.assert_allclose(rows[name], slope * np.eye(2), atol=1e-7)
    reached = np.array([0.5, 0.2]) + 0.2 * (0.8 * np.array([0.1, 0.0]) + 0.2 * np.array([0.3, -0.2]))
    value = np.exp(-((reached - [1, 0]) ** 2).sum() / 0.5)
    np.testing.assert_allclose(reward, value * -4 * (reached - [1, 0]) * 0.04, rtol=0.1)  # a little noise is left


def short_run(method: str, folder: Path, **values) -> Path:
    """A run of 60 env steps on the point mass with four dimensions."""
    values |= {"steps": 60, "exploration.random_steps": 20, "updates_per_step": 1, "evaluation.episodes": 0}
    values |= {"env.workers": 0, "log.tensorboard": False, "seeds": (0, 1), "run": folder}
    run, _ = start(configure("toy:point-mass-4-4d", method=method, preset="demo", settings=values))
    return run


@pytest.mark.long
def test_a_run_without_a_model_is_refused(tmp_path):
    run = short_run("td3", tmp_path / "run")
    with pytest.raises(UserError, match="run has no world model: leave out runs of td3"):
        program("point-mass/model").measured(run)


@pytest.mark.long
@pytest.mark.parametrize("method", ["dsdpg", "mage"])
def test_the_models_of_runs_are_read(method, tmp_path, capsys, monkeypatch):
    module = program("point-mass/model")
    monkeypatch.setattr(module, "STATES", 6)
    monkeypatch.setattr(module, "DRAWS", 3)
    run = short_run(method, tmp_path / "run", **({"ensemble.batches": 3} if method == "mage" else {}))
    capsys.readouterr()
    lines = printed(module, capsys, monkeypatch, str(run), "--out", str(tmp_path / "model.json"))
    assert lines[0].endswith("D = 4") and lines[1].startswith(f"{method}, N = 4, noise 0 ")
    (record,) = json.loads((tmp_path / "model.json").read_text())
    assert [seed["seed"] for seed in record["seeds"]] == [0, 1]
    assert all(np.isfinite(list(seed.values())).all() and abs(seed["cosine"]) <= 1 for seed in record["seeds"])
    config = json.loads((run / "config.json").read_text())
    of_variant = run.rename(tmp_path / "dsdpg-reward-4-4d-noise-0")
    assert module.measured(of_variant)["method"] == "dsdpg-reward"
    run = of_variant.rename(run)
    (run / "config.json").write_text(json.dumps({**config, "steps": 90}))
    with pytest.raises(UserError, match="is not finished: it has 60 of 90 env steps"):
        module.measured(run)
