"""docs/draw.py draws the figures that the pages have from what is committed."""

import importlib.util
from pathlib import Path

import pytest
from matplotlib import image

ROOT = Path(__file__).parents[2]


@pytest.mark.long
def test_every_figure_of_the_pages_is_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("docs_draw", ROOT / "docs" / "draw.py")
    assert spec is not None and spec.loader is not None
    draw = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(draw)
    (tmp_path / "docs").mkdir()
    (tmp_path / "scores").symlink_to(ROOT / "scores")
    monkeypatch.setattr(draw, "ROOT", tmp_path)
    draw.main()
    drawn = {path.name: path for path in (tmp_path / "docs").iterdir()}
    committed = {path.name for path in (ROOT / "docs").glob("*.png")}
    assert {"point-mass.png", "walker-stand.png", "walker-stand-published.png"} <= set(drawn) <= committed
    for name, path in drawn.items():
        assert image.imread(path).std() > 0.01, name
