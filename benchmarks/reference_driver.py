"""Makes updates of the public DreamerV3 code on request; runs in an environment of that code's own, not of this one.

    PYTHON reference_driver.py CHECKOUT --size 1m --batch 16 64 --horizon 25 [--penalty 0.5 0.5] [--in-background]

Standard output carries one JSON object per line. The first one, {"parameters": …, "jax": …}, comes when a first update
is made and everything is compiled; then every line "go" on standard input is answered by {"seconds": …} of one update.
It calls the checkout's own agent as that code's own training does: `agent.stream` brings a batch to the device,
`agent.train` makes the update. A batch is made once; reading replay and writing latents back to it is not counted.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

OBSERVATIONS = {"height": (), "orientations": (14,), "velocity": (9,)}
ACTIONS = 6
FLAGS = ("is_first", "is_last", "is_terminal")


def main() -> None:
    """Build the agent, then answer requests until standard input ends."""
    flags = argparse.ArgumentParser()
    flags.add_argument("checkout", type=Path)
    flags.add_argument("--size", required=True)
    flags.add_argument("--batch", type=int, nargs=2, required=True)
    flags.add_argument("--horizon", type=int, required=True)
    flags.add_argument("--penalty", type=float, nargs=2, metavar=("LAMBDA", "RHO"))
    flags.add_argument("--in-background", action="store_true", help="compute as JAX does by itself")
    chosen = flags.parse_args()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the code prints goes elsewhere
    sys.path.insert(0, str(chosen.checkout.resolve()))
    import jax

    if not chosen.in_background:
        jax.config.update("jax_cpu_enable_async_dispatch", False)  # as our side, see `jaxconfig.compute_in_this_thread`
    agent = build(chosen)
    stream = iter(agent.stream(batches(agent, *chosen.batch)))
    carry = agent.init_train(chosen.batch[0])

    def update() -> float:
        nonlocal carry
        data, start = next(stream), time.perf_counter()
        carry, _, metrics = agent.train(carry, data)
        jax.block_until_ready((agent.params, carry, metrics))
        return time.perf_counter() - start

    def answer(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    update()
    learned = ("dyn", "enc", "dec", "rew", "con", "pol", "val")
    parameters = {name: array.size for name, array in agent.params.items() if name.split("/")[0] in learned}
    answer({"parameters": int(sum(parameters.values())), "jax": jax.__version__})
    for line in sys.stdin:
        if line.strip() == "go":
            answer({"seconds": update()})
    os._exit(0)  # its threads wait for ever


def build(chosen: argparse.Namespace, dtype: str = "float32") -> Any:
    """The agent of the checkout, with its own configuration of that size, on a CPU."""
    import elements  # pyright: ignore[reportMissingImports]
    import numpy as np
    from ruamel.yaml import YAML  # pyright: ignore[reportMissingImports]

    configs = YAML(typ="safe").load((chosen.checkout / "dreamerv3" / "configs.yaml").read_text())
    config = elements.Config(configs["defaults"]).update(configs[f"size{chosen.size}"])
    config = config.update(
        {"batch_size": chosen.batch[0], "batch_length": chosen.batch[1], "agent.imag_length": chosen.horizon}
    )
    if chosen.penalty:
        gp = "agent.dyn.rssm.gp"
        strength = {f"{gp}.post_lam": chosen.penalty[0], f"{gp}.sample_frac": chosen.penalty[1]}
        config = config.update({**strength, f"{gp}.decay": "sqrt_time", f"{gp}.start_step": 0})
    device = {**config.jax, "platform": "cpu", "compute_dtype": dtype, "precompile": False, "profiler": False}
    names = ("seed", "batch_size", "batch_length", "replay_context", "report_length", "replica", "replicas")
    rest = {name: config[name] for name in names}
    folder = tempfile.mkdtemp(prefix="reference-")
    ratio = {"train_ratio": config.run.train_ratio} if chosen.penalty else {}
    settings = elements.Config(**config.agent, jax=device, logdir=folder, **rest, **ratio)

    from dreamerv3.agent import Agent  # pyright: ignore[reportMissingImports]

    observation = {name: elements.Space(np.float32, shape) for name, shape in OBSERVATIONS.items()}
    observation |= {"reward": elements.Space(np.float32), **{name: elements.Space(bool) for name in FLAGS}}
    return Agent(observation, {"action": elements.Space(np.float32, (ACTIONS,), -1, 1)}, settings)


def batches(agent: Any, size: int, length: int) -> Any:
    """The same batch again and again: normal observations, and zeros for the rest."""
    import numpy as np

    rng, lead = np.random.default_rng(0), (size, length + agent.config.replay_context)
    batch: dict[str, Any] = {name: np.zeros((*lead, *space.shape), space.dtype) for name, space in agent.spaces.items()}
    for name, shape in OBSERVATIONS.items():
        batch[name] = rng.normal(size=(*lead, *shape)).astype(np.float32)
    while True:
        yield dict(batch)


if __name__ == "__main__":
    main()
