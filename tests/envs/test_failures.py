"""Environments whose own code fails, ends the program or prints: each is told, in a sentence with its place."""

import os
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from sobolev.envs import VectorEnv, WorkerError, Workers, make
from sobolev.envs.failures import brief, described, guarded, shown
from sobolev.envs.processes.server import episode_seed
from sobolev.errors import UserError
from tests.envs import odd_environments as odd

ZERO = np.zeros((1, 1, 2), np.float32)
WHERE = {
    "make": "while it was created",
    "reset": r"in reset\(\), of the episode with seed \d+",
    "step": r"in step\(\), after 3 actions of the episode with seed \d+",
    "render": r"in render\(\), after 1 action of the episode with seed \d+",
    "close": r"in close\(\)",
}


@pytest.fixture(scope="module", params=[0, 1])
def workers(request: pytest.FixtureRequest) -> Iterator[Workers]:
    with Workers(request.param) as workers:
        yield workers


def live(workers: Workers, task: str) -> None:
    """A whole life, with a rendering."""
    environments = VectorEnv(workers, task, 1, [0], 1, 0)
    environments.reset(0)
    for i in range(odd.LENGTH):
        environments.send(ZERO)
        environments.receive()
        if i == 0:
            environments.render(0, 0, 8, 8)
    environments.close()


@pytest.mark.parametrize("moment", WHERE)
@pytest.mark.parametrize("name", odd.CODE)
def test_what_code_raises_becomes_a_sentence(workers: Workers, name: str, moment: str):
    if name == "interrupt" and not workers.count:
        pytest.skip("in this process it may be the user's")
    task, said = odd.register(f"code:{name}", moment), odd.CODE[name][1]
    with pytest.raises(UserError, match=said.replace("(sys.exit)", r"\(sys.exit\)")) as caught:
        live(workers, task)
    sentence, *frames = str(caught.value).split("\n")
    assert task in sentence and len(sentence) < 700
    assert pytest.raises(UserError, match=WHERE[moment]).matches(UserError(sentence))
    assert not any("/sobolev/" in line or "/gymnasium/" in line for line in frames)
    if frames:
        assert any('odd_environments.py", line' in line for line in frames) and len(frames) < 40
    live(workers, odd.register(""))  # the worker is as good as before


@pytest.mark.parametrize(
    ("name", "moment"), [(name, "step") for name in odd.DEADLY] + [("os-exit", m) for m in WHERE if m != "step"]
)
def test_the_death_of_a_worker_is_told_with_environment_and_seeds(name: str, moment: str):
    task = odd.register(f"deadly:{name}", moment)
    with Workers(1) as workers, pytest.raises(WorkerError, match=odd.DEADLY[name][1]) as caught:
        environments = VectorEnv(workers, task, 1, [4], 2, 1)
        environments.reset(0)
        for _ in range(3):
            environments.send(np.zeros((1, 2, 2), np.float32))
            environments.receive()
        environments.render(0, 0, 8, 8)
        environments.close()
    text = str(caught.value)
    assert f"'{task}'" in text and "\n" not in text
    seeds = [str(episode_seed(4, 1, e, 0)) for e in (0, 1)]
    assert moment == "make" or ", ".join(seeds) in text


def test_a_real_interrupt_passes():
    with pytest.raises(KeyboardInterrupt), guarded("t", lambda: "here"):
        raise KeyboardInterrupt
    with pytest.raises(UserError, match="as it is"), guarded("t", lambda: "here"):
        raise UserError("as it is")


def test_values_and_exceptions_on_one_line():
    class Strange:
        def __repr__(self) -> str:
            raise ValueError

    assert shown(Strange()) == "a Strange" and shown("a\nb") == "'a\\nb'" and brief("a\n  b") == "a b"
    assert len(shown("x" * 1000)) == 80 and described(ValueError()) == "ValueError"


SCRIPT = """
import sys
sys.path[:] = {path!r}
import numpy as np
from sobolev.envs import VectorEnv, Workers
from tests.envs import odd_environments as odd
task = odd.register({what!r}, {moment!r})
print("[")
with Workers({count}) as workers:
    environments = VectorEnv(workers, task, 1, [0], 1, 0)
    environments.reset(0)
    for _ in range(3):
        environments.send(np.zeros((1, 1, 2), np.float32))
        environments.receive()
    environments.render(0, 0, 8, 8)
    environments.close()
print("]")
"""


@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize(
    ("name", "moment"),
    [(name, "step") for name in odd.PRINTS] + [(name, m) for name in ("print", "c") for m in WHERE if m != "step"],
)
def test_what_environments_print_is_shown_on_stderr(name: str, moment: str, count: int):
    code = SCRIPT.format(path=sys.path, what=f"print:{name}", moment=moment, count=count)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[\n]\n" and done.stderr.count("printed by") == 1, (done.stdout, done.stderr)


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "1>&- 2>&-"])
@pytest.mark.parametrize("count", [0, 1])
def test_prints_with_closed_streams_do_no_harm(closed: str, count: int):
    code = SCRIPT.format(path=sys.path, what="print:print", moment="step", count=count)
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, code], capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_an_environment_in_this_process_tells_as_much():
    environment = make(odd.register("code:raise"))
    environment.reset(5)
    with pytest.raises(WorkerError, match="after 3 actions of the episode with seed 5: ValueError"):
        for _ in range(3):
            environment.step(ZERO[0, 0])


def test_workers_keep_off_the_gpu(monkeypatch: pytest.MonkeyPatch):
    from sobolev.envs.processes import workers

    monkeypatch.setenv("JAX_PLATFORMS", "cuda")  # which the trainer is told to use
    monkeypatch.delenv("SOBOLEV_WORKER_JAX_PLATFORMS", raising=False)
    monkeypatch.delenv("XLA_PYTHON_CLIENT_PREALLOCATE", raising=False)
    seen = workers._surroundings()
    assert seen["JAX_PLATFORMS"] == "cpu" and seen["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    monkeypatch.setenv("SOBOLEV_WORKER_JAX_PLATFORMS", "cuda,cpu")
    assert workers._surroundings()["JAX_PLATFORMS"] == "cuda,cpu"


class Seeing(odd.Odd):
    def __init__(self, render_mode: str | None = None):
        super().__init__("", render_mode=render_mode)

    def _observe(self) -> np.ndarray:
        return np.array([float(os.environ["JAX_PLATFORMS"] == "cpu")] * 3, np.float32)


def test_workers_see_these_variables():
    task = odd.put("Seeing-v0", Seeing)
    with Workers(1) as workers:
        environments = VectorEnv(workers, task, 1, [0], 1, 0)
        assert environments.reset(0)["observation"]["observation"].all()
