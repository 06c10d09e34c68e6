"""A loop of one's own gets what `fkd train` trains on; curves and ReaL labels."""

import json
import re

import numpy as np
import pytest
import torch
from helpers.folders import make_image_folder
from torch.utils.data import DataLoader, IterableDataset

from fkd import (
    FkdError,
    LabelStore,
    Scheme,
    StudentLoader,
    TrainConfig,
    evaluate_checkpoint,
    load_student,
    plot_runs,
    soft_cross_entropy,
    train_student,
)
from fkd.loader import student_batches
from fkd.sources import list_images
from fkd.students import evaluate
from fkd.students.real_labels import read_real
from fkd.views import RenderPool, normalize

SETTINGS = {"crops_per_image": 2, "batch_size": 12, "epochs": 4, "seed": 3, "device": "cpu"}


def test_a_loop_of_ones_own_sees_the_views_and_labels_of_a_run(shared_store, shared_folder):
    loader = StudentLoader(shared_store.path, scheme=Scheme("topk", 3), **SETTINGS)
    assert len(loader) == 6
    assert loader.classes == ("circle", "square", "triangle")
    images = list_images(shared_folder / "train")
    with RenderPool(1) as pool:
        expected = list(student_batches(pool, shared_store, images, loader.schedule))
    batches = list(loader)
    for batch, (pixels, labels) in zip(expected, batches, strict=True):
        how = shared_store.spec.teachers[0].preprocessing
        assert torch.equal(pixels, normalize(batch.views, how.mean, how.std))
        assert torch.equal(labels.index, batch.kept["index"].long())
        assert torch.allclose(labels.dense(3).sum(1), torch.ones(12))
    student = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 3))
    pixels, labels = batches[0]
    soft_cross_entropy(student(pixels), labels).mean().backward()
    for (one, _), (other, _) in zip(batches[4:], loader.batches(4), strict=True):
        assert torch.equal(one, other)
    assert list(loader.batches(6)) == []
    for wrong in (-1, 1.5, 7):
        with pytest.raises(FkdError, match=f"first_step is {wrong}; it must"):
            loader.batches(wrong)


def test_ranks_share_a_batch(shared_store):
    settings = {"scheme": Scheme("topk", 3), "stagger": 0} | SETTINGS
    whole, *shares = (
        [pixels for pixels, _ in StudentLoader(shared_store.path, rank=r, num_ranks=n, **settings)]
        for r, n in ((0, 1), (0, 2), (1, 2))
    )
    for step, pixels in enumerate(whole):
        pairs = pixels.view(6, 2, 3, 32, 32)
        for rank, share in enumerate(shares):
            assert torch.equal(share[step].view(3, 2, 3, 32, 32), pairs[rank::2])


def test_what_training_refuses_the_loader_refuses(shared_store, tmp_path):
    with pytest.raises(FkdError, match="it holds topk3"):
        StudentLoader(shared_store.path, **SETTINGS)
    for wrong, words in (
        ({"mixup": 1.0}, "mixup is no setting of a loader"),
        ({"num_ranks": 4, "batch_size": 12}, "which 4 processes cannot share evenly"),
        ({"rank": 2, "num_ranks": 2}, "rank is 2; it must lie between 0 and 1"),
        ({"batch_size": 960}, "is more than the whole run"),
        ({"std": (0.0, 0.0, 0.0)}, "--std is 0"),
        ({"crops_per_image": "4"}, "crops_per_image is '4'; it must be a whole number"),
    ):
        with pytest.raises(FkdError, match=words):
            StudentLoader(shared_store.path, scheme=Scheme("topk", 3), **SETTINGS | wrong)
    with pytest.raises(FkdError, match="does not exist"):
        StudentLoader(tmp_path / "none.zarr")


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


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, None),
        ({"label_temperature": 4.0, "scheme": "topk2-smooth"}, None),
        ({"label_temperature": 0.5}, None),
        ({"label_temperature": 4.0, "scheme": "topk3"}, None),  # it keeps all three classes
        (
            {"label_temperature": 4.0},
            r"--label-temperature 4 with --compress topk2 drops up to (\d+)% ",
        ),
        (
            {"label_temperature": 4.0, "scheme": "hard"},
            r"does nothing to labels that are read as hard",
        ),
    ],
)
def test_what_a_temperature_does_to_labels_is_said(shared_store, settings, words, capsys):
    settings = SETTINGS | {"scheme": "topk2"} | settings
    StudentLoader(shared_store.path, **settings)
    said = capsys.readouterr().err
    if words is None:
        assert said == ""
        return
    found = re.search(f"warning: .*{words}", said)
    assert found, said
    if found.groups():
        whole = StudentLoader(shared_store.path, **settings | {"scheme": "topk2-smooth"})
        lost = torch.cat([1 - labels.value.sum(1) for _, labels in whole]).mean().item()
        assert int(found[1]) == pytest.approx(100 * lost, abs=3)
        assert "--compress topk2-smooth shares that evenly among the other classes" in said
        assert "`fkd label --temperature 4`" in said


class Wrapped(IterableDataset):
    """How people put a loader into a trainer's own `DataLoader`."""

    def __init__(self, loader):
        self.loader = loader

    def __iter__(self):
        yield from self.loader


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of a fork beside threads
def test_a_data_loader_yields_each_batch_once_or_says_why_not(shared_store):
    loader = StudentLoader(shared_store.path, scheme="topk3", **SETTINGS)
    expected = [pixels for pixels, _ in loader]
    assert len(expected) == len(loader) > 1
    for dataset in (loader, Wrapped(loader)):
        found = list(DataLoader(dataset, batch_size=None))
        assert all(torch.equal(a, b) for a, (b, _) in zip(expected, found, strict=True))
        assert all(len(labels) == len(pixels) for pixels, labels in found)
        with pytest.raises(FkdError, match="would yield every batch once in each of them"):
            next(
                iter(
                    DataLoader(
                        dataset, batch_size=None, num_workers=2, multiprocessing_context="fork"
                    )
                )
            )


def test_a_loader_says_what_it_is(shared_store):
    loader = StudentLoader(shared_store.path, scheme="topk3", **SETTINGS)
    steps, size = len(loader), SETTINGS["batch_size"]
    m = SETTINGS["crops_per_image"]
    text = f"{shared_store.path}: {steps} steps of {size} views, m = {m}, topk3, cpu)"
    assert repr(loader) == f"StudentLoader({text}"
