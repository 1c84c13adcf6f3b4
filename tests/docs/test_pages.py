"""What the pages of docs/ say can be typed, is there, and has the right numbers."""

import importlib.util
import re
import shlex
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import gymnasium
import jax
import pytest

from sobolev.agents.api import AnyAgent, Inspected
from sobolev.cli import COMMANDS, sweep
from sobolev.cli.described import described
from sobolev.cli.evaluate import EvaluateConfig
from sobolev.cli.parser import flag_of, flags, parse
from sobolev.cli.report import ReportConfig
from sobolev.cli.status import StatusConfig
from sobolev.cli.train import config_from
from sobolev.config import configure, defaults, resolved
from sobolev.config.codec import settings
from sobolev.config.registry import OURS, agent_of
from sobolev.errors import UserError, spelled
from sobolev.experiments.registry import find
from sobolev.smoothness.regularizers.registry import REGULARIZERS
from sobolev.training.program import Program
from sobolev.training.schedule import Plan
from tests import tiny
from tests.reports import browser

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
ELSEWHERE = ("calm", "line:hold", "my_module:", "my_package.my_study", "probe_noise:", "mine.toml")
ELSEWHERE += tuple(f"my_package.{name}:" for name in ("scaled", "halves", "imitation", "smooth"))
"""Words of commands that need a package of the reader's own; those of extending.md are in `test_extending`."""
OF_A_COMMIT = ("results/tuning/",)
"""Words of commands that a page gives with the commit at which they were run; defaults have changed since."""


