"""`sobolev study point-mass`."""

import shlex
from collections.abc import Sequence

from sobolev.cli.parser import parse
from sobolev.system.atomic_files import write_json

DESCRIPTION = """Every method with a deterministic policy on toy:point-mass-N, against the number N of reward locations.

The more locations, the more modes has the return, each of which pulls the action its own way (docs/dsdpg.md). A run per
method and N, all seeds in one program; a study that was broken off goes on. Writes into --out: point-mass.png, also as
PDF, point-mass.json with every number and the command, and the runs."""


def main(arguments: Sequence[str]) -> int:
    """Run the study; returns the exit status."""
    from sobolev.experiments.point_mass import experiment as study
    from sobolev.experiments.point_mass import figures as figure
    from sobolev.experiments.tabular.experiment import facts_of
    from sobolev.plotting.output_files import made, save

    prog = "sobolev study point-mass"
    config = parse(study.PointMassConfig(), arguments, prog=prog, description=DESCRIPTION)
    study.check(config)
    out = made(config.out)
    facts = facts_of(config, shlex.join([*prog.split(), *arguments]))
    references = [study.reference(number) for number in config.locations]
    records = study.run(config)
    told = [{name: value for name, value in record.items() if name != "paths"} for record in references]
    write_json(out / "point-mass.json", facts | {"records": records, "controller": told})
    note = (
        f"mean and standard deviation over {len(config.seeds)} seeds, {config.episodes} episodes each after "
        f"{config.steps:,} env steps with {config.updates_per_step} updates per agent step; small networks"
    )
    paths = save(figure.draw(records, references, note), out / "point-mass")
    print("\n".join([*study.lines(records, references), *(f"written: {path}" for path in paths)]))
    return 0
