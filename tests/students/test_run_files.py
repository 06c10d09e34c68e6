"""What a run leaves: curves, both weights, and answers of ImageNet-ReaL."""

import json

import numpy as np
import pytest
from helpers.folders import make_image_folder

from fkd import (
    FkdError,
    LabelStore,
    Scheme,
    TrainConfig,
    evaluate_checkpoint,
    load_student,
    plot_runs,
    train_student,
)
from fkd.evaluation import evaluate
from fkd.evaluation.real_labels import read_real
from fkd.sources import list_images

SETTINGS = {"crops_per_image": 2, "batch_size": 12, "epochs": 4, "seed": 3, "device": "cpu"}


@pytest.fixture(scope="module")
def run(shared_store, tmp_path_factory):
    config = TrainConfig.from_recipe(
        "fkd", store=shared_store.path, out=tmp_path_factory.mktemp("r") / "run", ema=0.5,
        student="squeezenet1_1", scheme=Scheme("topk", 3), **SETTINGS,
    )  # fmt: skip
    return train_student(config)


def test_curves_of_several_runs_are_one_picture(run, tmp_path, run_fkd):
    assert (run / "curves.png").read_bytes()[:4] == b"\x89PNG"
    plot_runs([run, run], tmp_path / "both.png")
    assert (tmp_path / "both.png").stat().st_size > 10_000
    assert "is no run folder" in run_fkd("plot", tmp_path).error_line()
    assert "cannot be written" in run_fkd("plot", run, "--out", "no/folder/a.png").error_line()


def test_both_weights_are_evaluated(run, shared_folder):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    last = [line for line in lines if line["kind"] == "eval"][-1]
    own = evaluate_checkpoint(run / "last.pt", shared_folder)
    average = evaluate_checkpoint(run / "last.pt", shared_folder, ema=True)
    assert last["loss"] == pytest.approx(own.loss, rel=1e-5)
    assert last["ema_loss"] == pytest.approx(average.loss, rel=1e-5)
    assert own.loss != average.loss


def test_folders_that_are_numbers_are_positions(run, shared_folder, tmp_path):
    """ImageNetV2 names its class folders 0 … 999."""
    for number, name in enumerate(("circle", "square", "triangle")):
        (tmp_path / "v2" / str(number)).parent.mkdir(exist_ok=True)
        (tmp_path / "v2" / str(number)).symlink_to(shared_folder / "val" / name)
    assert evaluate_checkpoint(run, tmp_path / "v2") == evaluate_checkpoint(run, shared_folder)
    (tmp_path / "v2" / "3").symlink_to(shared_folder / "val" / "circle")
    with pytest.raises(FkdError, match="1 of 4 class folders"):
        evaluate_checkpoint(run, tmp_path / "v2")


def test_any_class_of_real_labels_is_right(tmp_path):
    """Three images: one with two right classes, one with one, one that nobody could name."""
    folder = make_image_folder(tmp_path / "data", train_per_class=1, val_per_class=0) / "train"
    for number, name in enumerate(("circle", "square", "triangle"), start=1):
        (image,) = (folder / name).iterdir()
        image.rename(image.with_name(f"ILSVRC2012_val_{number:08}.JPEG"))
    (tmp_path / "real.json").write_text(json.dumps([[5, 7], [999], []]))
    answers = read_real(tmp_path / "real.json", list_images(folder), 1000)
    assert answers.tolist() == [[5, 7], [999, -1], [-1, -1]]


def test_an_image_counts_where_any_answer_is_right(run, shared_folder):
    from fkd.students import StudentCard  # noqa: F401

    card, model = load_student(run)
    images = list_images(shared_folder / "val")
    common = (model, card, images, 4, 1)
    everything = np.tile([0, 1, 2], (6, 1))
    assert evaluate(*common, answers=everything).top1 == 1
    own = np.repeat([0, 1, 2], 2)[:, None]
    assert evaluate(*common, answers=own).top1 == evaluate(*common).top1
    left_out = own.copy()
    left_out[[0, 3]] = -1
    assert evaluate(*common, answers=left_out).num_images == 4


@pytest.mark.parametrize(
    ("content", "classes", "words"),
    [
        ("[[1], [2]]", 3, "the student has 3"),
        ("[[1], [2000], [3]]", 1000, "class ids \\(0 to 999\\)"),
        ("{", 1000, "not the published real.json"),
        ("[1, 2, 3]", 1000, "not the published real.json"),
        ("[[1], [2], [3]]", 1000, "is none of its 3 images"),
    ],
)
def test_other_files_are_no_real_labels(shared_folder, tmp_path, content, classes, words):
    (tmp_path / "real.json").write_text(content)
    with pytest.raises(FkdError, match=words):
        read_real(tmp_path / "real.json", list_images(shared_folder / "val"), classes)


def test_the_store_is_named_in_its_repr(shared_store):
    assert repr(LabelStore.open(shared_store.path)).endswith(
        "18 images × 6 crops, topk3, 3 classes)"
    )
