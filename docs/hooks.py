"""What mkdocs does beside building pages: pages that are made from the code, files outside docs/, equations.

* flags.md, presets.md: tables of every flag of `sobolev train` by method, and of what presets and sizes set.
* tutorial.md: the notebook, with the outputs that it was saved with.
* repository/…: files of the repository that pages link to, such as results/ and examples/.
* Equations become MathML, which browsers draw without a script.
"""

import base64
import json
import posixpath
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from sobolev.cli.described import Flag, described, shown
from sobolev.config import defaults
from sobolev.config.codec import settings
from sobolev.config.registry import OURS
from sobolev.smoothness.regularizers.registry import REGULARIZERS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
OUTSIDE = "repository"
"""Where files of the repository outside docs/ are on the site."""
LINK = re.compile(r"(!?\[(?:[^\[\]]|\[[^\[\]]*\])*\]\()([^)\s]+)(\))")
FENCE = re.compile(r"(^```.*?^```\s*?$)", re.M | re.S)
MATH = re.compile(r'<(span|div) class="arithmatex">(?:\\\(|\\\[)(.*?)(?:\\\)|\\\])</\1>', re.S)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made, and the files that pages link to."""
    made = {"flags.md": flags_page(), "presets.md": presets_page()}
    notebook, pictures = notebook_page(DOCS / "tutorial.ipynb")
    made["tutorial.md"] = notebook
    for place, content in made.items():
        files.append(File.generated(config, place, content=content))
    for place, picture in pictures.items():
        files.append(File.generated(config, place, content=picture))
    waiting = [DOCS / file.src_uri for file in files if file.src_uri.endswith(".md") and file.src_uri not in made]
    waiting += [ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"]
    seen: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        if DOCS not in path.parents:
            place = f"{OUTSIDE}/{path.relative_to(ROOT)}"
            files.append(File.generated(config, place, abs_src_path=str(path)))
        if path.suffix == ".md":
            waiting += [target for target in linked(path) if DOCS not in target.parents]
    return files


def linked(page: Path) -> list[Path]:
    """The files of the repository that a page links to."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    found = [match[2].partition("#")[0] for match in LINK.finditer(text)]
    targets = [(page.parent / target).resolve() for target in found if target and "://" not in target]
    return [target for target in targets if ROOT in target.parents and target.is_file()]


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links between docs/ and the rest of the repository lead to where things are on the site."""
    here = page.file.src_uri
    inside = here.startswith(OUTSIDE + "/")
    source = here.removeprefix(OUTSIDE + "/") if inside else f"docs/{here}"

    def moved(match: re.Match[str]) -> str:
        target, hash_sign, anchor = match[2].partition("#")
        if not target or "://" in target or target.startswith("mailto:"):
            return match[0]
        place = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        on_site = place.removeprefix("docs/") if place.startswith("docs/") else f"{OUTSIDE}/{place}"
        if files.get_file_from_path(on_site) is None:
            raise PluginError(f"{source} links to {target}, which is no file")
        return match[1] + posixpath.relpath(on_site, posixpath.dirname(here) or ".") + hash_sign + anchor + match[3]

    pieces = FENCE.split(markdown)
    return "".join(piece if piece.startswith("```") else LINK.sub(moved, piece) for piece in pieces)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Draw the equations."""

    def drawn(match: re.Match[str]) -> str:
        latex = match[2].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
        math = convert(latex.strip(), display="block" if match[1] == "div" else "inline")
        math = math.replace("<mo>&#x02016;</mo>", '<mo stretchy="false">&#x02016;</mo>')  # \\lVert, \\rVert
        return f'<div class="equation">{math}</div>' if match[1] == "div" else math

    return MATH.sub(drawn, html)


def flags_page() -> str:
    """Every flag of `sobolev train`: those of all methods first, then those of each method and each regularizer."""
    everyone = {method: described(defaults("", method)) for method in OURS}
    own = {method: frozenset(settings(defaults("", method).agent)) for method in OURS}
    common = [flag for flag in everyone["gpld"] if flag.path not in own["gpld"] and flag.path != "task"]
    text, known = [_FLAGS_HEAD, "## Flags of every method\n", *_groups(common, "run")], {}
    for method, about in OURS.items():
        flags = [flag for flag in everyone[method] if flag.path in own[method]]
        text.append(f"## Flags of {method}\n\n{about.about[:1].upper()}{about.about[1:]}.\n")
        text += [
            f"`--{path}` and what belongs to it cannot be set: {method} {why}.\n"
            for path, (why, _) in about.fixed.items()
        ]
        if own[method] in known:
            same = known[own[method]]
            before = {flag.path: flag.default for flag in everyone[same]}
            changed = [flag for flag in flags if flag.default != before[flag.path]]
            text.append(f"The flags are those of [{same}](#flags-of-{same}), with other defaults:\n\n{_table(changed)}")
        else:
            known[own[method]] = method
            text += _groups(flags, method)
    return "\n".join([*text, *_regularizers()])


