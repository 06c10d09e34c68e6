"""The storage table runs as the documents say, adds up, and shows the paper's own figures."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.processes import fkd_environment

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "storage_table.py"
PARTS = ("box B", "flip B", "ids B", "values B", "rest B")


def run(cwd, *args):
    return subprocess.run(
        [sys.executable, SCRIPT, "--out", "out", *map(str, args)], cwd=cwd, text=True,
        env=fkd_environment(), capture_output=True, check=False,
    )  # fmt: skip


def read_rows(folder):
    with (folder / "out" / "storage_table.csv").open() as file:
        return {row["labels"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    done = run(folder, "--images", 12, "--crops", 40)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout, read_rows(folder)


def test_the_papers_figures_follow_from_its_formula(table):
    said = {name: row["paper GiB, M = 200"] for name, row in table[2].items()}
    assert said == {
        "full": "898.5",
        "hard": "5.4",
        "smoothing": "6.3",
        "MS, K = 5": "13.4",
        "MR, K = 5": "13.4",
        "MS, K = 10": "22.4",
        "MR, K = 10": "22.4",
        "MS, K = 20": "–",
        "MR, K = 20": "–",
    }


def test_bytes_add_up_and_scale_to_imagenet(table):
    for row in table[2].values():
        total = float(row["bytes a crop"])
        assert sum(float(row[part]) for part in PARTS) == pytest.approx(total, abs=0.03)
        assert float(row["GiB, M = 200"]) == pytest.approx(
            total * 1_281_167 * 200 / 2**30, rel=0.01
        )
        assert float(row["GiB, M = 500"]) == pytest.approx(
            total * 1_281_167 * 500 / 2**30, rel=0.01
        )


def test_what_is_kept_grows_with_k_and_is_exact_enough(table):
    rows = table[2]
    mass = [float(rows[f"MS, K = {k}"]["kept mass"]) for k in (5, 10, 20)]
    assert float(rows["hard"]["kept mass"]) < mass[0] < mass[1] < mass[2] < 1
    assert float(rows["full"]["kept mass"]) == pytest.approx(1, abs=1e-4)
    for name, row in rows.items():
        assert float(row["top-1 agrees"]) > 0.999
        if name != "hard":
            assert float(row["KL, nats"]) < 2e-4


def test_a_markdown_table_and_a_plot_are_left(table):
    folder, said, _ = table
    text = (folder / "out" / "storage_table.md").read_text("utf-8")
    assert text in said
    assert "synthetic labels" in text
    pytest.importorskip("matplotlib")
    assert (folder / "out" / "storage_table.png").read_bytes().startswith(b"\x89PNG")


def test_a_store_of_top_k_gives_what_it_can(shared_store, tmp_path):
    done = run(tmp_path, "--store", shared_store.path)
    assert done.returncode == 0, done.stderr
    assert list(read_rows(tmp_path)) == ["hard", "smoothing"]
    assert "the truth is the store's own labels" in done.stdout


def test_a_store_that_is_missing_is_one_line(tmp_path):
    done = run(tmp_path, "--store", "nowhere.zarr")
    assert done.returncode == 2
    assert done.stderr.startswith("fkd: error: label store nowhere.zarr does not exist")
    assert done.stderr.count("\n") == 1
