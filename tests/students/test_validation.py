"""What a run is evaluated on: a folder that nobody named stops nothing, one that was named must do."""

import json
import shutil

import pytest

from fkd import FkdError, Scheme, TrainConfig, train_student
from fkd.config import NO_VAL
from fkd.evaluation import find_val
from fkd.sources import list_images

CLASSES = ("circle", "square", "triangle")


@pytest.fixture
def val(image_folder):
    return image_folder / "val"


def found(folder, named=None):
    return find_val(named, list_images(folder / "train"), CLASSES)


def flatten(val):
    for number, file in enumerate(sorted(val.rglob("*.jpg"))):
        file.rename(val / f"ILSVRC2012_val_{number + 1:08}.JPEG")
    for kind in CLASSES:
        (val / kind).rmdir()


def empty(val):
    shutil.rmtree(val)
    val.mkdir()


def empty_class(val):
    for file in (val / "circle").iterdir():
        file.unlink()


def strange(val):
    for kind in CLASSES:
        (val / kind).rename(val / f"other {kind}")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (flatten, "it holds images but no class folders"),
        (empty, "it is empty"),
        (empty_class, "val/circle holds no image"),
        (strange, "3 of 3 class folders are not among the student's classes: other circle"),
    ],
)
def test_a_val_that_was_found_is_left_out_with_a_warning(image_folder, val, change, words, capsys):
    assert len(found(image_folder)) == 6
    assert capsys.readouterr().err == ""
    change(val)
    assert found(image_folder) is None
    said = capsys.readouterr().err
    assert said.startswith("warning: ")
    assert words in said
    assert "training goes on without evaluation (--val names another folder" in said
    with pytest.raises(FkdError, match=words):
        found(image_folder, named=val)


def test_a_run_does_not_name_an_evaluation_that_is_refused(
    shared_store, image_folder, val, tmp_path, capsys
):
    shutil.copytree(val / "square", val / "cube")
    settings = {
        "store": shared_store.path, "images": image_folder, "student": "squeezenet1_1", "epochs": 1,
        "crops_per_image": 2, "batch_size": 12, "scheme": "topk3", "device": "cpu",
    }  # fmt: skip
    train_student(TrainConfig.from_recipe("fkd", **settings, out=tmp_path / "run"))
    said = capsys.readouterr().err
    assert "best      top-1" in said
    assert f"next      fkd export {tmp_path / 'run'}" in said


def test_one_class_more_is_left_out_and_the_rest_is_evaluated(image_folder, val, capsys):
    shutil.copytree(val / "square", val / "cube")
    (val / "cube" / "002.jpg").write_bytes((val / "cube" / "001.jpg").read_bytes())
    part = found(image_folder)
    assert part.classes == CLASSES
    assert part.paths == [f"{kind}/{n:03}.jpg" for kind in CLASSES for n in range(2)]
    assert [part.classes[target] for target in part.targets] == [
        p.split("/")[0] for p in part.paths
    ]
    whole = list_images(val)
    sizes = dict(zip(whole.paths, whole.num_bytes.tolist(), strict=True))
    assert [sizes[path] for path in part.paths] == part.num_bytes.tolist()
    assert (
        f"warning: {val}: 1 of 4 class folders are not among the store's classes: cube; top-1 is over "
        "the 6 images of the rest, and 3 images of those are left out"
    ) in capsys.readouterr().err
    with pytest.raises(FkdError, match=r"1 of 4 class folders are not among .* cube"):
        found(image_folder, named=val)


def test_a_val_inside_a_folder_that_is_named_is_taken(image_folder, val):
    """As `fkd eval` takes it, also where the class folders above it are of a split that is called so."""
    whole = found(image_folder, named=image_folder)
    assert whole.root == val
    assert whole.paths == list_images(val).paths
    of_any = find_val(image_folder, list_images(image_folder / "train"), None)
    assert of_any.root == val
    train = list_images(image_folder / "train")
    assert find_val(image_folder, train, ("train", "val")).root == image_folder  # they are classes
    (image_folder / "circle").mkdir()
    shutil.copy(val / "circle" / "000.jpg", image_folder / "circle")
    with pytest.raises(
        FkdError, match="can be read in two ways: val is the split to take, or a cl"
    ):
        found(image_folder, named=image_folder)


def test_a_run_without_evaluation_goes_on_with_one(shared_store, shared_folder, tmp_path):
    settings = {
        "store": shared_store.path, "student": "squeezenet1_1", "crops_per_image": 2, "batch_size": 12,
        "epochs": 2, "scheme": Scheme("topk", 3), "device": "cpu", "out": tmp_path / "run",
    }  # fmt: skip
    run = train_student(TrainConfig.from_recipe("fkd", **settings, val="none"))
    assert json.loads((run / "config.json").read_text())["val"] == NO_VAL
    kinds = [json.loads(line)["kind"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert set(kinds) == {"train"}
    assert (run / "best.pt").exists()
    again = {"resume": True, "val": shared_folder}  # which has a `val` inside
    assert train_student(TrainConfig.from_recipe("fkd", **settings, **again)) == run
