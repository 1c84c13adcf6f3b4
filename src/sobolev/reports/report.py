"""One page from runs: tables and figures of a comparison, with what was missing or unequal, as HTML and as files.

DIR/index.html       all of it, figures inside; only videos are linked
DIR/report.md        the same words and tables as Markdown
DIR/tables/*.csv     every table
DIR/figures/*        every figure as PNG and PDF
"""

import base64
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sobolev.errors import UserError
from sobolev.plotting.output_files import made
from sobolev.plotting.panels import Picture
from sobolev.reports import published, score_figures, score_tables
from sobolev.reports.comparison import FAMILIES, Comparison, compare
from sobolev.reports.runs import find, load
from sobolev.reports.score_figures import Illustration
from sobolev.reports.tables import Link, Table, counts, listed
from sobolev.system.atomic_files import write_bytes, write_text

MARK = "sobolev report"
LIST = ".sobolev-report"
"""The file in a report's folder that lists its figures and tables: none but these are ever removed."""
"""What the page's generator says, by which a folder is known to be a report's."""


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading."""

    id: str
    title: str
    parts: tuple[Table | Illustration, ...]
    text: str = ""

    @property
    def tables(self) -> tuple[Table, ...]:
        """Those of its parts that are tables."""
        return tuple(part for part in self.parts if isinstance(part, Table))

    @property
    def illustrations(self) -> tuple[Illustration, ...]:
        """Those of its parts that are figures."""
        return tuple(part for part in self.parts if isinstance(part, Illustration))


@dataclass(frozen=True)
class Report:
    """All that the page says."""

    title: str
    about: str
    command: str
    headline: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    notes: tuple[str, ...]


def report(
    places: Sequence[Path],
    output: Path,
    *,
    with_published: bool = False,
    baseline: str = "dreamer",
    at: int | None = None,
    command: str = "sobolev report",
) -> list[Path]:
    """Reads runs and writes a report of them into a folder; returns its files, the page first.

    Raises UserError for places without runs, and for a folder that holds other things.
    """
    folders = find(places)
    check_output(output)
    comparison = compare([run for folder in folders for run in load(folder)], baseline, at)
    comparison.notes[:0] = unfinished(places)
    content = assemble(comparison, sensitivity_files(places), output, with_published, command)
    return write(content, output)


def assemble(
    comparison: Comparison, sensitivity: Sequence[Path], output: Path, with_published: bool, command: str
) -> Report:
    """The report of a comparison, with the figures of these files of `sobolev sensitivity`."""
    sections = [
        _section("scores", "Scores", _score_tables(comparison, with_published)),
        _section("curves", "Learning curves", score_figures.paper_figures(comparison)),
        _section("statistics", "Statistics", _statistics(comparison)),
        _section("ablations", "Ablations", [*score_figures.ablations(comparison), *_variants(comparison)]),
        _section("published", "Beside published curves", _published(comparison) if with_published else []),
        _section("cost", "Cost", [score_tables.table_4(comparison, with_published)]),
        _section("sensitivity", "Sensitivity", [sensitivity_figure(path) for path in sensitivity]),
    ]
    there = [section for section in sections if section.parts]
    index = artefacts(there)
    ends = [_section("runs", "Runs", [score_tables.runs_table(comparison, output), index])]
    methods = listed(list(comparison.main)) if len(comparison.main) < 5 else counts(len(comparison.main), "method")
    seeds = sorted({len(cell.scores) for cell in comparison.cells.values()})
    span = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    return Report(
        title=f"{methods} on {counts(len(comparison.tasks()), 'task')}",
        about=f"{counts(len(comparison.runs), 'run')}, {span} {'seed' if seeds == [1] else 'seeds'} of each",
        command=command,
        headline=tuple(score_tables.headline(comparison)),
        sections=(*there, *ends),
        notes=tuple(dict.fromkeys(comparison.notes)),
    )


def _section(name: str, title: str, parts: Sequence[Table | Illustration | None]) -> Section:
    return Section(name, title, tuple(part for part in parts if part is not None))


def _score_tables(comparison: Comparison, with_published: bool) -> list[Table | None]:
    tables = [score_tables.table_1(comparison, with_published), score_tables.table_3(comparison, with_published)]
    for family, tasks in comparison.families.items():
        if family != "proprio":
            title = f"Scores: {FAMILIES[family]}"
            tables.append(score_tables.scores(comparison, tasks, f"scores-{family}", title, False))
    return tables


def _statistics(comparison: Comparison) -> list[Table | Illustration | None]:
    found: list[Table | Illustration | None] = []
    for family in comparison.families:
        found.append(score_figures.statistics_figure(comparison, family))
        found.append(score_tables.statistics_table(comparison, family))
    return found


def _variants(comparison: Comparison) -> list[Table | Illustration | None]:
    found: list[Table | Illustration | None] = []
    for method in comparison.variants:
        for family in comparison.families:
            found.append(score_figures.variants(comparison, method, family))
            found.append(score_tables.variants(comparison, method, family))
    return found


def _published(comparison: Comparison) -> list[Illustration | None]:
    return [score_figures.beside_published(comparison, observations) for observations in published.FILES]


def sensitivity_files(places: Sequence[Path]) -> list[Path]:
    """What `sobolev sensitivity` has written in these places, each file once."""
    found = {path.resolve(): path for place in places for path in sorted(place.rglob("sensitivity.json"))}
    return list(found.values())


def sensitivity_figure(path: Path) -> Illustration:
    """Figure 9 from a file of `sobolev sensitivity`. Raises UserError for another file."""
    from sobolev.experiments.sensitivity import figures as drawing
    from sobolev.plotting.panels import whole

    try:
        text = path.read_text(encoding="utf-8")
        told, lost = json.loads(text), text.count("null")
        figure = drawing.draw(_with_nan(told["records"]))
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise UserError(f"{path} is not what sobolev sensitivity writes ({error!r})") from error
    caption = f"How far the latent tables move when their inputs do, and exact Jacobian norms: {told['command']}"
    if lost:
        caption += f" ({lost} numbers were not finite: left out)"
    number = "" if path.parent.name == "sensitivity" else f"-{path.parent.name}"
    return Illustration(f"figure-9{number}", "Figure 9. Local sensitivity", caption, whole(figure, caption))


def _with_nan(tree: Any) -> Any:
    """Records with nan for null, which JSON has in its place."""
    if isinstance(tree, dict):
        return {name: _with_nan(value) for name, value in tree.items()}
    if isinstance(tree, list):
        return [_with_nan(value) for value in tree]
    return math.nan if tree is None else tree


def unfinished(places: Sequence[Path]) -> list[str]:
    """A note for every sweep in these places of which runs are not done, with the errors of those that failed."""
    notes = []
    for path in dict.fromkeys(path for place in places for path in sorted(place.glob("sweep-*.json"))):
        try:
            runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
            left = [run for run in runs if run["state"] != "done"]
            told = [f"{run['label']} on {run['task']} is {run['state']}" for run in left]
            told = [f"{text}: {run['error']}" if run["error"] else text for run, text in zip(left, told, strict=True)]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} cannot be read as a sweep: {error!r}") from error
        if left:
            notes.append(f"Of {counts(len(runs), 'run')} in {path}, {len(left)} are not done: {'; '.join(told)}.")
    return notes


NEEDED = {
    "table-1": "sobolev sweep dmc-proprio-locomotion",
    "table-3": "sobolev sweep dmc-proprio",
    "table-4": "sobolev sweep cost",
    "figure-2": "sobolev sweep dmc-proprio",
    "figure-3": "sobolev sweep quadruped-4m",
    "figure-4": "sobolev sweep dmc-pixels",
    "figure-5a": "sobolev sweep ablation-rho",
    "figure-5b": "sobolev sweep ablation-rho",
    "figure-5c": "sobolev sweep ablation-target",
    "figure-5d": "sobolev sweep ablation-decay",
    "figure-6": "sobolev sweep dmc-proprio-2m",
    "figure-7": "sobolev sweep dmc-pixels",
    "figure-8": "sobolev sweep warm-start",
    "figure-9": "sobolev sweep sensitivity, then sobolev sensitivity on its runs",
}
"""The tables and figures of paper 1 by number, and what makes the runs of each."""


def artefacts(sections: Sequence[Section]) -> Table:
    """Which tables and figures of paper 1 are in the report, and how to make those that are not."""
    there = {part.name for section in sections for part in section.parts}
    rows = []
    for name, source in NEEDED.items():
        inside = name in there or any(other.startswith(name + "-") for other in there)
        rows.append((name.replace("-", " ").capitalize(), "yes" if inside else "no", source))
    caption = "Figure 1 shows frames of tasks, Table 2 the settings: sobolev train --help. A task is enough for a yes."
    columns = ("of paper 1", "here", "its runs")
    return Table(
        "artefacts", "Tables and figures of paper 1", caption, columns, tuple(rows), words=frozenset({0, 1, 2})
    )


def check_output(output: Path) -> None:
    """Raises UserError for a folder that holds other things than a report."""
    page = output / "index.html"
    if not output.exists() or output.is_dir() and not any(output.iterdir()):
        return
    if not page.is_file() or f'content="{MARK}"' not in page.read_text(encoding="utf-8", errors="replace")[:2000]:
        raise UserError(f"{output} holds other things than a report: choose another --output")


def write(content: Report, output: Path) -> list[Path]:
    """Writes a report into a folder, the page last, and removes what an earlier report there had beyond it."""
    for folder in (output, output / "figures", output / "tables"):
        made(folder, "--output")
    files: list[Path] = []
    for section in content.sections:
        for table in section.tables:
            files.append(output / "tables" / f"{table.name}.csv")
            write_text(files[-1], table.csv())
        for illustration in section.illustrations:
            for kind, of in (("png", Picture.png), ("pdf", Picture.pdf)):
                files.append(output / "figures" / f"{illustration.name}.{kind}")
                write_bytes(files[-1], of(illustration.picture))
    made_before, names = output / LIST, [str(file.relative_to(output)) for file in files]
    if made_before.is_file():
        for name in sorted({*made_before.read_text().splitlines()} - {*names}):
            if re.fullmatch(r"(figures|tables)/[^/]+\.(png|pdf|csv)", name):
                (output / name).unlink(missing_ok=True)
    write_text(made_before, "\n".join(names) + "\n")
    write_text(output / "report.md", markdown(content))
    write_text(output / "index.html", html(content))
    return [output / "index.html", output / "report.md", *files]


def html(content: Report) -> str:
    """The page, with its figures inside."""
    import jinja2

    from sobolev._version import __version__

    loader = jinja2.PackageLoader("sobolev.reports")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["data_uri"] = _data_uri
    environment.tests["link"] = lambda cell: isinstance(cell, Link)
    template = environment.get_template("report.html.jinja")
    return template.render(report=content, mark=MARK, version=__version__, images=_images)


def _images(picture: Picture) -> Iterator[dict[str, Any]]:
    """Every panel of a picture, drawn once, with what it shows in words."""
    width, height = picture.size
    for index, panel in enumerate(picture.panels):
        yield {"content": picture.png(index), "alt": panel.about, "width": width, "height": height}


def _data_uri(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


def markdown(content: Report) -> str:
    """The report as Markdown, its figures beside it."""
    lines = [f"# {content.title}", content.about, f"`{content.command}`"]
    lines += ["\n".join(f"* **{number}** {what}" for number, what in content.headline)]
    for section in content.sections:
        lines.append(f"## {section.title}")
        for part in section.parts:
            body = part.markdown() if isinstance(part, Table) else f"![{part.title}](figures/{part.name}.png)"
            lines += [f"### {part.title}", body.rstrip("\n"), part.caption]
    lines += ["## Notes", "\n".join(f"* {note}" for note in content.notes) or "Nothing was missing or unequal."]
    return "\n\n".join(lines) + "\n"
