"""The modules of docs/extending.md, written to files as the page gives them, and used like those of a package."""

import contextlib
import dataclasses
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from sobolev import load_policy
from sobolev.agents.api import Agent, check
from sobolev.agents.method import Method
from sobolev.checkpoints.files import load_arrays
from sobolev.checkpoints.slots import Checkpoints
from sobolev.cli import evaluate, report, sweep, train
from sobolev.config import configure, resolved
from sobolev.config.registry import METHODS, agent_of
from sobolev.errors import UserError
from sobolev.training.program import Program
from sobolev.training.snapshot import kept_weights, read_weights
from tests import tiny

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
MODULES = re.findall(r"^```python\n# my_package/(\w+)\.py\n(.*?)^```", PAGE, re.M | re.S)
COMMANDS = [line for block in re.findall(r"^```bash\n(.*?)^```", PAGE, re.M | re.S) for line in block.splitlines()]
LINE = [tiny.TASK, "--env.number", "2", "--env.workers", "0", "--evaluation.episodes", "2", "--evaluation.every", "100"]
LINE += ["--log.every", "40", "--log.no-tensorboard", "--method"]


@pytest.fixture(scope="module", autouse=True)
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """`my_package`, where Python finds it."""
    folder = tmp_path_factory.mktemp("site") / "my_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    for name, text in MODULES:
        assert not (folder / f"{name}.py").exists()
        (folder / f"{name}.py").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder.parent)
        for module in [known for known in sys.modules if known.partition(".")[0] == "my_package"]:
            patch.delitem(sys.modules, module)
        patch.setattr("sobolev.system.jax_setup.configure", lambda compilation_cache: None)
        yield folder
    for module in [known for known in sys.modules if known.partition(".")[0] == "my_package"]:
        del sys.modules[module]


def made(module: str, *flags: str) -> Any:
    """The agent of a tiny run with a method of the page."""
    config = resolved(train.config_from([*LINE, f"my_package.{module}:METHOD", *flags]), "cpu")
    return agent_of(config, tiny.SPACES)


def learned(agent: Any) -> Any:
    """The report of an update; nothing is computed."""
    program: Any = Program(agent, (0,))
    replay, number = program.initial_replay(1, 200), jax.ShapeDtypeStruct((), "int32")
    return jax.eval_shape(program.functions.learn, program.state_shapes(), replay, number)[2]


def test_the_page_has_all_its_modules() -> None:
    assert [name for name, _ in MODULES] == ["scaled", "halves", "imitation", "smooth", "my_sink"]
    assert PAGE.count("```python") == len(MODULES)


def test_the_commands_can_be_typed() -> None:
    assert len(COMMANDS) == 5
    for line in COMMANDS:
        program, command, *words = shlex.split(line)
        assert (program, command) == ("sobolev", "train")
        config = resolved(train.config_from(words), "cpu")
        assert f"my_package.{METHODS.find(config.method).name}:METHOD" == config.method


def test_the_names_of_the_protocol_are_on_the_page() -> None:
    (block,) = re.findall(r"^```\n(config, spaces.*?)^```", PAGE, re.M | re.S)
    listed = {name for line in block.splitlines() for name in re.findall(r"^[\w, ]+", line)[0].strip().split(", ")}
    assert listed == {name for name in vars(Agent) if not name.startswith("_")}


def content(run: Path) -> dict[str, np.ndarray]:
    loaded = Checkpoints(run / "checkpoint").load(growing="leave")
    assert loaded is not None
    return loaded.state


