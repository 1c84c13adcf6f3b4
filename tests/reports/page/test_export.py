"""The folder of a report, when its writing is interrupted and when it is not ours."""

from pathlib import Path

import pytest

from sobolev.errors import UserError
from sobolev.reports.page import export
from sobolev.reports.page.content import Report, Section
from sobolev.reports.page.export import LIST, check_output, write
from sobolev.reports.page.table import Table


def report(*names: str) -> Report:
    """A report of tables with these names."""
    tables = tuple(Table(name, name, "", ("a",), (("1",),)) for name in names)
    return Report("title", "about", "sobolev report", (), (Section("scores", "Scores", tables),), ())


def csvs(folder: Path) -> set[str]:
    return {path.stem for path in (folder / "tables").iterdir()}


@pytest.mark.parametrize("earlier", [(), ("first",)])
@pytest.mark.parametrize("before", ["tables/second.csv", "tables/third.csv", "report.md", "index.html"])
def test_a_report_that_was_interrupted_does_not_block_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, earlier: tuple[str, ...], before: str
) -> None:
    folder, real = tmp_path / "report", export.write_text
    if earlier:
        write(report(*earlier), folder)

    def interrupted(path: Path, text: str) -> None:
        if path == folder / before:
            raise KeyboardInterrupt
        real(path, text)

    with monkeypatch.context() as patched:
        patched.setattr(export, "write_text", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write(report("second", "third"), folder)
    check_output(folder)
    # whatever the interrupted and the earlier report have left is deleted
    write(report("fourth"), folder)
    assert csvs(folder) == {"fourth"} and (folder / LIST).read_text() == "tables/fourth.csv\n"


def test_a_folder_with_another_page_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    files = write(report("first"), folder)
    check_output(folder)
    assert [path.name for path in files] == ["index.html", "report.md", "first.csv"]
    (folder / "index.html").write_text("<html>mine</html>")
    with pytest.raises(UserError, match="holds other things than a report: choose another --output"):
        check_output(folder)
    (folder / "index.html").unlink()
    (folder / LIST).unlink()
    with pytest.raises(UserError, match="holds other things than a report: choose another --output"):
        check_output(folder)
