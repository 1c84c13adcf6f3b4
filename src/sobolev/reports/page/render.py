"""Renders a report as an HTML page that contains its figures, and as Markdown."""

import base64
from collections.abc import Iterator
from typing import Any

from sobolev.plotting.panels import Picture
from sobolev.reports.page.content import Report
from sobolev.reports.page.table import Link, Table

MARK = "sobolev report"
"""Marks the page as one of ours, so that the folder of a report is recognised."""


def html(content: Report) -> str:
    """Returns the page, which needs no other files."""
    import jinja2

    from sobolev._version import __version__

    loader = jinja2.PackageLoader("sobolev.reports.page")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["data_uri"] = _data_uri
    environment.tests["link"] = lambda cell: isinstance(cell, Link)
    template = environment.get_template("report.html.jinja")
    return template.render(report=content, mark=MARK, version=__version__, images=_images)


def _images(picture: Picture) -> Iterator[dict[str, Any]]:
    """Yields every panel of a picture as an image with its description."""
    width, height = picture.size
    for index, panel in enumerate(picture.panels):
        yield {"content": picture.png(index), "alt": panel.about, "width": width, "height": height}


def _data_uri(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


def markdown(content: Report) -> str:
    """Returns the report as Markdown, with links to its figures."""
    lines = [f"# {content.title}", content.about, f"`{content.command}`"]
    lines += ["\n".join(f"* **{number}** {meaning}" for number, meaning in content.headline)]
    for section in content.sections:
        lines.append(f"## {section.title}")
        for part in section.parts:
            body = part.markdown() if isinstance(part, Table) else f"![{part.title}](figures/{part.name}.png)"
            lines += [f"### {part.title}", body.rstrip("\n"), part.caption]
    lines += ["## Notes", "\n".join(f"* {note}" for note in content.notes) or "Nothing was missing or unequal."]
    return "\n\n".join(lines) + "\n"
