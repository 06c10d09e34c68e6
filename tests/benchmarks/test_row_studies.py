"""Studies in rows: tables of what is there, and students in the loop beside those of the store."""

import json
import sys
from importlib import import_module
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.lines import make_line_folder
from helpers.masked import make_masked_folder

FOLDER = Path(__file__).parents[2] / "benchmarks" / "accuracy"


@pytest.fixture
def study_of(monkeypatch):
    """Run a study by its name; the modules, whose folder is no package, do not stay."""
    monkeypatch.syspath_prepend(FOLDER)
    before = set(sys.modules)

    def run(name, *words):
        main = import_module(name).main
        return CliRunner().invoke(main, [str(word) for word in words])

    yield run
    for path in FOLDER.glob("*.py"):
        if path.stem not in before:
            sys.modules.pop(path.stem, None)


def reached(out, row, seed, **numbers):
    (out / f"{row}-{seed}.json").write_text(json.dumps(numbers | {"row": row, "seed": seed}))


def test_tables_are_of_what_is_there(study_of, tmp_path):
    (tmp_path / "topk1.bytes.json").write_text(json.dumps({"bytes": 1234.4}))
    reached(tmp_path, "truth alone", 0, miou=0.5, pixel_accuracy=0.75)
    reached(tmp_path, "topk1", 0, miou=0.6, pixel_accuracy=0.8)
    reached(tmp_path, "topk1", 1, miou=0.62, pixel_accuracy=0.8)
    words = ["x", "--teacher", "x", "--out", tmp_path, "--table"]
    assert study_of("map_study", *words).stdout.splitlines() == [
        "| student | bytes a crop | mIoU, % | pixels, % | seeds |",
        "|---|--:|--:|--:|--:|",
        "| truth, topk1 | 1,234 | 61.0 ± 1.4 | 80.0 ± 0.0 | 2 |",
        "| truth alone |  | 50.0 | 75.0 | 1 |",
    ]


def test_a_row_that_no_table_has_is_refused_before_anything_is_labelled(study_of, tmp_path):
    words = ["x", "--teacher", "x", "--out", tmp_path / "out", "--row", "text"]
    done = study_of("line_study", *words)
    assert done.exit_code == 2
    assert "no row is named 'text'; there are texts; topk5; texts, topk5;" in done.output
    assert not (tmp_path / "out").exists()


@pytest.mark.whole
def test_maps_in_the_loop_are_learned_as_from_the_store(study_of, tmp_path):
    camvid = make_masked_folder(tmp_path / "camvid", train=8, val=2)
    words = [camvid, "--teacher", "helpers.masked:teacher", "--teacher-size", 32, "--size", 32]
    words += ["--epochs", 2, "--stored", 2, "--seeds", 1, "--out", tmp_path / "out"]
    words += ["--layer", "0", "--row", "full", "--row", "truth, teacher in the loop"]
    table = study_of("map_study", *words).stdout.splitlines()
    stored, asked = ([float(share) for share in line.split(" | ")[2:4]] for line in table[2:])
    assert stored == pytest.approx(asked, abs=3)  # the same labels, but for halves in the store
    words[words.index("full")] = "truth, full labels, layer"
    assert len(study_of("map_study", *words).stdout.splitlines()) == 5


@pytest.mark.whole
def test_two_students_of_lines_learn_from_each_other_and_from_a_copy(study_of, tmp_path):
    lines = make_line_folder(tmp_path / "lines", train=32, val=2)
    words = [lines, "--teacher", "helpers.lines:probs_teacher", "--size", 16, 64, "--epochs", 1]
    words += ["--student", "helpers.lines:student", "--kept", "topk2", "--seeds", 1]
    words += ["--row", "two peers, texts, topk2", "--row", "texts", "--out", tmp_path / "out"]
    table = study_of("line_study", *words).stdout.splitlines()
    assert [line.split(" | ")[0] for line in table[2:]] == ["| texts", "| two peers, texts, topk2"]
    config = tmp_path / "out" / "two_peers_texts_topk2-seed0" / "config.json"
    said = json.loads(config.read_text())
    assert said["store"].endswith("topk2.zarr")
    assert len(said["student"]) == 2
