"""The command line as a user meets it: lists, nearest names, exit statuses, and one sentence for every mistake."""

import errno
import importlib
import json
import os
import re
import subprocess
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sobolev import __main__ as command_line
from sobolev.checkpoints.run_folder import opened
from sobolev.cli import COMMANDS, evaluate, parser, sweep, train
from sobolev.config import TrainConfig, configure, defaults, resolved
from sobolev.config.codec import settings
from sobolev.config.registry import METHODS, OURS
from sobolev.config.validate import validate
from sobolev.envs import check_task
from sobolev.envs.catalog import to_try
from sobolev.errors import UserError


def sobolev(*words: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m sobolev` in a process of its own."""
    source = str(Path(command_line.__file__).parents[1])
    env = {**os.environ, "PYTHONPATH": source, "COLUMNS": "100", **environment}
    command = [sys.executable, "-m", "sobolev", *words]
    return subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def test_commands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--help"], ["-h"]):
        assert command_line.run(words) == 0
        shown = capsys.readouterr().out
        assert all(f"  {name} " in shown for name in COMMANDS)


def test_every_command_has_a_module_with_help(capsys: pytest.CaptureFixture[str]) -> None:
    for name in COMMANDS:
        try:
            assert command_line.run([name, "--help"]) == 0
        except SystemExit as leaving:
            assert leaving.code == 0
        assert f"sobolev {name}" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("sobolev 0.")


def test_a_mistake_is_one_sentence_and_exit_status_2(tmp_path: Path) -> None:
    result = sobolev("trian", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "sobolev: unknown command 'trian': did you mean train?\n"
    result = sobolev("train", "walker-wlak", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "sobolev: unknown task 'walker-wlak': did you mean walker-walk?\n"
    assert list(tmp_path.iterdir()) == []


def test_worker_processes_load_no_jax() -> None:
    code = "import sys, sobolev.envs; print([name for name in ('jax', 'equinox', 'tyro') if name in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(Path(command_line.__file__).parents[1])}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("method", OURS)
def test_help_of_train_names_every_setting(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit) as leaving:
        train.main(["--help-all", "--preset", "laptop", "--method", method])
    shown = capsys.readouterr().out
    assert leaving.value.code == 0
    default = defaults("walker-walk", method, preset="laptop")
    for path in settings(default):
        assert path == "task" or parser.spelled(path) in shown
    assert f"(default: {default.steps})" in shown and "usage: sobolev train [-h] [OPTIONS] TASK" in shown


@pytest.mark.parametrize("method", OURS)
def test_short_help_of_train_fits_a_screen(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as leaving:
        train.main(["--help", "--preset", "laptop", "--method", method])
    shown = capsys.readouterr().out
    default = defaults("walker-walk", method, preset="laptop")
    assert leaving.value.code == 0 and len(shown.splitlines()) < 50
    assert f"[{default.steps}]" in shown and "--help-all" in shown
    named = {name.replace("-", "_") for name in re.findall(r"^  --([a-z.-]+)", shown, re.M)}
    assert {"steps", "seeds", "batch_size"} <= named <= set(settings(default))
    fixed = METHODS.find(method).fixed
    assert not [name for name in named for path in fixed if f"{name}.".startswith(f"{path}.")]


def test_everyday_flags_exist() -> None:
    every = {path for method in OURS for path in settings(defaults("walker-walk", method))}
    assert set(train.EVERYDAY) <= every
    assert set(sweep.EVERYDAY) <= set(settings(sweep.SweepConfig("SUITE")))


def test_tasks_to_try_exist() -> None:
    shown = to_try()
    assert [family for family, _ in shown] == ["DeepMind Control", "Gymnasium", "a toy"]
    for name in [name for _, names in shown for name in names]:
        check_task(name)


def test_short_help_shows_the_flags_of_a_chosen_regularizer(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train.main(["--regularizer", "spectral", "--help"])
    shown = capsys.readouterr().out
    assert "Flags of spectral:" in shown and "--penalty.bound" in shown and "--penalty.rho" not in shown


@pytest.mark.parametrize(
    "words",
    [
        "walker-walk --penalty.rho 0.25 --batch-size 8 --model.deter 256 --env.number 4 --replay.capacity 1000 "
        "--behavior.horizon 15 --optimizer.learning-rate 3e-4 --seeds 0 1 2 --steps 1e6",
        "--penalty.rho=0.25 --batch_size 8 --model.deter=256 --env.number 4 --replay.capacity 1_000 "
        "--behavior.horizon 15 --optimizer.learning_rate 0.0003 --steps 1000000 --seeds 0 1 2 walker-walk",
    ],
)
def test_flags_set_fields(words: str) -> None:
    expected = {
        "penalty.rho": 0.25,
        "batch_size": 8,
        "model.deter": 256,
        "env.number": 4,
        "replay.capacity": 1000,
        "behavior.horizon": 15,
        "optimizer.learning_rate": 3e-4,
        "seeds": (0, 1, 2),
        "steps": 1_000_000,
    }
    assert train.config_from(words.split()) == configure("walker-walk", settings=expected)


@pytest.mark.parametrize("words", ["--size 1m --model.deter 128", "--model.deter=128 --size=1m"])
def test_flags_override_size_and_preset_in_any_order(words: str) -> None:
    config = train.config_from(["walker-walk", "--preset", "laptop", "--method", "dreamer", *words.split()])
    assert (config.agent.model.deter, config.agent.model.hidden, config.agent.batch_length) == (128, 64, 32)
    assert (config.method, config.agent.penalty.posterior) == ("dreamer", 0.0)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--fresh", {"fresh": True}),
        ("--no-compilation-cache", {"compilation_cache": False}),
        ("--log.no-tensorboard", {"log.tensorboard": False}),
        ("--penalty.rows 4", {"penalty.rows": 4}),
        ("--penalty.rows none", {"penalty.rows": None}),
        ("--penalty.rows=None", {"penalty.rows": None}),
        ("--env.repeat 2e0", {"env.repeat": 2}),
        ("--warm-start x --warm_start_parts actor critic", {"warm_start_parts": ("actor", "critic")}),
        ("--run a/b", {"run": Path("a/b")}),
        ("--penalty.schedule custom --penalty.custom 0 1 10 0.5", {"penalty.custom": ((0, 1.0), (10, 0.5))}),
    ],
)
def test_kinds_of_flags(words: str, expected: dict[str, Any]) -> None:
    found = settings(train.config_from(["walker-walk", *words.split()]))
    assert {path: found[path][1] for path in expected} == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "a task is missing, as in sobolev train walker-walk; others to try are cartpole-swingup"),
        (
            "walker-walk walker-run",
            "unexpected argument 'walker-run': sobolev train takes one TASK, and flags, which begin with --",
        ),
        ("walker-walk --methd gpld", "unknown flag '--methd': did you mean --method?"),
        ("walker-walk --rho 0.5", "unknown flag '--rho': did you mean --penalty.rho?"),
        ("walker-walk --agent.batch-size 3", "unknown flag '--agent.batch-size': did you mean --batch-size?"),
        ("walker-walk --qqqq", "unknown flag '--qqqq': --help-all lists all flags"),
        ("walker-walk --method gpdl", "unknown method 'gpdl': did you mean gpld?"),
        ("walker-walk --size 3m", "unknown size of method gpld '3m'"),
        ("walker-walk --preset labtop", "unknown preset of method gpld 'labtop': did you mean laptop?"),
        ("walker-walk --steps", "--steps needs a value"),
        ("walker-walk --seeds", "--seeds needs a value"),
        ("walker-walk --seeds --steps 3", "--seeds needs a value"),
        ("--stepz 3 walker-walk", "unknown flag '--stepz': did you mean --steps?"),
        ("--seeds 0 1", "a task is missing"),
        ("--step 3", "unknown flag '--step': did you mean --steps?"),
        ("--fresh=yes walker-walk", "--fresh takes no value"),
        ("walker-walk --no-fresh=yes", "--no-fresh takes no value"),
        ("walker-walk --fresh yes", "unexpected argument 'yes'"),
        ("walker-walk -x", "unknown flag '-x'"),
        ("walker-walk --seeds 0 1 two", "--seeds takes a whole number, not 'two'"),
        ("walker-walk --penalty.custom 1 0.5 x 0.3", "--penalty.custom takes a whole number, not 'x'"),
        ("walker-walk --penalty.custom 1 y", "--penalty.custom takes a number, not 'y'"),
        ("walker-walk --method td3 --critic.rate=x", "--critic.rate takes a number, not 'x'"),
        ("walker-walk --precision=float16", "unknown --precision 'float16': did you mean bfloat16?"),
        ("walker-walk --size --steps 3", "--size needs a value"),
        ("walker-walk --steps many", "--steps takes a whole number, not 'many'"),
        ("walker-walk --steps 1.5", "--steps takes a whole number, not '1.5'"),
        ("walker-walk --steps inf", "--steps takes a whole number, not 'inf'"),
        ("walker-walk --penalty.rho x", "--penalty.rho takes a number, not 'x'"),
        ("walker-walk --seeds a", "--seeds takes a whole number, not 'a'"),
        ("walker-walk --fresh=yes", "--fresh takes no value"),
        ("walker-walk --env.workers x", "--env.workers takes a whole number, not 'x'"),
        ("walker-walk --penalty.schedule sqr", "did you mean sqrt?"),
        ("walker-walk --penalty.custom 1 2 3", "--penalty.custom takes values in groups of 2, not 3 of them"),
    ],
)
def test_wrong_flags(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError) as caught:
        train.config_from(words.split())
    assert message in str(caught.value) and "\n" not in str(caught.value)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_a_mistake_is_one_sentence_without_tyros_hook_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tyro._errors", None)
    with pytest.raises(UserError) as caught:
        train.config_from(["walker-walk", "--steps", "many"])
    assert "--steps" in str(caught.value) and "many" in str(caught.value) and "\n" not in str(caught.value)


def test_a_config_is_checked_once(quiet_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []
    monkeypatch.setattr("sobolev.config.resolve.validate", lambda config: counted.append(validate(config)))
    install(monkeypatch, "loop", train=lambda config, run: 0)
    assert train.main(["walker-walk", "--preset", "demo", "--evaluation.episodes", "0"]) == 0
    assert len(counted) == 1


@pytest.fixture
def quiet_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder of one's own, and no compilation cache in the user's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sobolev.system.jax_setup.configure", lambda compilation_cache: None)
    return tmp_path


def install(monkeypatch: pytest.MonkeyPatch, module: str, **names: Any) -> None:
    """Put a module of these functions in the place of a module of `sobolev.training`."""
    fake = types.ModuleType(f"sobolev.training.{module}")
    vars(fake).update(names)
    monkeypatch.setitem(sys.modules, fake.__name__, fake)
    monkeypatch.setattr(importlib.import_module("sobolev.training"), module, fake, raising=False)


def test_train_hands_a_resolved_config_to_the_loop(quiet_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[TrainConfig, Path]] = []

    def loop(config: TrainConfig, run: Path) -> int:
        seen.append((config, run))
        assert (run / "config.json").exists()
        return 3

    install(monkeypatch, "loop", train=loop)
    assert train.main(["walker-walk", "--preset", "demo", "--precision", "float32"]) == 3
    config, run = seen[0]
    assert (config.env.repeat, config.agent.precision, config.run) == (2, "float32", run)
    assert run.parent == Path("runs/walker-walk") and run.name.startswith("gpld-1m-")
    assert train.main(["walker-walk", "--preset", "demo", "--precision", "float32", "--steps", "5"]) == 3
    assert seen[1][1] == run


RESULTS = [
    {"task": "walker-walk", "method": "gpld", "seed": 0, "episodes": 2, "mean": 2.0, "std": 1.0, "returns": [1.0, 3.0]},
    {"task": "walker-walk", "method": "gpld", "seed": 7, "episodes": 2, "mean": 6.0, "std": 1.0, "returns": [5.0, 7.0]},
]


@pytest.fixture
def run(quiet_machine: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that evaluates to RESULTS."""
    config = resolved(configure("walker-walk", preset="demo", settings={"run": quiet_machine / "run"}), "cpu")
    with opened(config) as run:
        pass
    install(monkeypatch, "evaluation", evaluate=lambda *_, **__: RESULTS)
    return run


def test_evaluate_prints_a_table_and_writes_json(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main([str(run), "--episodes", "2"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "walker-walk  gpld"
    assert [line.split() for line in shown[3:6]] == [
        ["0", "2", "2.0", "1.0"],
        ["7", "2", "6.0", "1.0"],
        ["all", "4", "4.0", "2.2"],
    ]
    assert json.loads((run / "evaluation.json").read_text()) == RESULTS


def test_evaluate_keeps_more_episodes_of_the_same_checkpoint(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    earlier = [{**result, "episodes": 20, "env_steps": 0} for result in RESULTS]
    (run / "evaluation.json").write_text(json.dumps(earlier))
    assert evaluate.main([str(run), "--episodes", "2"]) == 0
    assert "has more episodes of this checkpoint" in capsys.readouterr().out
    assert json.loads((run / "evaluation.json").read_text()) == earlier
    assert evaluate.main([str(run), "--episodes", "20"]) == 0
    assert json.loads((run / "evaluation.json").read_text()) == RESULTS


def test_evaluate_prints_json_alone(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main([str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == RESULTS


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "a run is missing"),
        ("nowhere", "nowhere is not a run of sobolev"),
        ("run --episodes 0", "--episodes is 0"),
        ("run --video out.txt", "must end in .mp4 or .gif"),
        ("run --video no/out.mp4", "the folder no does not exist"),
    ],
)
def test_evaluate_mistakes(run: Path, words: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        evaluate.main(words.split())


def test_evaluate_prints_what_it_cannot_keep(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "evaluation.json").mkdir()
    assert evaluate.main([str(run), "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out) == RESULTS
    assert told.err == f"sobolev: {run}/evaluation.json cannot be written (Is a directory): continuing without it\n"


def test_evaluate_says_that_a_film_is_missing(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main([str(run), "--video", str(run / "film.mp4")]) == 1
    assert "film.mp4" not in capsys.readouterr().out


@pytest.mark.parametrize("flag", ["--video=~/x.mp4", "--video ~/x.mp4"])
def test_the_home_folder_in_flags(flag: str, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(run.parent))
    seen: list[Path] = []
    fake = lambda run, episodes, *files, **told: seen.extend([run, *files]) or RESULTS  # noqa: E731
    install(monkeypatch, "evaluation", evaluate=fake)
    evaluate.main(["~/run", *flag.split()])
    assert seen[:2] == [run, run.parent / "x.mp4"]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999"])
def test_flags_of_numbers_that_are_not_finite(value: str) -> None:
    for flag in ("--penalty.rho", "--optimizer.learning-rate", "--env.dynamics-noise"):
        with pytest.raises(UserError, match=f"^{flag} (takes|is {float(value)}, but must be) a finite number"):
            train.config_from(["walker-walk", f"{flag}={value}"])
    if value in ("inf", "1e999"):
        assert train.config_from(["walker-walk", "--checkpoint.minutes", value]).checkpoint.minutes == float("inf")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.ENAMETOOLONG])
def test_what_the_disk_refuses_is_a_sentence(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(arguments: Sequence[str]) -> int:
        raise OSError(number, os.strerror(number), "some/file")

    monkeypatch.setattr(command_line, "run", refuse)
    monkeypatch.setattr(command_line.output, "prepare", lambda: None)
    for name in ("hold_back", "listen"):
        monkeypatch.setattr(command_line.signals, name, lambda: None)
    monkeypatch.setattr("sobolev.system.jax_setup.use_large_buffers", lambda: None)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit) as left:
        command_line.main()
    told = f"sobolev: some/file cannot be written or read: {os.strerror(number)}; free it, or choose another folder\n"
    assert (left.value.code, capsys.readouterr().err) == (2, told)
