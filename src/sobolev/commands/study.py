"""`sobolev study NAME …`: an experiment, its figure and its numbers by one command."""

import json
import os
import shlex
from collections.abc import Sequence

from sobolev.commands import study_point_mass
from sobolev.commands.arguments import parse
from sobolev.errors import UserError, nearest

STUDIES = {
    "tabular": "when smoothing helps the estimate of a finite MDP, and how fast equations (3) and (4) hold",
    "world-model": "whether the penalty lets a world model do with less data",
    "contraction": "by how much DSDPG's operator shrinks MSMMD on linear systems, beside its bound",
    "linear": "whether DSDPG's critics learn the law of return and gradient where it is known",
    "point-mass": "what critics have to know where returns have many modes: dsdpg, mage, td3 and ablations on a toy",
}
"""Every study with what it asks."""

TABULAR = """Total-variation error of the smoothed estimate of a finite MDP (paper 1, Section 3.1).

Against the number of transitions, for several strengths (lambda) and neighbourhoods (epsilon), on smooth laws and on
one with a jump, mean and 95% interval over seeds. Also both sides of equations (3) and (4). Writes into --out:
tabular.png, identities.png, each also as PDF, and as JSON with every number and the command."""

WORLD_MODEL = """The world model alone, with and without the penalty, on fixed datasets of growing size from TASK.

Measured on episodes that it has not seen: errors of observation and reward one and more steps ahead, KL, sensitivity;
mean and 95% interval over seeds. Writes into --out: TASK.png, TASK-horizon.png, each also as PDF, and TASK.json with
every number and the command."""

CONTRACTION = """The factor of the distributional Sobolev operator under MSMMD on linear systems (paper 2).

Largest factor of one application, over pairs of laws, beside the bound sqrt(gamma kappa), for products gamma kappa
below and above 1; and the distance between two laws as the operator is applied again and again. Writes into --out:
contraction.png, also as PDF, and contraction.json with every number and the command."""

LINEAR = """Critics trained on a linear system with noise, with the true model in place of the learned one (paper 2).

Mean and covariance of [return; action gradient] are known there: errors of each discrepancy, over seeds. Writes into
--out: linear.png, also as PDF, and linear.json with every number and the command."""


def main(arguments: Sequence[str]) -> int:
    """Run the study that the first argument names; returns the exit status."""
    if not arguments or arguments[0] in ("-h", "--help"):
        width = max(map(len, STUDIES))
        listed = [f"  {name:<{width}}  {what}" for name, what in STUDIES.items()]
        usage = ["usage: sobolev study STUDY …", "", *listed, "", "sobolev study STUDY --help tells its flags."]
        print("\n".join(usage))
        return 0
    if arguments[0].startswith("-"):
        raise UserError(f"a study is missing before {arguments[0]}, as in sobolev study tabular")
    if arguments[0] not in STUDIES:
        raise nearest("study", arguments[0], STUDIES)
    run = {"tabular": tabular, "world-model": world_model, "contraction": contraction, "linear": linear}
    run["point-mass"] = study_point_mass.main
    return run[arguments[0]](arguments[1:])


def tabular(arguments: Sequence[str]) -> int:
    """`sobolev study tabular`."""
    # The study inverts thousands of small matrices: threads only get into each other's way, by a factor at times.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    from sobolev.plotting.output_files import create_folder, save
    from sobolev.study import identities, theory_figures
    from sobolev.study import tabular as study
    from sobolev.training.run import write_text

    prog = "sobolev study tabular"
    config = parse(study.TabularConfig(), arguments, prog=prog, description=TABULAR)
    study.check(config)
    out = create_folder(config.out)
    facts = study.facts_of(config, shlex.join([*prog.split(), *arguments]))
    records = study.run(config)
    note = f"mean and 95% interval over {len(config.seeds)} seeds; {config.actions} actions"
    both = identities.run()
    write_text(out / "tabular.json", json.dumps(facts | {"cases": records}) + "\n")
    write_text(out / "identities.json", json.dumps(facts | both) + "\n")
    paths = save(theory_figures.draw_errors(records, note), out / "tabular")
    paths += save(theory_figures.draw_identities(both), out / "identities")
    print("\n".join([*study.lines(records), *identities.lines(both), *(f"written: {path}" for path in paths)]))
    return 0


def world_model(arguments: Sequence[str]) -> int:
    """`sobolev study world-model TASK`."""
    from sobolev.envs import check_task
    from sobolev.plotting.output_files import create_folder, save
    from sobolev.study import world_model as study
    from sobolev.study import world_model_figure as figures
    from sobolev.study.tabular import facts_of
    from sobolev.training.run import write_text

    prog = "sobolev study world-model"
    config = parse(study.WorldModelConfig(), arguments, prog=prog, description=WORLD_MODEL, positional="task")
    study.check(config)
    check_task(config.task)
    out, name = create_folder(config.out), config.task.replace(":", "-").replace("/", "-")
    facts = facts_of(config, shlex.join([*prog.split(), *arguments]))
    records = study.run(config)
    write_text(out / f"{name}.json", json.dumps(facts | {"records": records}) + "\n")
    note = f"{config.task}: mean and 95% interval over {len(config.seeds)} seeds; {config.updates} updates each"
    paths = save(figures.draw_data(records, note), out / name)
    paths += save(figures.draw_horizon(records, note), out / f"{name}-horizon")
    print("\n".join([*study.lines(records), *(f"written: {path}" for path in paths)]))
    return 0


def contraction(arguments: Sequence[str]) -> int:
    """`sobolev study contraction`."""
    from sobolev.plotting.output_files import create_folder, save
    from sobolev.study import contraction as study
    from sobolev.study.dsdpg_figures import draw_contraction
    from sobolev.study.tabular import facts_of
    from sobolev.training.run import write_text

    prog = "sobolev study contraction"
    config = parse(study.ContractionConfig(), arguments, prog=prog, description=CONTRACTION)
    study.check(config)
    out = create_folder(config.out)
    record = study.run(config)
    facts = facts_of(config, shlex.join([*prog.split(), *arguments]))
    write_text(out / "contraction.json", json.dumps(facts | record) + "\n")
    note = f"γ = {config.discount:g}, h = {config.bandwidth:g}; largest over {config.pairs} pairs of laws per system"
    paths = save(draw_contraction(record, note), out / "contraction")
    print("\n".join([*study.lines(record), *(f"written: {path}" for path in paths)]))
    return 0


def linear(arguments: Sequence[str]) -> int:
    """`sobolev study linear`."""
    from sobolev.plotting.output_files import create_folder, save
    from sobolev.study import linear_critic as study
    from sobolev.study.dsdpg_figures import draw_linear
    from sobolev.study.tabular import facts_of
    from sobolev.training.run import write_text

    prog = "sobolev study linear"
    config = parse(study.LinearConfig(), arguments, prog=prog, description=LINEAR)
    study.check(config)
    out = create_folder(config.out)
    records = study.run(config)
    facts = facts_of(config, shlex.join([*prog.split(), *arguments]))
    write_text(out / "linear.json", json.dumps(facts | {"critics": records}) + "\n")
    note = f"seed {config.seeds[0]}, {config.updates} updates; a point per state, a colour per critic"
    paths = save(draw_linear(records, note), out / "linear")
    print("\n".join([*study.lines(records), *(f"written: {path}" for path in paths)]))
    return 0
