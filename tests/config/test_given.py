"""What people give in Python: text, lists and NumPy's numbers are taken, all else is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fkd import (
    CheckConfig,
    Engine,
    FkdError,
    LabelConfig,
    LabelStore,
    Optim,
    PackConfig,
    Preprocessing,
    Scheme,
    Selection,
    ShowConfig,
    StudentLoader,
    TeacherChoice,
    TrainConfig,
    ViewPolicy,
    check_store,
    compare,
    estimate_run,
    evaluate_checkpoint,
    export_student,
    label_images,
    label_statistics,
    load_student,
    pack_images,
    plot_runs,
    show_store,
    train_student,
)
from fkd.errors import ConfigError

HALF = (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    "given", [[0.5, 0.5, 0.5], np.full(3, 0.5), torch.full((3,), 0.5), tuple(np.full(3, 0.5))]
)
def test_three_numbers_are_a_tuple_of_floats(given):
    for made in (
        Preprocessing(mean=given),
        TrainConfig(mean=given),
        TeacherChoice("a", mean=given),
    ):
        assert made.mean == HALF
        assert [type(value) for value in made.mean] == [float] * 3
        assert hash(made) == hash(type(made)(**vars(made)))


def test_numbers_of_numpy_are_numbers():
    config = TrainConfig(
        batch_size=np.int64(8), epochs=np.float32(1.5), seed=np.uint8(3), workers=np.int32(2),
        selection=Selection(sure_every=4, min_confidence=np.float64(0.5)),
    )  # fmt: skip
    found = (config.batch_size, config.epochs, config.seed, config.selection.min_confidence)
    assert found == (8, 1.5, 3, 0.5)
    assert [type(value) for value in found] == [int, float, int, float]
    assert ViewPolicy(np.int64(1), [0.1, 1], np.array([0.5, 2])) == ViewPolicy(
        1, (0.1, 1), (0.5, 2)
    )
    assert TrainConfig(sync_bn=np.bool_(True)).sync_bn is True
    assert TrainConfig.from_recipe("fkd-warmup", epochs=np.int64(8)).optim.warmup_epochs == 2


def test_text_stands_for_a_scheme_a_teacher_and_a_path():
    config = LabelConfig("data", "resnet152", scheme="topk5")
    assert config.teachers == (TeacherChoice("resnet152"),)
    assert (config.images, config.scheme) == (Path("data"), Scheme("topk", 5))
    two = LabelConfig("data", ["resnet50", TeacherChoice("resnet18", Path("w.pth"))])
    assert two.teachers == (TeacherChoice("resnet50"), TeacherChoice("resnet18", "w.pth"))
    assert CheckConfig("a.zarr", teacher="resnet18").teacher == (TeacherChoice("resnet18"),)
    assert TrainConfig(scheme="topk3-smooth").scheme == Scheme("topk", 3, "smooth")
    assert TrainConfig.from_recipe("fkd", scheme="hard", val="v").val == Path("v")
    assert TrainConfig(device=torch.device("cuda", 1)).device == "cuda:1"


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Preprocessing(mean=0.5), "mean is 0.5; it must be 3 numbers"),
        (lambda: Preprocessing(std=[0.5, 0.5]), r"std is \[0.5, 0.5\]; it must be 3 numbers"),
        (lambda: TrainConfig(mean=["a", "b", "c"]), "mean is .*; it must be 3 numbers"),
        (lambda: TeacherChoice("a", mean=0.5), "mean is 0.5; it must be 3 numbers"),
        (lambda: TeacherChoice("a", std=(0, 1, 1)), "--std is 0; it must lie between"),
        (lambda: TeacherChoice("a", size=0), "--size is 0"),
        (lambda: TeacherChoice(5), "name is 5; it must be text"),
        (lambda: ViewPolicy(scale=0.1), "scale is 0.1; it must be 2 numbers"),
        (lambda: Scheme(5), "kind is 5; it must be text"),
        (lambda: Scheme("topk", "5"), "k is '5'; it must be a whole number"),
        (lambda: Scheme.parse(5), "scheme is 5; it must be text"),
        (lambda: Engine("bf16", "yes"), "compile is 'yes'; it must be True or False"),
        (lambda: Optim(lr="0.1"), "lr is '0.1'; it must be a number"),
        (lambda: Optim(lr=True), "lr is True; it must be a number"),
        (lambda: Optim(["sgd"]), r"optimizer is \['sgd'\]; it must be text"),
        (lambda: TrainConfig(batch_size=8.0), r"batch_size is 8\.0; it must be a whole number"),
        (lambda: TrainConfig(optim={"lr": 1}), "optim is {'lr': 1}; it must be of the class Optim"),
        (lambda: TrainConfig(scheme=5), "scheme is 5; it must be a Scheme, or text for one"),
        (lambda: TrainConfig(store=5), "store is 5; it must be a path"),
        (lambda: TrainConfig(images=["a"]), r"images is \['a'\]; it must be a path"),
        (lambda: TrainConfig(device=0), "device is 0; it must be text"),
        (lambda: TrainConfig.from_recipe(5), "--recipe is 5; it must be text"),
        (lambda: LabelConfig("d", None), "teacher is None; it must be a TeacherChoice"),
        (lambda: LabelConfig("d", []), "--teacher is missing"),
        (lambda: LabelConfig("d", "r", num_crops="4"), "num_crops is '4'"),
        (
            lambda: LabelConfig("d", "r", num_crops=np.ones(2)),
            "num_crops is .*; it must be a whole",
        ),
        (lambda: PackConfig(b"d", "e"), "images is b'd'; it must be a path"),
        (lambda: ShowConfig(samples=None), "samples is None; it must be a whole number"),
        (lambda: StudentLoader(5), "store is 5; it must be a path"),
        (
            lambda: StudentLoader("none.zarr", rank="0", num_ranks=1),
            "rank is '0'; it must be a whole number",
        ),
        (lambda: label_images("data"), r"'data' is no LabelConfig; give LabelConfig\(…\)"),
        (lambda: estimate_run("data"), "is no LabelConfig"),
        (lambda: train_student("a.zarr"), "is no TrainConfig"),
        (lambda: check_store("a.zarr"), "is no CheckConfig"),
        (lambda: show_store("a.zarr"), "is no ShowConfig"),
        (lambda: pack_images("a"), "is no PackConfig"),
        (lambda: LabelStore.open(5), "the store is 5; it must be a path"),
        (lambda: compare("none.zarr", "other.zarr"), r"none\.zarr does not exist"),
        (lambda: label_statistics(5), "the store is 5; it must be a path"),
        (lambda: load_student("no-run"), "no-run: no such file"),
        (lambda: load_student(None), "the checkpoint is None; it must be a path"),
        (lambda: evaluate_checkpoint("no-run", "val"), "no-run: no such file"),
        (lambda: evaluate_checkpoint("no-run", 5), "folder is 5; it must be a path"),
        (lambda: evaluate_checkpoint("r", "v", batch_size="8"), "--batch-size is '8'"),
        (lambda: export_student("no-run", "onnx"), "no-run: no such file"),
        (lambda: export_student("no-run", "h5"), "--format 'h5' is unknown; choose torch"),
        (lambda: plot_runs("no-run", "a.png"), "no-run is no run folder"),
        (lambda: plot_runs([], "a.png"), "no run is given"),
        (lambda: plot_runs([5], "a.png"), r"runs is \[5\]; it must be a path"),
    ],
)
def test_all_else_is_refused_by_a_line_that_names_the_setting(build, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FkdError, match=words) as refusal:
        build()
    assert "\n" not in str(refusal.value)


def test_a_loader_takes_what_a_configuration_takes(shared_store):
    settings = {"crops_per_image": np.int64(2), "batch_size": np.int64(6), "epochs": 1}
    loader = StudentLoader(
        str(shared_store.path), mean=[0.5] * 3, scheme="topk3", device="cpu", **settings
    )
    pixels, labels = next(iter(loader))
    assert pixels.shape == (6, 3, 32, 32)
    assert len(labels) == 6
    with pytest.raises(ConfigError, match=r"mean is 0\.5"):
        StudentLoader(shared_store.path, mean=0.5)


def test_stores_are_compared_by_their_paths(shared_store):
    found = compare(str(shared_store.path), shared_store)
    assert found.agreement == 1
    assert label_statistics(shared_store.path).num_images == found.num_images
