"""Students that learn maps: from the store, from masks and from each other; what is refused."""

import re

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.map_students import COARSE, PLAIN, STUDENT
from helpers.masked import CLASSES, make_masked_folder, masked_config
from PIL import Image

from fkd import (
    FkdError,
    LabelStore,
    Scheme,
    Target,
    TeacherChoice,
    Term,
    TrainConfig,
    evaluate_checkpoint,
    label_images,
    load_student,
    rehearse,
    train_student,
)
from fkd.cli import main
from fkd.errors import Stopped
from fkd.runs import read_metrics
from fkd.students import read_checkpoint
from fkd.training import Learner, check_inputs


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_masked_folder(tmp_path_factory.mktemp("maps") / "camvid", train=8, val=3)


@pytest.fixture(scope="module")
def store(place) -> LabelStore:
    """A store of 8 images, 4 crops of 8 × 8 cells, and of the teacher's output as a map of numbers."""
    kept = (Target("", "f16", name="output"),)
    return label_images(masked_config(place, place.parent / "maps.zarr", targets=kept))


@pytest.fixture(scope="module")
def unmasked(place) -> LabelStore:
    config = masked_config(
        place / "train", place.parent / "unmasked.zarr", unlabelled=True, num_crops=2
    )
    return label_images(config)


def config(store, out, **changes):
    settings = {
        "student": STUDENT, "crops_per_image": 2, "scheme": "topk2", "epochs": 4, "batch_size": 8,
        "lr": 3.0, "device": "cpu", "workers": 1, "log": "none", "val": "none",
    }  # fmt: skip
    return TrainConfig.of(store=store.path, out=out, **(settings | changes))


def losses(run, name="loss"):
    return [line[name] for line in read_metrics(run) if line["kind"] == "train"]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def test_a_store_of_maps_is_learned_and_miou_decides_what_is_best(store, place, tmp_path, capsys):
    run = train_student(config(store, tmp_path / "run", epochs=20, eval_every=5, ema=0.5, val=None))
    said = capsys.readouterr().err
    assert "labels   read as topk2, of 8x8 cells" in said
    assert "truth  " not in said  # no term looks at it
    assert f"by mIoU against the masks in {place / 'valannot'}" in said
    evaluated = [line for line in read_metrics(run) if line["kind"] == "eval"]
    assert len(evaluated) == 4
    numbers = {"miou", "pixel_accuracy", "loss", *(f"iou/{name}" for name in CLASSES)}
    assert {*numbers, *(f"ema_{name}" for name in numbers)} <= set(evaluated[0])
    best = max(reversed(evaluated), key=lambda line: line["ema_miou"])
    assert best["ema_miou"] > 0.7  # chance is below 0.4
    content = torch.load(run / "best.pt", weights_only=True)
    assert (content["step"], content["best"]) == (best["step"], best["ema_miou"])
    words = f"mIoU {best['miou']:.2%}, moving average {best['ema_miou']:.2%} at epoch"
    assert re.search(rf"best +{words}", said)
    assert f"fkd eval {run} {place / 'val'} --ema" in said
    found = evaluate_checkpoint(run, place, ema=True, device="cpu")
    assert found.miou == pytest.approx(best["ema_miou"], abs=1e-6)
    assert tuple(found.iou) == CLASSES
    assert (run / "curves.png").exists()
    assert load_student(run)[0].maps


def test_the_command_line_prints_the_iou_of_each_class(store, place, tmp_path):
    run = train_student(config(store, tmp_path / "run", epochs=8))
    words = ["eval", run, place / "val", "--eval-size", "48x64", "--device", "cpu"]
    done = CliRunner().invoke(main, [str(word) for word in words])
    found = evaluate_checkpoint(run, place / "val", eval_size="48x64", device="cpu")
    assert done.exit_code == 0, done.output
    first, *classes = done.stdout.splitlines()
    assert first == (
        f"mIoU {found.miou:.2%}  pixel accuracy {found.pixel_accuracy:.2%}  loss {found.loss:.4f}  "
        "(3 images, 0 unusable)"
    )
    assert classes == [f"  {name:4}  {iou:7.2%}" for name, iou in found.iou.items()]


