"""What the gradient penalty costs: the update with it against the update without, as paired ratios.

    python benchmarks/penalty.py                  # 12m, batch 16×64, horizon 25: what docs/performance.md tells
    python benchmarks/penalty.py --table4         # the twelve settings of the paper's Table 4, ours beside theirs
    python benchmarks/penalty.py --size 1m --batch 2 4 --horizon 2 --repeats 2       # to try it out

Every update with the penalty is timed beside one without it, in turns as to which goes first; the ratio of such a pair
forgets slow moments of the machine. Beside the ratio (median, and 95% bootstrap interval of it) stand the time of the
penalty's value and gradient alone over the update's time, and the peak memory over that without the penalty, as XLA
plans it (arguments, results and temporary memory). Programs that differ in lambda alone are one: it is an argument.
Starts as `sobolev train` does, with glibc's settings for large buffers.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from _timing import WALKER, add_flags, config_of, interval, random_replay, record

from sobolev.agents.dreamer.agent import Dreamer
from sobolev.agents.dreamer.config import SIZES, DreamerConfig, without_penalty
from sobolev.smoothness import PenaltyConfig
from sobolev.system.jax_setup import use_large_buffers
from sobolev.training.program import Program

SCALE = 1_000_000
"""Lambda is the number of updates over this, so that a program's lambda is in the state and not in the program."""


@dataclass(frozen=True)
class Case:
    """A setting of the penalty; lambdas of 0 leave a table out, and both are equal where neither is 0."""

    posterior: float
    prior: float
    rho: float
    estimator: str = "rows"

    @property
    def coefficient(self) -> float:
        """Lambda of whatever is penalised."""
        return self.posterior or self.prior

    @property
    def name(self) -> str:
        """In words."""
        tables = [name for name in ("posterior", "prior") if getattr(self, name)]
        return f"{' and '.join(tables)}, ρ = {self.rho:g}, {self.estimator}"

    def config(self, config: DreamerConfig) -> DreamerConfig:
        """The agent, equal for all cases that differ in lambda alone."""
        penalty = PenaltyConfig(
            posterior=float(self.posterior > 0),
            prior=float(self.prior > 0),
            rho=self.rho,
            estimator="joint" if self.estimator == "joint" else "rows",
            schedule="custom",
            custom=((0, 0.0), (SCALE, 1.0)),
        )
        return replace(config, penalty=penalty)


CASES = (
    Case(0.5, 0, 0.5),
    Case(0.5, 0, 1.0),
    Case(0.5, 0.5, 0.5),
    Case(0.5, 0, 0.5, "joint"),
    Case(0.5, 0.5, 1.0, "joint"),
)


