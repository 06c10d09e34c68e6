"""Execute the notebooks of docs/notebooks in one folder, one after the other, as a reader would.

A notebook's first code cell has its settings. With `--tiny`, those that the cell's metadata name under
"tiny" are taken instead, so that a run shows in half a minute that everything works. The notebooks
themselves stay as they are, without outputs; what is executed goes to the folder.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parent.parent / "docs" / "notebooks"
ORDER = ("label-look-train", "timm")  # the second takes the store of the first


@click.command()
@click.option("--out", type=click.Path(path_type=Path), help="Keep what is made in this folder.")
@click.option("--tiny", is_flag=True, help="A few steps of everything, to see that it runs.")
def main(out: Path | None, tiny: bool) -> None:
    """Execute the notebooks; exit with an error where a cell fails."""
    # Kernels take the fkd of this folder, whichever is installed.
    project = str(NOTEBOOKS.parent.parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [project, os.getenv("PYTHONPATH")]))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        execute_all(out, tiny)
        return
    with tempfile.TemporaryDirectory() as folder:
        execute_all(Path(folder), tiny)


def execute_all(folder: Path, tiny: bool) -> None:
    """Execute each notebook in `folder`, and write it there with its outputs."""
    for name in ORDER:
        notebook: Any = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)  # type: ignore[no-untyped-call]
        if tiny:
            make_tiny(notebook)
        print(f"{name}: {len(notebook.cells)} cells", file=sys.stderr, flush=True)
        client = NotebookClient(notebook, timeout=3600, resources={"metadata": {"path": folder}})
        client.execute()
        nbformat.write(notebook, folder / f"{name}.ipynb")  # type: ignore[no-untyped-call]


def make_tiny(notebook: Any) -> None:
    """Set what the first code cell's metadata name under "tiny", after what the cell itself sets."""
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    settings = first.metadata["tiny"]
    first.source += "".join(f"\n{name} = {value!r}" for name, value in settings.items())


if __name__ == "__main__":
    main()
