"""The notebooks are stored without outputs; `scripts/notebooks --tiny` executes them, in CI."""

import ast
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").iterdir())


def code_cells(path):
    cells = json.loads(path.read_text("utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_the_script_executes_every_notebook():
    script = (ROOT / "scripts" / "notebooks.py").read_text("utf-8")
    (order,) = re.findall(r"^ORDER = (\(.*?\))", script, flags=re.M)
    assert sorted(ast.literal_eval(order)) == [path.stem for path in NOTEBOOKS]
    assert "scripts/notebooks --tiny" in (ROOT / ".ci" / "run").read_text("utf-8")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(path):
    assert path.suffix == ".ipynb"
    assert path.stat().st_size < 200_000
    for cell in code_cells(path):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_tiny_run_changes_settings_that_the_first_cell_has(path):
    first, *_ = code_cells(path)
    tree = ast.parse("".join(first["source"]))
    assigned = {
        target.id for node in tree.body if isinstance(node, ast.Assign) for target in node.targets
    }
    assert first["metadata"]["tags"] == ["parameters"]
    assert "EPOCHS" in first["metadata"]["tiny"]
    assert set(first["metadata"]["tiny"]) <= assigned