@pytest.mark.long
def test_a_method_from_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained with snapshots and a sink of one's own, resumed to the bit, evaluated, loaded, and in a report."""
    monkeypatch.chdir(tmp_path)
    line = [*LINE, "my_package.imitation:METHOD", "--learning-rate", "1", "--checkpoint.snapshots", "50"]
    line += ["--log.sinks", "my_package.my_sink:SINK", "--seeds", "0", "1"]
    for run, steps in (("resumed", "160"), ("resumed", "240"), ("whole", "240")):
        assert train.main([*line, "--steps", steps, "--run", run]) == 0
    resumed, whole = (content(Path(run)) for run in ("resumed", "whole"))
    assert resumed.keys() == whole.keys()
    for name, array in whole.items():
        np.testing.assert_array_equal(array, resumed[name], err_msg=name)

    kept, agent = kept_weights(Path("whole")), made("imitation")
    assert list(kept) == [50, 100, 150, 200]
    kernels = [load_arrays(path)["kernel"] for path in kept.values()]
    assert kernels[0].shape == (2, 5, 1) and (kernels[-1] != kernels[1]).all()
    state: Any = Program(agent, (0, 1)).initial_state()
    np.testing.assert_array_equal(read_weights(kept[200], agent, state)["kernel"], kernels[-1])

    rows = [json.loads(text) for text in Path("whole/metrics.jsonl").read_text().splitlines()]
    assert sum("loss" in row for row in rows) > 4
    for run in ("resumed", "whole"):
        lines = [text.split(",") for text in Path(run, "mine.csv").read_text().splitlines()]
        found = [(int(step), int(seed), float(value)) for step, seed, name, value in lines if name == "loss"]
        assert found == [(row["step"], row["seed"], row["loss"]) for row in rows if "loss" in row], run

    assert evaluate.main(["whole", "--episodes", "2"]) == 0
    policy = load_policy("whole", seed=1)
    action = policy(policy.environment().reset(0).observation)
    assert action.shape == (1,) and abs(float(action[0])) < 1
    assert report.main(["whole", "--output", "page"]) == 0
    assert "imitation" in next(Path("page").glob("*.html")).read_text()


def rewarded(rng: np.random.Generator, shape: tuple[int, ...]) -> dict[str, Any]:
    """Random steps, whose action in every second one is tanh(position[0]) and brings a reward."""
    steps = tiny.random_steps(rng, shape)
    right = np.broadcast_to(np.arange(shape[-1]) % 2 == 0, shape)
    wanted = np.tanh(steps["observation"]["position"][..., :1])
    action = np.where(right[..., None], wanted, -wanted).astype(np.float32)
    return steps | {"action": action, "reward": np.roll(np.where(right, 5, -5), 1, -1).astype(np.float32)}


def test_imitation_learns_what_is_rewarded() -> None:
    program: Any = Program(made("imitation", "--learning-rate", "0.5"), (0,))
    state, replay = program.initial_state(), tiny.filled(program, (0,), steps=rewarded)
    for number in range(200):
        state, replay, _ = program.learn(state, replay, number)
    np.testing.assert_allclose(np.asarray(state["kernel"])[0, :, 0], [1, 0, 0, 0, 0], atol=0.1)


def test_maps_of_a_method_take_every_penalty() -> None:
    for flags, metric in (
        ([], "penalty"),
        (["--regularizer", "finite-difference", "--penalty.rho", "1"], "difference"),
        (["--regularizer", "jacobian-norm", "--penalty.policy", "0.1"], "excess"),
    ):
        names = {f"{metric}/policy{part}" for part in ("", "_lambda", "_row_std")}
        assert set(learned(made("smooth", *flags)).metrics) == {"loss", *names}
    with pytest.raises(UserError, match="method smooth takes penalties only: --regularizer spectral is not one"):
        made("smooth", "--regularizer", "spectral")
    with pytest.raises(UserError, match="--penalty.rows is 3, but the policy has only 1 row"):
        made("smooth", "--penalty.rows", "3")


def test_a_sweep_beside_a_method_of_sobolev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    suite = tmp_path / "mine.toml"
    suite.write_text(f'tasks = ["{tiny.TASK}"]\nmethods = ["my_package.imitation:METHOD", "td3"]\n')
    _, _, runs = sweep.plan([str(suite), "--seeds", "3"])
    assert [(run.config.method, run.config.preset, run.config.size) for run in runs] == [
        ("my_package.imitation:METHOD", "usual", "linear"),
        ("td3", "paper", "full"),
    ]
    with pytest.raises(UserError, match="unknown preset of method imitation 'laptop': choose from usual"):
        sweep.plan([str(suite), "--preset", "laptop"])
    _, _, runs = sweep.plan([str(suite), "--preset", "usual", "--methods", "my_package.imitation:METHOD"])
    assert [run.command(Path("there"))[2:6] for run in runs] == [
        ["--method", "my_package.imitation:METHOD", "--preset", "usual"]
    ]