def test_truth_is_read_where_a_term_looks_at_it(store, tmp_path, capsys):
    """Masks are of the very views, so that classes that a teacher does not know are learned from them."""
    seen = []

    class Sees(Learner):
        def step(self, batch, step, **more):
            seen.append(batch)
            return super().step(batch, step, **more)

    loss = (Term(by="kl"), Term("truth", weight=(0, 0.5), label_smoothing=0.1))
    run = train_student(config(store, tmp_path / "both", loss=loss), learner=Sees)
    assert "truth    masks in" in capsys.readouterr().err
    assert all(batch.masks.shape == (8, 32, 32) for batch in seen)
    # Views are of three colours: where a mask says sky, the view is blue.
    views, masks = (
        torch.cat([getattr(batch, name) for batch in seen]) for name in ("views", "masks")
    )
    red, blue = (views[:, channel][masks == 0].float().mean() for channel in (0, 2))
    assert blue > red + 100
    assert losses(run, "loss/ce_to_truth")[-1] > 0
    plain = train_student(config(store, tmp_path / "plain", loss="kl"), learner=Sees)
    assert seen[-1].masks is None
    assert losses(plain)[0] != losses(run)[0]
    flags = train_student(config(store, tmp_path / "flags", loss="kl", hard_weight=0.5))
    assert losses(flags)[0] != losses(plain)[0]


def test_a_mask_that_has_changed_is_refused_by_name(store, place, tmp_path):
    mask = place / "trainannot" / "003.png"
    kept = mask.read_bytes()
    Image.fromarray(np.zeros_like(np.array(Image.open(mask)))).save(mask)
    try:
        with pytest.raises(FkdError, match=r"003\.png is not the mask that was there"):
            train_student(config(store, tmp_path / "refused", hard_weight=1))
        train_student(config(store, tmp_path / "run"))  # which reads none
    finally:
        mask.write_bytes(kept)


LIVELY = {
    "optimizer": "adamw", "lr": 0.5, "ema": 0.8, "clip_grad": 0.1, "micro_batch": 4,
    "color_jitter": 0.3,
}  # fmt: skip
PAIR = ({"model": STUDENT, "name": "a"}, {"model": COARSE, "name": "b"})
ALL = (
    Term(by="kl", temperature=2.0, label_temperature=1.5),
    Term("truth", weight=(0.2, 0.4)),
    Term("peers", "symmetric_kl", weight=0.5),
    Term("b", "channel_kl", "a"),
    Term("store:output", "l2", "b", weight=0.1),
    Term("store:output", "cosine", "a", layer="3", weight=(0, 1)),
)


def test_a_run_on_maps_goes_on_after_a_stop_as_if_it_had_none(store, tmp_path):
    """Two students of two grids, masks, vectors, and peers."""
    given = {"student": PAIR, "loss": ALL, **LIVELY}
    whole = train_student(config(store, tmp_path / "whole", **given))

    class Stops(Learner):
        def step(self, batch, step, **more):
            if step == 2:
                raise Stopped("stopped", 15)
            return super().step(batch, step, **more)

    halved = config(store, tmp_path / "halved", resume=True, save_every=1e-9, **given)
    with pytest.raises(Stopped):
        train_student(halved, learner=Stops)
    assert read_checkpoint(tmp_path / "halved" / "last.pt").step == 2
    ends = [
        torch.load(run / "last.pt", weights_only=True) for run in (whole, train_student(halved))
    ]
    assert same(ends[0]["student"], ends[1]["student"])
    assert same(ends[0]["peers"]["b"]["student"], ends[1]["peers"]["b"]["student"])
    assert losses(whole) == losses(tmp_path / "halved")
    names = [name for name in read_metrics(whole)[0] if name.startswith("loss/")]
    assert len(names) == 5  # those of the first student
    assert losses(whole)[-1] == pytest.approx(sum(losses(whole, n)[-1] for n in names), rel=1e-5)
    assert losses(whole, "b/loss")[-1] > 0


def test_micro_batches_add_up_to_the_batch(store, tmp_path):
    """A view's loss is a mean of its own, so it does not matter which views stand together."""
    for number, micro in enumerate((8, 3)):
        given = {"student": PLAIN, "micro_batch": micro, "hard_weight": 0.3, "epochs": 8}
        train_student(config(store, tmp_path / str(number), **given))
    assert losses(tmp_path / "0") == pytest.approx(losses(tmp_path / "1"), rel=1e-5)