class Bench:
    """Compiled updates with and without the penalty, which share one state and one replay."""

    def __init__(self, config: DreamerConfig):
        self.config, self.plain = config, without_penalty(config)
        program = Program(Dreamer(self.plain, WALKER), (0,))
        self.state: Any = program.initial_state()
        self.replay = random_replay(program, 4 * config.batch_length)
        self.number, self.programs, self.alone = 0, {}, {}

    def compiled(self, config: DreamerConfig) -> Any:
        """The compiled update of an agent."""
        if config not in self.programs:
            program = Program(Dreamer(config, WALKER), (0,))
            learn = jax.jit(program.functions.learn, donate_argnums=(0, 1))
            self.programs[config] = learn.lower(self.state, self.replay, np.int32(0)).compile()
        return self.programs[config]

    def update(self, config: DreamerConfig, coefficient: float) -> float:
        """Seconds of one update with that lambda."""
        count = jnp.full_like(self.state.updates, round(coefficient * SCALE))
        state, self.number = eqx.tree_at(lambda state: state.updates, self.state, count), self.number + 1
        learn = self.compiled(config)
        start = time.perf_counter()
        self.state, self.replay, report = learn(state, self.replay, np.int32(self.number))
        jax.block_until_ready((self.state, report))
        return time.perf_counter() - start

    def penalty(self, config: DreamerConfig) -> float:
        """Seconds of the penalty's value and gradient alone, at as many random states as an update has."""
        if config not in self.alone:
            self.alone[config] = self._penalty(config)
            self.alone[config]()
        start = time.perf_counter()
        self.alone[config]()
        return time.perf_counter() - start

    def _penalty(self, config: DreamerConfig) -> Callable[[], Any]:
        agent, states = Dreamer(config, WALKER), (config.batch_length, config.batch_size)
        keys = jax.random.split(jax.random.key(1), 3)
        deter = jnp.tanh(jax.random.normal(keys[0], (*states, config.model.deter)))
        tokens = jax.random.normal(keys[1], (*states, config.model.units))

        def value(tables: Any, deter: Any, tokens: Any, world: Any) -> Any:
            world = eqx.tree_at(lambda world: (world.rssm.posterior, world.rssm.prior), world, tables)
            return agent.penalty(world, deter, tokens, jnp.asarray(SCALE // 2), keys[2])[0]

        both = jax.jit(jax.value_and_grad(value, (0, 1, 2)))
        # The state's arrays are given away with every update: this takes copies.
        world = jax.tree.map(lambda leaf: jnp.copy(leaf[0]), self.state.model.world)
        return lambda: jax.block_until_ready(both((world.rssm.posterior, world.rssm.prior), deter, tokens, world))

    def memory(self, config: DreamerConfig) -> int:
        """Bytes that the update takes at once."""
        plan = self.compiled(config).memory_analysis()
        given = plan.argument_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes
        return given + plan.temp_size_in_bytes


def measure(
    config: DreamerConfig, cases: Sequence[Case], pairs: int, say: Callable[[str], None] = print
) -> list[dict[str, Any]]:
    """A record per case, of `pairs` pairs of updates each, gone through in turns."""
    bench = Bench(config)
    for agent in (bench.plain, *(case.config(config) for case in cases)):
        bench.update(agent, 0)
    say(f"{len(bench.programs)} programs compiled")
    times: dict[Case, list[tuple[float, float, float]]] = {case: [] for case in cases}
    for number in range(pairs):
        for case, found in times.items():
            agent = case.config(config)
            both = [(agent, case.coefficient), (bench.plain, 0)]
            order = both if number % 2 else both[::-1]
            seconds = {chosen: bench.update(chosen, coefficient) for chosen, coefficient in order}
            found.append((seconds[agent], seconds[bench.plain], bench.penalty(agent)))
        say(f"{number + 1} of {pairs} pairs")
    return [_record(bench, case, np.array(found)) for case, found in times.items()]


def _record(bench: Bench, case: Case, times: np.ndarray) -> dict[str, Any]:
    ratios, shares, config = times[:, 0] / times[:, 1], times[:, 2] / times[:, 1], case.config(bench.config)
    return {
        "case": case.name,
        "rho": case.rho,
        "lambda_post": case.posterior,
        "lambda_prior": case.prior,
        "estimator": case.estimator,
        "pairs": len(times),
        "seconds": statistics.median(times[:, 1].tolist()),
        "ratio": statistics.median(ratios.tolist()),
        "interval": list(interval(ratios.tolist())),
        "alone": statistics.median(shares.tolist()),
        "memory": bench.memory(config) / bench.memory(bench.plain),
        "megabytes": bench.memory(config) / 1e6,
    }


def published() -> list[dict[str, Any]]:
    """The rows of the paper's Table 4."""
    text = (resources.files("sobolev.reports") / "published" / "gpld_table4.json").read_text()
    table = json.loads(text)
    return [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]


def markdown(records: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]] = ()) -> str:
    """The records as a table; beside the published rows, where given."""
    if theirs:
        lines = ["| ρ | λ posterior | λ prior | ours: ratio [95%] | alone | memory | theirs: ratio ± std |"]
    else:
        lines = ["| penalty | ratio [95%] | alone | memory |"]
    lines.append("|---" * (lines[0].count("|") - 1) + "|")
    for index, row in enumerate(records):
        low, high = row["interval"]
        ours = f"{row['ratio']:.3f} [{low:.3f}, {high:.3f}] | {row['alone']:.3f} | {row['memory']:.3f} |"
        if theirs:
            other = theirs[index]
            head = f"| {row['rho']:g} | {row['lambda_post']:g} | {row['lambda_prior']:g}"
            ours += f" {other['ratio_mean']:.2f} ± {other['ratio_std']:.2g} |"
        else:
            head = f"| {row['case']}"
        lines.append(f"{head} | {ours}")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure what the flags ask for, and print a table."""
    use_large_buffers()
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--size", default="12m", choices=list(SIZES))
    flags.add_argument("--table4", action="store_true", help="the settings of the paper's Table 4, beside theirs")
    flags.add_argument("--out", type=Path, help="folder for the table (Markdown) and the numbers (JSON)")
    add_flags(flags, repeats=None)
    chosen = flags.parse_args()
    theirs = published() if chosen.table4 else []
    cases = [Case(row["lambda_post"], row["lambda_prior"], row["rho"]) for row in theirs] or CASES
    pairs = chosen.repeats or (5 if chosen.table4 else 15)
    start = time.monotonic()
    records = measure(config_of(chosen.size, chosen), cases, pairs, lambda line: print(line, flush=True))
    setting = {"size": chosen.size, "batch": list(chosen.batch), "horizon": chosen.horizon}
    title = f"{chosen.size}, batch {chosen.batch[0]}×{chosen.batch[1]}, horizon {chosen.horizon}, {pairs} pairs each: "
    title += f"{records[0]['seconds']:.3f} s per update without the penalty ({time.monotonic() - start:.0f} s in all)"
    text = f"{title}\n\n{markdown(records, theirs)}"
    print(text)
    if chosen.out:
        name = "table4" if chosen.table4 else "penalty"
        chosen.out.mkdir(parents=True, exist_ok=True)
        (chosen.out / f"{name}.md").write_text(text)
        numbers = setting | {"records": records, "published": theirs}
        (chosen.out / f"{name}.json").write_text(json.dumps(numbers, indent=1) + "\n")
    for row in records if chosen.write else ():
        record({"what": "with penalty / without", **setting, **row})


if __name__ == "__main__":
    main()
