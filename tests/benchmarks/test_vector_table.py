"""The table of stored vectors: its rows are of what a store gives back."""

import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.folders import make_image_folder
from helpers.networks import TEACHER_CHOICE

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def vector_table(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    import vector_table

    yield vector_table
    sys.modules.pop("vector_table", None)


def test_every_fifth_image_of_a_class_is_a_query(vector_table):
    asked = vector_table.queries(np.array([0, 0, 0, 0, 0, 0, 2, 2, 1]))
    assert np.flatnonzero(asked).tolist() == [0, 5, 6, 8]


def test_a_scheme_that_keeps_less_has_a_row_of_fewer_bytes(vector_table, tmp_path):
    images = make_image_folder(tmp_path / "data", train_per_class=20) / "train"
    teacher = ["--teacher", TEACHER_CHOICE.name, "--size", "32", "--keep", "pca4", "--keep", "int8"]
    out = tmp_path / "table.md"
    ended = CliRunner().invoke(vector_table.main, [str(images), *teacher, "--out", str(out)])
    assert ended.exit_code == 0, ended.output
    lines = out.read_text().splitlines()
    rows = {cells[0]: cells for cells in (line.strip("| ").split(" | ") for line in lines[4:])}
    assert list(rows) == ["f16", "pca4", "int8"]
    num_bytes = {name: float(cells[1].replace(",", "")) for name, cells in rows.items()}
    assert num_bytes["pca4"] < num_bytes["int8"] < num_bytes["f16"]
    assert 0 == float(rows["f16"][2]) < float(rows["int8"][2]) < float(rows["pca4"][2])
    assert lines[0].startswith("**train**: 60 images × 1 views of 32 px, 3 classes")
