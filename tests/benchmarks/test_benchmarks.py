"""The storage table runs as the documents say, adds up, and shows the paper's own figures."""

import csv
import sys
from pathlib import Path

import pytest
from helpers.processes import Forked
from helpers.stores import make_store

from fkd import Scheme

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "storage_table.py"
PARTS = ("boxes B", "flips B", "palettes B", "slots B", "codes B", "lists B", "hashes B", "fixed B")
IMAGES, CROPS = 12, 40


def run(cwd, *args):
    return Forked(["--out", "out", *args], cwd, script=SCRIPT).finish()


def read_rows(folder):
    with (folder / "out" / "storage_table.csv").open() as file:
        return {row["labels"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    done = run(folder, "--images", IMAGES, "--crops", CROPS)
    assert done.code == 0, done.err
    return folder, done.out, read_rows(folder)


def test_the_papers_figures_follow_from_its_formula(table):
    said = {name: row["paper GiB, M = 200"] for name, row in table[2].items()}
    known = {name: figure for name, figure in said.items() if figure != "–"}
    assert known == {
        "full": "898.5", "hard": "5.4", "smooth": "6.3", "topk5": "13.4", "topk10": "22.4"
    }  # fmt: skip
    others = {"full-8bit", "topk5-coarse", "topk7-coarse", "topk20", "samples1", "samples8"}
    assert others == set(said) - set(known)


def test_bytes_add_up_and_scale_to_imagenet(table):
    for row in table[2].values():
        parts = {part: float(row[part]) for part in PARTS}
        assert sum(parts.values()) == pytest.approx(float(row["bytes a crop"]), abs=0.05)
        palettes = parts.pop("palettes B") * 1_281_167 * CROPS
        of_crops = sum(list(parts.values())[:4]) * 1_281_167
        of_images = (parts["lists B"] + parts["hashes B"]) * CROPS * 1_281_167
        for crops in (50, 200, 500):
            gib = (of_crops * crops + palettes * (crops / CROPS) ** 0.36 + of_images) / 2**30
            assert float(row[f"GiB, M = {crops}"]) == pytest.approx(gib, rel=0.01, abs=0.01)


def test_the_parts_are_all_that_lies_on_disk(shared_store):
    sys.path.insert(0, str(SCRIPT.parent))
    from storage_report import PARTS as COUNTED
    from storage_report import Sizes

    sizes = Sizes(shared_store.stored_bytes(), shared_store.spec.num_images, 6)
    on_disk = sum(f.stat().st_size for f in shared_store.path.rglob("*") if f.is_file())
    assert sizes.of(*COUNTED) == on_disk
    assert sizes.of("slots") == sum(
        f.stat().st_size for f in (shared_store.path / "slot" / "c").rglob("*") if f.is_file()
    )


def test_what_is_kept_grows_with_k_and_is_exact_enough(table):
    rows = table[2]
    mass = [float(rows[f"topk{k}"]["kept mass"]) for k in (5, 10, 20)]
    assert float(rows["hard"]["kept mass"]) < mass[0] < mass[1] < mass[2] < 1
    assert float(rows["full"]["kept mass"]) == pytest.approx(1, abs=1e-4)
    for name, row in rows.items():
        if name.startswith("samples"):  # true on average over crops alone
            assert row["KL, nats"] == row["kept mass"] == row["top-1 agrees"] == "–"
            assert float(row["mean K"]) <= int(name[7:])
            continue
        # In codes of 8 bits, two classes may be as likely as each other.
        assert float(row["top-1 agrees"]) > (0.98 if name == "full-8bit" else 0.999)
        if name != "hard":
            coarse = "coarse" in name or "8bit" in name
            assert float(row["KL quant."]) < (2e-2 if coarse else 2e-4)
    total = [
        float(rows[name]["KL, nats"]) for name in ("full", "topk20", "topk10", "topk5", "smooth")
    ]
    assert total == sorted(total)
    assert total[0] < 1e-5 < 0.05 < total[3]
    assert rows["topk5"]["KL / top-5's"] == "100%"


def test_the_sets_of_others_stand_beside_ours_in_their_units(table):
    with (table[0] / "out" / "label_sets.csv").open() as file:
        rows = {(row["label set"], row["a label"][-7:]): row for row in csv.DictReader(file)}
    sizes = {name[0]: (row["bytes a label"], row["GB"]) for name, row in rows.items()}
    assert sizes["FKD, M = 200"] == ("60.0", "14.4")
    assert sizes["FKD, M = 500"] == ("76.6", "49.1")
    assert sizes["dataset reinforcement, RRC-Small, M = 100"] == ("36.7", "4.7")
    assert sizes["ReLabel"] == ("9,000", "11.5")
    assert sizes["DataCompDR-12M, 30 views"] == ("3,072", "1,179.6")
    ours = table[2]["topk5"]
    each = float(ours["GiB, M = 200"]) * 2**30 / 1_281_167 / 200
    assert float(sizes["fkd, topk5, M = 200"][0]) == pytest.approx(each, rel=0.01)


def test_a_markdown_table_and_a_plot_are_left(table):
    folder, said, _ = table
    text = (folder / "out" / "storage_table.md").read_text("utf-8")
    assert text in said
    assert "synthetic labels" in text
    pytest.importorskip("matplotlib")
    assert (folder / "out" / "storage_table.png").read_bytes().startswith(b"\x89PNG")


def test_a_store_of_top_k_gives_what_it_can(shared_store, tmp_path):
    done = run(tmp_path, "--store", shared_store.path)
    assert done.code == 0, done.err
    assert list(read_rows(tmp_path)) == ["hard", "smooth"]
    assert "the truth is the store's own labels" in done.out


def test_a_store_of_samples_is_refused(tmp_path):
    store, _ = make_store(tmp_path / "s.zarr", scheme=Scheme("samples", 4))
    done = run(tmp_path, "--store", store.path)
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert "holds samples (samples4), of which no other labels can be made" in done.err


def test_a_store_that_is_missing_is_one_line(tmp_path):
    done = run(tmp_path, "--store", "nowhere.zarr")
    assert done.code == 2
    assert done.err.startswith("fkd: error: label store nowhere.zarr does not exist")
    assert done.err.count("\n") == 1
