"""The benchmarks of training run as the documents say, on a few steps; their speed is not judged."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.masked import make_masked_folder
from helpers.processes import Forked, fkd_environment

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(name, cwd, *arguments):
    done = subprocess.run(
        [sys.executable, BENCHMARKS / name, *map(str, arguments)], cwd=cwd, text=True,
        env=fkd_environment(), capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.whole
def test_every_way_of_training_is_in_the_table(tmp_path):
    few = [
        "--limit",
        40,
        "--size",
        32,
        "--batch-size",
        16,
        "--steps",
        1,
        "--rounds",
        1,
        "--workers",
        1,
    ]
    out = run("train_speed.py", tmp_path, *few, "--device", "cpu", "--out", "out")
    with (tmp_path / "out" / "train_speed.csv").open() as file:
        rows = {row["training"]: row for row in csv.DictReader(file)}
    ours = [f"fkd, m = {m}" for m in (1, 4, 8)]
    online = ["online, resnet50", "online, resnet152"]
    assert list(rows) == ["student alone", "plain", *online, *ours]
    assert float(rows["plain"]["against_plain"]) == 1
    assert all(float(row["seconds"]) > 0 for row in rows.values())
    assert all(f"| {name} |" in out for name in rows)


@pytest.mark.whole
def test_peers_decode_what_one_student_does(tmp_path):
    few = ["--limit", 40, "--size", 32, "--batch-size", 16, "--steps", 2, "--rounds", 1]
    few += ["--workers", 1, "--student", "shufflenet_v2_x0_5", "--device", "cpu", "--out", "out"]
    out = run("peers_speed.py", tmp_path, *few)
    with (tmp_path / "out" / "peers_speed.csv").open() as file:
        rows = {row["training"]: row for row in csv.DictReader(file)}
    assert rows["2 peers"]["images_decoded"] == rows["one"]["images_decoded"] == "16.0"
    assert float(rows["one"]["of_peers_times_one"]) == 0.5
    assert all(f"| {name} |" in out for name in rows)


@pytest.mark.whole
def test_the_sparse_loss_needs_less_memory_than_the_dense_one(tmp_path):
    out = run("loss_speed.py", tmp_path, "--batch-size", 512, "--rounds", 1)
    lines = [line.split("|")[1:-1] for line in out.splitlines() if line.startswith("| ")][1:]
    memory = {(line[0].strip(), line[1].strip()): float(line[3]) for line in lines}
    assert len(memory) == 4
    assert memory["21,841", "sparse"] < 0.8 * memory["21,841", "dense"]


def test_the_list_of_many_images_is_opened_from_its_index(tmp_path):
    said = run("image_list.py", tmp_path, "--images", 30_000)
    assert "images         30,000" in said


@pytest.mark.parametrize("enlarged", [[], ["--enlarged", "80x120"]], ids=["linked", "enlarged"])
def test_packed_images_are_read_beside_their_source(tmp_path, enlarged):
    make_masked_folder(tmp_path / "data", train=4, val=0)
    few = ["--shortest", 20, "--size", "16x24", "--crops", 2, "--limit", 2, "--rounds", 1]
    script = BENCHMARKS / "packed_speed.py"
    done = Forked(["data/train", *few, *enlarged], tmp_path, script=script).finish()
    assert done.code == 0, done.err
    out = done.out
    assert "2 images, 2 crops of 16x24 px" in out
    rows = [
        line.split(" | ") for line in out.splitlines() if line.startswith(("| source", "| --s"))
    ]
    assert float(rows[0][1]) > float(rows[1][1]) > 0
    assert all(float(row[2]) > 0 for row in rows)


@pytest.mark.whole
def test_a_step_of_every_trainer_is_timed(tmp_path):
    few = ["--limit", 24, "--size", 32, "--batch-size", 8, "--steps", 9, "--rounds", 1]
    out = run("trainer_speed.py", tmp_path, *few, "--workers", 1, "--device", "cpu", "--out", "out")
    with (tmp_path / "out" / "trainer_speed.csv").open() as file:
        rows = {row["trainer"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["a plain loop", "timm", "Lightning", "transformers"]
    assert all(float(row["plain"]) > 0 and float(row["stored"]) > 0 for row in rows.values())
    assert all(f"| {name} |" in out for name in rows)


@pytest.mark.whole
def test_what_it_costs_to_grow_is_in_the_table(tmp_path):
    few = ["--teacher", "weightless:make", "--images", 8, "--rounds", 1, "--size", 32]
    out = run("growing.py", tmp_path, *few, "--device", "cpu", "--workers", 1)
    row = next(line.split("|")[1:-1] for line in out.splitlines() if "weightless" in line)
    assert len(row) == 6
    assert all(float(number) > 0 for number in row[1:])


@pytest.mark.whole
def test_every_way_of_making_stores_of_stores_is_in_the_table(tmp_path):
    out = run("copying.py", tmp_path, "--images", 40, "--crops", 8, "--rounds", 1, "--out", "out")
    rows = [line.split("|")[1].strip() for line in out.splitlines() if line.startswith("| ")]
    copies = ["all of it", "all crops anew", "topk10 to topk5", "full to topk5"]
    assert rows[1:] == [*(f"copy, {name}" for name in copies), "merge, topk5", "average, topk5"]
    assert (tmp_path / "out" / "copying.md").read_text() == out