def test_views_grow_while_labels_keep_their_grid(store, tmp_path):
    run = train_student(
        config(store, tmp_path / "run", size="32:64", size_multiple=32, hard_weight=0.5, epochs=6)
    )
    card, student = load_student(run)
    assert card.preprocessing.size == 64
    assert student(torch.zeros(1, 3, 64, 64)).shape == (1, 3, 16, 16)


def test_a_rehearsal_of_maps_evaluates_too(store):
    found = rehearse(config(store, None, val=None, hard_weight=0.5, loss="kl"))
    assert found.steps_timed > 0
    assert found.evaluation_seconds > 0


def said(store, **changes):
    with pytest.raises(FkdError) as error:
        train_student(config(store, None, **changes))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_student_of_another_kind_is_refused(store, shared_store):
    classes, maps = "helpers.networks:student", {"student": STUDENT, "scheme": "topk3"}
    assert "says one label a view, and" in said(store, student=classes)
    assert "holds maps of 8x8 labels; its function must return" in said(store, student=classes)
    assert (
        "resnet18 says one label a view, and the store holds maps; choose one of deeplab"
        in said(store, student="resnet18")
    )
    assert "says a map of 8x8 labels, and" in said(shared_store, **maps)
    assert "holds one label a view; choose a student of one label" in said(shared_store, **maps)


def test_the_recipe_of_maps_takes_steps(store):
    small = {"epochs": 1, "device": "cpu", "log": "none", "student": STUDENT, "val": "none"}
    found = rehearse(TrainConfig.from_recipe("maps", store=store.path, batch_size=8, **small))
    assert found.steps_timed


def test_a_student_of_maps_learns_vectors_without_labels(place, shared_folder, tmp_path):
    scheme = Scheme.parse("none")
    kept = (Target("", "f16", name="output"),)
    own = masked_config(
        place / "train", tmp_path / "s.zarr", unlabelled=True, num_crops=2, scheme=scheme,
        targets=kept,
    )  # fmt: skip
    loss, vectors = Term("store:output", "channel_kl", layer="6"), label_images(own)
    settings = {"loss": loss, "scheme": scheme, "val": shared_folder}
    run = train_student(config(vectors, tmp_path / "run", **settings))
    assert [
        line["knn"] for line in read_metrics(run) if line["kind"] == "eval"
    ]  # of its output's mean
    students = [{"name": name, "model": STUDENT} for name in "ab"]
    settings |= {"loss": (loss, Term("peers", "kl")), "student": students, "val": "none"}
    with pytest.raises(FkdError, match=r"says a map of 8x8 labels, and .* holds vectors and no"):
        rehearse(config(vectors, tmp_path / "other", **settings))


def test_what_has_no_mean_for_maps_is_refused_at_once(store, unmasked, tmp_path):
    def line(store, **changes):
        with pytest.raises(FkdError) as error:
            check_inputs(config(store, tmp_path / "run", **changes))
        return str(error.value)

    for name in ("mixup", "cutmix"):
        words = f"--{name} 0.5: the views of {store.path} have a label at each position"
        assert words in line(store, **{name: 0.5})
    assert "nkd looks at the one class of a view, and" in line(store, loss="nkd")
    words = (
        f"on the class of each pixel, and the images had no masks when {unmasked.path} was labelled"
    )
    assert f"--hard-weight 0.5: the hard part of the loss is {words}; leave it out" in line(
        unmasked, hard_weight=0.5
    )
    assert f"--loss ce to truth, weight 1: it is {words}" in line(unmasked, loss=Term("truth"))
    assert f"{tmp_path} has no images with masks" in said(store, val=tmp_path)


def test_masks_of_other_classes_evaluate_nothing_that_was_only_found(
    unmasked, place, tmp_path, capsys
):
    """The store's classes are the teacher's outputs, which nobody named; classes.txt names the masks'."""
    train_student(config(unmasked, tmp_path / "run", val=None))
    warned = capsys.readouterr().err
    assert "3 of 3 classes are not among the student's: sky, road, car" in warned
    assert "training goes on without evaluation" in warned
    assert "not among the student's" in said(unmasked, val=place / "val")


def test_a_run_of_maps_teaches_with_the_names_of_its_classes(store, place, tmp_path):
    run = train_student(config(store, tmp_path / "run", epochs=12))
    choice = TeacherChoice(str(run))
    taught = label_images(masked_config(place, tmp_path / "taught.zarr", teacher=choice))
    assert taught.spec.grid == (8, 8)
    assert taught.class_names() == CLASSES
