"""`sobolev study point-mass`."""

import json
import shlex
from collections.abc import Sequence

from sobolev.commands.arguments import parse

DESCRIPTION = """Every method with a deterministic policy on toy:point-mass-N, against the number N of reward locations.

The more locations, the more modes has the return, each of which pulls the action its own way (docs/dsdpg.md). A run per
method and N, all seeds in one program; a study that was broken off goes on. Writes into --out: point-mass.png, also as
PDF, point-mass.json with every number and the command, and the runs."""


def main(arguments: Sequence[str]) -> int:
    """Run the study; returns the exit status."""
    from sobolev.plotting.output_files import create_folder, save
    from sobolev.study import point_mass as study
    from sobolev.study import point_mass_figure as figure
    from sobolev.study.tabular import facts_of
    from sobolev.training.run import write_text

    prog = "sobolev study point-mass"
    config = parse(study.PointMassConfig(), arguments, prog=prog, description=DESCRIPTION)
    study.check(config)
    out = create_folder(config.out)
    facts = facts_of(config, shlex.join([*prog.split(), *arguments]))
    references = [study.reference(number) for number in config.locations]
    records = study.run(config)
    told = [{name: value for name, value in record.items() if name != "paths"} for record in references]
    write_text(out / "point-mass.json", json.dumps(facts | {"records": records, "controller": told}) + "\n")
    note = (
        f"mean and standard deviation over {len(config.seeds)} seeds, {config.episodes} episodes each after "
        f"{config.steps:,} env steps with {config.updates_per_step} updates per agent step; small networks"
    )
    paths = save(figure.draw(records, references, note), out / "point-mass")
    print("\n".join([*study.lines(records, references), *(f"written: {path}" for path in paths)]))
    return 0