def _regularizers() -> list[str]:
    """The flags that each regularizer has of its own."""
    penalties = {
        name: [flag for flag in described(defaults("", regularizer=name)) if flag.group == "penalty"]
        for name in REGULARIZERS
    }
    shared = set.intersection(*({flag.path for flag in flags} for flags in penalties.values()))
    text = ["## Flags of the regularizers\n\n`--regularizer NAME` has these beside the ones that all share.\n"]
    for name, flags in penalties.items():
        text.append(f"### --regularizer {name}\n\n" + _table([flag for flag in flags if flag.path not in shared]))
    return text


_FLAGS_HEAD = """# Flags of `sobolev train`

This page is generated from the code. Defaults are those of `--preset paper`; [presets and sizes](presets.md) says what
the others change. A flag is the path of a setting: `--penalty.rho 0.25` on the command line is `"penalty.rho": 0.25` in
`sobolev.train(…, settings={…})`, and `penalty` → `rho` in a run's `config.json`.

A flag that is on or off has two forms, such as `--fresh` and `--no-fresh`, `--log.tensorboard` and
`--log.no-tensorboard`. Whole numbers may be written `1e6` or `1_000_000`.

`sobolev train --help` shows the everyday flags, `sobolev train --help-all --method NAME` all that a method has.
"""


def _groups(flags: list[Flag], owner: str) -> list[str]:
    groups = list(dict.fromkeys(flag.group for flag in flags))
    return [
        (f"### {owner}: {group}\n\n" if group else "") + _table([flag for flag in flags if flag.group == group])
        for group in groups
    ]


def _table(flags: list[Flag]) -> str:
    rows = ["| flag | takes | default | what it is |", "|---|---|---|---|"]
    for flag in flags:
        about = flag.about.replace("|", "\\|")
        rows.append(f"| `{flag.name}` | {flag.values} | `{shown(flag.default)}` | {about} |")
    return "\n".join(rows) + "\n"


def presets_page() -> str:
    """What each preset and each size sets, by method."""
    text, known = [_PRESETS_HEAD], {}
    for name, method in OURS.items():
        presets = _comparison({preset: _values_of(name, None, preset) for preset in method.presets})
        sizes = _comparison({size: _values_of(name, size, None) for size in method.sizes})
        text.append(f"## Presets of {name}\n\n{presets}")
        if sizes in known:
            text.append(f"The sizes are [those of {known[sizes]}](#sizes-of-{known[sizes]}).\n")
        else:
            known[sizes] = name
            text.append(f"### Sizes of {name}\n\n{sizes}")
    return "\n".join(text)


_PRESETS_HEAD = """# Presets and sizes

This page is generated from the code. A preset sets the defaults of all flags, a size those of the networks; every other
flag changes one setting on top. Only what differs between the columns is shown;
[the flags](flags.md) have all the rest.

* `paper` is the protocol of the method's paper, meant for a GPU.
* `laptop` has smaller networks and batches and fewer steps, for two CPU cores. It is **not** the paper's protocol.
* `demo` is `laptop` with still fewer steps.
"""


def _values_of(method: str, size: str | None, preset: str | None) -> dict[str, Any]:
    found = {path: value for path, (_, value) in settings(defaults("", method, size, preset)).items()}
    return {path: value for path, value in found.items() if path not in ("task", "method", "preset")}


def _comparison(columns: dict[str, dict[str, Any]]) -> str:
    first = next(iter(columns.values()))
    rows = ["| flag | " + " | ".join(f"`{name}`" for name in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for path in first:
        values = [shown(column[path]) for column in columns.values()]
        if len(set(values)) > 1 and path != "size":
            rows.append(f"| `--{path.replace('_', '-')}` | " + " | ".join(values) + " |")
    return "\n".join(rows) + "\n"


def notebook_page(path: Path) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown, and the pictures in its outputs by their place on the site."""
    text, pictures = [], {}
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    if not any(cell.get("outputs") for cell in cells):
        raise PluginError(f"{path} has no outputs: run `make tutorial`")
    for number, cell in enumerate(cells):
        source = "".join(cell["source"])
        if cell["cell_type"] != "code":
            text.append(source)
            continue
        bash = source.startswith("%%bash\n")
        text.append(f"```{'bash' if bash else 'python'}\n{source.removeprefix('%%bash').strip()}\n```")
        printed = ""
        for index, output in enumerate(cell["outputs"]):
            data = output.get("data", {})
            if "image/png" in data:
                place = f"tutorial_files/{number}-{index}.png"
                pictures[place] = base64.b64decode("".join(data["image/png"]))
                text.append(f"![Output of the cell above]({place})")
            elif output["output_type"] != "stream":
                printed += "".join(data.get("text/plain", "")).rstrip("\n") + "\n"
            elif output["name"] == "stdout":  # in pieces that may end within a line
                printed += "".join(output["text"])
        if printed.strip():
            text.append(f"```text\n{printed.strip()}\n```")
    return "\n\n".join(text) + "\n", pictures