@pytest.mark.parametrize("module", ["scaled", "halves"])
def test_variants_learn(module: str) -> None:
    base = {"scaled": "td3", "halves": "dsdpg"}[module]
    config = resolved(configure(tiny.TASK, method=base, preset="laptop"), "cpu")
    ours = learned(made(module, "--preset", "laptop")).metrics
    assert set(ours) == set(learned(agent_of(config, tiny.SPACES)).metrics)


def test_the_windows_that_the_page_describes() -> None:
    steps = learned(made("imitation")).batch.steps
    (table,) = re.findall(r"^\| entry \| shape.*?\n\n", PAGE, re.M | re.S)
    rows = [row.split(" | ")[:2] for row in table.strip().splitlines()[2:]]
    listed = {name: shape for names, shape in rows for name in re.findall(r"`(\w+)`", names)}
    assert steps.keys() == listed.keys()
    assert {name: leaf.shape[1:] for name, leaf in steps["observation"].items()} == {
        name: (64, 2, *spec.shape) for name, spec in tiny.SPACES.observation
    }
    for name in listed.keys() - {"observation"}:
        assert steps[name].dtype.name in listed[name]
        assert steps[name].shape[1:] == ((64, 2, 1) if name == "action" else (64, 2))


@dataclasses.dataclass(frozen=True)
class NoPrecision:
    """Settings that lack one."""

    batch_size: int = 4


def test_mistakes_are_told_in_a_sentence() -> None:
    imitation = METHODS.find("my_package.imitation:METHOD")
    agent: Any = made("imitation")

    class Half:
        """An agent that lacks two of its parts."""

        config, spaces, shown = agent.config, agent.spaces, agent.shown
        init, initial_carry, extras, act = agent.init, agent.initial_carry, agent.extras, agent.act

    class Mutable(type(agent)):
        """An agent that cannot be hashed."""

        __hash__: Any = None

    unhashable = Mutable(agent.config, agent.spaces)
    for call, message in (
        (lambda: check(Half(), "method half"), "the agent of method half lacks observe, learn: see `Agent`"),
        (lambda: check(agent, "method x", host_replay=True), "lacks windows or choose, which host_replay needs"),
        (lambda: check(unhashable, "method x"), "cannot be hashed"),
        (lambda: dataclasses.replace(imitation, config=NoPrecision), "lack precision"),
        (lambda: dataclasses.replace(imitation, config=dict), "are no dataclass"),
        (lambda: dataclasses.replace(imitation, presets={}), "has no preset"),
    ):
        with contextlib.ExitStack() as stack:
            caught = stack.enter_context(pytest.raises(UserError))
            call()
        assert message in str(caught.value) and "\n" not in str(caught.value)
    assert isinstance(imitation, Method)


def test_arguments_are_given_by_position_and_states_stay_alike() -> None:
    agent: Any = made("imitation")

    class Own(type(agent)):
        """Arguments with names of its own."""

        def act(self, s, c, t, k, m):
            assert m in ("train", "evaluate")
            return super().act(s, c, t, k, m)

        def learn(self, s, r, k, n):
            state, replay, report = super().learn(s, r, k, n)
            return self.spoilt(state), replay, report

    for spoilt, message in (
        (lambda state: state, None),
        (lambda state: {}, r"the agent's state has \['kernel'\] from init, and not in what learn returns"),
        (lambda state: {**state, "count": 1}, r"has \['count'\] from learn, and not in what init returns"),
        (lambda state: {"kernel": state["kernel"][:1]}, r"float32\[5, 1\] from init and float32\[1, 1\] from learn"),
        (lambda state: {"kernel": state["kernel"].astype("int32")}, r"from init and int32\[5, 1\] from learn"),
    ):
        with pytest.raises(UserError, match=message) if message else contextlib.nullcontext():
            own: Any = type("Spoilt", (Own,), {"spoilt": staticmethod(spoilt)})
            learned(own(agent.config, agent.spaces))
