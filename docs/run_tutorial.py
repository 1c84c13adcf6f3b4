"""Executes docs/tutorial.ipynb in a folder of its own, with the `sobolev` of this interpreter.

    python docs/run_tutorial.py              # and writes its outputs into the notebook, for the site
    python docs/run_tutorial.py OUTPUT       # and writes the executed notebook there

TUTORIAL_STEPS=400 makes its runs short. Exit status 1 where a cell fails.
"""

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

NOTEBOOK = Path(__file__).parent / "tutorial.ipynb"
SECONDS = 900
"""Within which a cell has to end."""


def main(output: Path) -> int:
    """Execute, write, and return the exit status."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    os.environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook, timeout=SECONDS, kernel_name="python3", resources={"metadata": {"path": folder}}
        )
        try:
            client.execute()
        except CellExecutionError as error:
            print(error, file=sys.stderr)
            return 1
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:02d}"
        cell.metadata.pop("execution", None)  # times, which differ with every run
    nbformat.write(notebook, output)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else NOTEBOOK))