def blocks(page: Path, kind: str) -> list[str]:
    """The code blocks of a page."""
    return re.findall(rf"^```{kind}\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)


def commands(page: Path) -> list[list[str]]:
    """The lines of a page's shell blocks, as words."""
    lines = [line for block in blocks(page, "bash") for line in block.replace("\\\n", " ").splitlines()]
    return [words for line in lines if "…" not in line and (words := shlex.split(line, comments=True))]


def mentioned(page: Path) -> list[list[str]]:
    """The words after `sobolev` of the commands in a page's sentences and tables, which may leave words out."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return [shlex.split(line.replace("…", "")) for line in re.findall(r"`sobolev ([^`]+)`", text)]


READ_BY: dict[str, tuple[Any, str]] = {
    "report": (ReportConfig(runs=(Path("RUNS"),)), "runs"),
    "evaluate": (EvaluateConfig(run=Path("RUN")), "run"),
    "status": (StatusConfig(sweep=Path("SWEEP")), "sweep"),
}
"""The settings of commands that read runs, and which of them has no flag."""


def check_typed(name: str, arguments: list[str]) -> None:
    """Raises UserError where a command would refuse its words before it does anything."""
    if name == "train":
        assert config_from(arguments).task in arguments
    elif name == "sweep":
        assert sweep.plan(arguments)[2], arguments
    elif name in READ_BY:
        config, positional = READ_BY[name]
        parse(config, arguments, prog=f"sobolev {name}", description="", positional=positional)
    elif name == "doctor":
        assert not arguments
    else:
        study, *rest = arguments if name == "study" else [name, *arguments]
        experiment = find(study)
        parse(experiment.settings, rest, prog="sobolev study", description="", positional=experiment.positional)


def flags_of(name: str, arguments: list[str]) -> set[str]:
    """All flags of a command."""
    if name in ("train", "sweep"):
        own = [sweep.SweepConfig("SUITE")] if name == "sweep" else []
        configs = [defaults("", method) for method in OURS] + [defaults("", regularizer=name) for name in REGULARIZERS]
        return {flag for config in (*own, *configs) for flag in flags(config)}
    if name in READ_BY:
        return set(flags(READ_BY[name][0]))
    return set(flags(find(arguments[0] if name == "study" else name).settings)) if name != "doctor" else set()


@pytest.fixture
def own_task(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module that a reader has written."""
    monkeypatch.setitem(sys.modules, "my_package", types.ModuleType("my_package"))
    monkeypatch.setitem(sys.modules, "my_package.my_module", types.ModuleType("my_package.my_module"))
    gymnasium.register("MyTask-v0", "tests.spring:Spring", disable_env_checker=True)
    yield
    del gymnasium.registry["MyTask-v0"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_can_be_typed(page: Path, own_task: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del own_task
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").symlink_to(ROOT / "results")  # as in a checkout
    for words in commands(page):
        if "sobolev" not in words or any(part.startswith(ELSEWHERE) for part in words):
            continue
        name, *arguments = words[words.index("sobolev") + 1 :]
        assert name in COMMANDS or name == "COMMAND", words
        if not {"--help", "--help-all"} & set(arguments):
            check_typed(name, arguments)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_in_sentences_can_be_typed(page: Path, own_task: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they leave out the words that differ, or have TASK or RUN there, the flags that they name exist."""
    del own_task
    monkeypatch.chdir(ROOT)
    for name, *arguments in mentioned(page):
        assert name in COMMANDS or name == "COMMAND", name
        if {"--help", "--help-all"} & set(arguments):
            continue
        first = arguments[0] if arguments else "-"
        if not first.startswith(("-", *ELSEWHERE, *OF_A_COMMIT)) and not first.isupper():
            check_typed(name, arguments)
        elif named := {flag for word in arguments if (flag := flag_of(word))}:
            assert named <= flags_of(name, arguments), (name, arguments)


@pytest.mark.parametrize(
    "line",
    [
        "report runs --collekt scores",
        "evaluate RUN --episode 3",
        "status runs/sweep --onec",
        "study tabular --seed 1",
        "sensitivity RUN --samples many",
        "train walker-walk --step 3",
        "sweep dmc-proprio --job 2",
    ],
)
def test_a_flag_that_is_not_there_is_seen(line: str) -> None:
    name, *arguments = line.split()
    with pytest.raises(UserError, match=arguments[1]):
        check_typed(name, arguments)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_blocks_are_python(page: Path) -> None:
    for block in blocks(page, "python"):
        compile(block, str(page), "exec")


OF_OTHERS = ("--run.steps",)
"""Flags of the public DreamerV3 code."""


def test_no_flag_of_the_past_is_mentioned() -> None:
    known = {flag.name for method in OURS for flag in described(defaults("", method))}
    known |= {flag.name for name in REGULARIZERS for flag in described(defaults("", regularizer=name))}
    for page in PAGES:
        for flag in re.findall(r"`(--[a-z]+\.[a-z.-]+[a-z])[ `=]", page.read_text(encoding="utf-8")):
            positive = flag.replace(".no-", ".")
            assert positive in known or positive.startswith("--slurm.") or flag in OF_OTHERS, f"{page.name}: {flag}"


@pytest.fixture(scope="module")
def hooks() -> types.ModuleType:
    """docs/hooks.py, which makes pages."""
    spec = importlib.util.spec_from_file_location("docs_hooks", DOCS / "hooks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_flags_has_every_flag(hooks: types.ModuleType) -> None:
    page = hooks.flags_page()
    for method in OURS:
        for path in settings(defaults("", method)):
            assert path == "task" or f"| `{spelled(path)}` |" in page
    for name in REGULARIZERS:
        for path in settings(defaults("", regularizer=name)):
            assert path == "task" or f"| `{spelled(path)}` |" in page
    assert "| `--penalty.rho` | number in (0, 1] | `0.5` |" in page


def test_every_flag_says_what_it_is() -> None:
    flags = [flag for method in OURS for flag in described(defaults("", method))]
    flags += [flag for name in REGULARIZERS for flag in described(defaults("", regularizer=name))]
    assert not {flag.name for flag in [*flags, *described(sweep.SweepConfig("SUITE"))] if not flag.about}


def test_files_of_the_code_that_pages_name_exist() -> None:
    """As in `agents/dreamer/rssm.py`, below src/sobolev."""
    for page in PAGES:
        for name in re.findall(
            r"`((?:agents|smoothness|training|experiments|nn)/[a-z_/]+(?:\.py|/))`", page.read_text()
        ):
            assert (ROOT / "src" / "sobolev" / name).exists(), f"{page.name}: {name}"


def test_the_page_of_presets_has_every_preset_and_size(hooks: types.ModuleType) -> None:
    page = hooks.presets_page()
    for name, method in OURS.items():
        section = page.split(f"## Presets of {name}\n")[1].split("\n## ")[0]
        assert all(f"`{preset}`" in section for preset in method.presets)
        assert f"### Sizes of {name}" in section or "The sizes are [those of" in section
    assert "| `--steps` | 1000000 | 60000 | 40000 |" in page
    assert "| `--model.deter` | 512 | 2048 | 3072 | 4096 | 6144 | 8192 | 12288 |" in page


def test_the_steps_of_the_worked_example() -> None:
    page = (DOCS / "steps.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `sobolev train ([^`]+)` \| ([0-9,]+) \| ([0-9,]+) \| ([0-9,]+) \|", page, re.M)
    assert len(rows) == 4
    for line, *numbers in rows:
        plan = Plan.of(resolved(config_from(line.split()), "cpu"))
        agent_steps = plan.total * plan.environments
        expected = [agent_steps, plan.env_steps(plan.warmup), plan.updates_due(plan.total)]
        assert [int(number.replace(",", "")) for number in numbers] == expected, line
    (updates,) = re.findall(r"\*\*updates\*\*.*\*\*([0-9,]+)\*\*", page)
    (end,) = re.findall(r"0\.5 / √\(1 \+ [0-9,]+/1000\) \| ([0-9.]+)", page)
    assert updates == rows[0][3]
    assert float(end) == pytest.approx(0.5 / (1 + int(updates.replace(",", "")) / 1000) ** 0.5, rel=1e-2)


OF_THE_LOOP = ("evaluation/return", "evaluation/std", "evaluation/truncated", "episode/return", "episode/length")
SMALL: dict[str, dict[str, Any]] = {
    "gpld": {**tiny.SETTINGS, "penalty.prior": 0.1},
    "dsdpg": {"batch_size": 4, "penalty.transition": 0.1},
    "mage": {"batch_size": 8, "ensemble.members": 2, "ensemble.batch_size": 4},
    "td3": {"batch_size": 4},
    "iqn": {"batch_size": 4},
}


PREFIXES = tuple(f"{regularizer.name}/" for regularizer in REGULARIZERS.values())
"""What the names of regularizers' metrics begin with."""


def metrics(agent: AnyAgent) -> set[str]:
    """The names of what an agent's updates measure; nothing is computed."""
    program: Any = Program(agent, (0,))
    replay, number = program.initial_replay(1, 200), jax.ShapeDtypeStruct((), "int32")
    _, _, report = jax.eval_shape(program.functions.learn, program.state_shapes(), replay, number)
    if not isinstance(agent, Inspected):
        return set(report.metrics)
    return {*report.metrics, *jax.eval_shape(program.functions.inspect, program.state_shapes(), report, number)}


REGULARIZED = [(method, name) for method in ("gpld", "dsdpg") for name in REGULARIZERS]
"""Methods with a map, and all that can be done to it. Each regularizer has metrics of its own."""


@pytest.mark.parametrize(("method", "regularizer"), [*((method, None) for method in SMALL), *REGULARIZED])
def test_every_metric_is_on_its_page(method: str, regularizer: str | None) -> None:
    page = (DOCS / "metrics.md").read_text(encoding="utf-8")
    chosen = SMALL[method] | ({} if regularizer is None else {"regularizer": regularizer})
    agent = agent_of(resolved(configure(tiny.TASK, method=method, settings=chosen), "cpu"), tiny.SPACES)
    found = metrics(agent)
    if regularizer is not None:
        maps = ("transition",) if method == "dsdpg" else ("posterior", "prior")
        assert {f"{REGULARIZERS[regularizer].name}/{name}" for name in maps} <= found
    for name in {*found, *OF_THE_LOOP, "updates"}:
        name = re.sub(r"/(posterior|prior|transition)", "/MAP", name) if name.startswith(PREFIXES) else name
        name = re.sub(r"^loss/reconstruction/.*", "loss/reconstruction/NAME", name)
        assert f"`{name}`" in page, name


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built with every warning an error."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


@pytest.mark.long
def test_the_site_is_whole_and_needs_no_network(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 35
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|iframe|source)[^>]*\ssrc="(https?:[^"]*)"', text)
        loaded += re.findall(r'<link[^>]*rel="(?:stylesheet|preconnect|preload)"[^>]*href="(https?:[^"]*)"', text)
        assert not loaded, (page.name, loaded)
        prose = re.sub(r"<(script|pre|code).*?</\1>", "", text, flags=re.S)
        assert 'class="arithmatex"' not in text and "\\(" not in prose and "\\[" not in prose, page.name


@pytest.mark.long
@pytest.mark.skipif(bool(browser.missing()), reason=f"needs {browser.missing()}: apt install chromium chromium-driver")
def test_the_site_in_a_browser(site: Path, tmp_path: Path) -> None:
    wide: dict[str, Any] = {}
    with browser.browser(tmp_path / "profile") as driver:
        for page in sorted(site.glob("*.html")):
            for width in (1280, 400):
                browser.show(driver, page, width)
                if driver.execute_script(WIDER_THAN_THE_PAGE):
                    wide[f"{page.name} at {width}"] = driver.execute_script(WIDER_THAN_THE_PAGE)
                broken = "return [...document.images].filter(i => !i.naturalWidth).map(i => i.src)"
                assert driver.execute_script(broken) == []
    assert not wide


WIDER_THAN_THE_PAGE = """
const room = document.documentElement.clientWidth;
if (document.documentElement.scrollWidth <= room + 1) return [];
const found = [...document.querySelectorAll('article *')].filter(element =>
  element.getBoundingClientRect().right > room + 1 && !element.closest('.md-typeset__scrollwrap, pre, .equation')
).map(element => element.outerHTML.slice(0, 90));
return found.length ? found : ['something is'];
"""
"""What makes a page scroll sideways; tables, code and equations scroll by themselves."""
