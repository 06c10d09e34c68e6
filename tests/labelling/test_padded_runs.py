"""Views that are padded and never mirrored: labelled, seen again, trained on and refused."""

import json
from dataclasses import replace
from shutil import copytree

import numpy as np
import pytest
import torch
from helpers.folders import tiny_label_config
from helpers.masked import MASKED_TEACHER, make_masked_folder, masked_config
from helpers.networks import STUDENT, TEACHER_CHOICE
from helpers.stores import change_attributes

from fkd import (
    CheckConfig,
    ExportLabelsConfig,
    FkdError,
    LabelStore,
    Scheme,
    StudentLoader,
    TrainConfig,
    check_store,
    export_labels,
    label_images,
    train_student,
)
from fkd.config import IGNORED, LoaderConfig, MixPolicy, ViewPolicy, sides_of
from fkd.feeding import CenterViewLoader, CropDataset
from fkd.images import decode
from fkd.info import info_lines
from fkd.loader import Schedule, student_batches
from fkd.originals import find_labelled_masks
from fkd.sources import dataset_root, list_images
from fkd.statistics import truth_statistics
from fkd.students import load_student
from fkd.views import PADDING, RenderPool, empty_views, render, render_mask

LINES = ViewPolicy(scale=(0.5, 1.0), ratio=(0.8, 1.25), flip=False, fit="pad")
CROPS = 4


@pytest.fixture(scope="module")
def made(shared_folder, tmp_path_factory):
    """A store of padded views that threads rendered; one that a device rendered has the same labels."""
    folder = tmp_path_factory.mktemp("lines")
    stores = [
        label_images(
            tiny_label_config(
                shared_folder,
                folder / f"{how}.zarr",
                views=LINES,
                num_crops=CROPS,
                render=how,
                scheme=Scheme("topk", 5),
            )
        )
        for how in ("cpu", "device")
    ]
    threads, device = (store.read_block(0) for store in stores)
    assert all(np.array_equal(threads.kept[name], device.kept[name]) for name in threads.kept)
    return stores[0]


def view_of(store, images, image, crop, size):
    """Render one stored view by itself."""
    slab, view = store.read_images(range(image, image + 1), CROPS), empty_views(1, size)[0]
    pixels = decode(images.name(image))
    render(pixels, slab.box[0, crop], slab.flip[0, crop], view, "bilinear", "pad")
    return view


@pytest.mark.parametrize("how", ["cpu", "device"])
@pytest.mark.parametrize("size", [None, "16x24"])
def test_a_student_sees_what_was_labelled(made, shared_folder, how, size):
    images = list_images(dataset_root(shared_folder))
    loader = StudentLoader(
        made.path,
        crops_per_image=2,
        batch_size=4,
        epochs=1,
        normalized=False,
        render=how,
        size=size,
    )
    seen = padded = 0
    for batch in loader.batches():
        rows = zip(batch.images, batch.image_index, batch.crop_index, strict=True)
        for view, image, crop in rows:
            again = view_of(made, images, int(image), int(crop), (16, 24) if size else 32)
            assert torch.equal(view, again)
            padded += bool((view[:, -1] == PADDING).all() or (view[:, :, -1] == PADDING).all())
            seen += 1
    assert padded > 0.8 * seen


def test_crops_of_a_data_set_are_padded(made, shared_folder):
    images = list_images(dataset_root(shared_folder))
    batch = CropDataset(made.path, crops_per_image=2)[3]
    for view, crop in zip(batch.images, batch.crop_index.tolist(), strict=True):
        assert torch.equal(view, view_of(made, images, 3, crop, 32))


def test_no_view_is_mirrored_and_no_other_view_changes(made, shared_folder, tmp_path):
    plain = replace(LINES, flip=True)
    config = tiny_label_config(shared_folder, tmp_path / "a.zarr", views=plain, num_crops=CROPS)
    mirrored = label_images(config).read_block(0)
    slab = made.read_block(0)
    assert not slab.flip.any()
    assert mirrored.flip.any()
    assert np.array_equal(mirrored.box, slab.box)


def test_a_store_is_known_by_it(made, shared_store):
    attributes = json.loads((made.path / "zarr.json").read_text())["attributes"]["fkd"]["views"]
    assert attributes["flip"] is False
    assert attributes["fit"] == {"rule": "pad-corner-127-1"}
    assert LabelStore.open(made.path).spec.views == LINES
    plain = json.loads((shared_store.path / "zarr.json").read_text())["attributes"]["fkd"]["views"]
    assert set(plain) == {"seed", "scale", "ratio"}
    other = replace(made.spec, views=replace(LINES, flip=True))
    assert made.spec.first_difference(other).startswith("--flip is True, the store has False")
    other = replace(made.spec, views=replace(LINES, scale=(0.25, 1.0)))
    assert made.spec.first_difference(other).startswith("--scale is 0.25 1.0, the store has ")


def test_the_teacher_says_it_again(made):
    report = check_store(CheckConfig(made.path, deep=True, teacher=(TEACHER_CHOICE,), device="cpu"))
    assert report.ok, report.verdicts
    (labels,) = (one.detail for one in report.verdicts if one.part == "labels")
    assert "KL in nats: mean 0, median 0, 99 % 0, worst 0" in labels
    assert "padded, never mirrored" in dict(info_lines(made.path))["views"]


def test_a_student_of_padded_views_is_evaluated_on_padded_images(made, shared_folder, tmp_path):
    config = TrainConfig(
        student=STUDENT, store=made.path, epochs=1, crops_per_image=2, batch_size=8,
        device="cpu", out=tmp_path / "r",
    )  # fmt: skip
    run = train_student(config)
    view = load_student(run)[0].center_view
    assert (view.fit, view.crop) == ("pad", 1.0)
    loader = CenterViewLoader.beside(LoaderConfig.of(store=made.path), None, torch.device("cpu"))
    images = list_images(shared_folder / "val")
    first = decode(images.name(0))
    whole = empty_views(1, 32)[0]
    render(first, (0, 0, *first.shape[-2:]), False, whole, "bilinear", "pad")
    seen = next(iter(loader))[0][0]
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (TrainConfig().mean, TrainConfig().std))
    assert torch.allclose(seen, (whole / 255 - mean) / std, atol=1e-5)
    with pytest.raises(FkdError, match=r"--eval-crop 0\.9 does not go with padded views"):
        train_student(replace(config, out=tmp_path / "s", eval_crop=0.9))


def test_masks_go_with_padded_views(tmp_path):
    camvid = make_masked_folder(tmp_path / "camvid", train=4, val=0)
    store = label_images(masked_config(camvid, tmp_path / "m.zarr", views=LINES, num_crops=2))
    images = list_images(camvid / "train", unlabelled=True)
    masks = find_labelled_masks(store, images)
    slab = store.read_images(range(4), 2)
    expected = torch.stack(
        [
            render_mask(masks.decode(n, slab.size[n]), slab.box[n], slab.flip[n], 32, "pad")
            for n in range(4)
        ]
    )
    with RenderPool(1) as pool:
        schedule = Schedule(4, 2, 2, 4, 1, seed=0)
        batch = next(student_batches(pool, store, images, schedule, truth=masks))
    assert torch.equal(batch.masks, expected[batch.image_index, batch.crop_index])
    found = truth_statistics(store, masks, np.ones(4, np.bool_)).confusion
    assert found.num_pixels == expected.ne(IGNORED).sum()
    assert found.pixel_accuracy > 0.9


def test_maps_of_padded_views_take_sizes_of_their_proportion(tmp_path):
    camvid = make_masked_folder(tmp_path / "camvid", train=4, val=0)
    store = label_images(masked_config(camvid, tmp_path / "m.zarr", views=LINES, num_crops=2))
    how = {"crops_per_image": 2, "batch_size": 4, "epochs": 1, "scheme": "topk1", "device": "cpu"}
    for size in (64, (33, 32)):  # less than half a cell of 8
        (batch,) = StudentLoader(store.path, size=size, **how)
        assert batch.images.shape[2:] == sides_of(size)
    with pytest.raises(
        FkdError, match=r"--size 40x32: .* padded, .* choose a size of that proportion"
    ):
        StudentLoader(store.path, size=(40, 32), **how)


def test_maps_of_padded_views_have_teachers_of_one_proportion(tmp_path):
    camvid = make_masked_folder(tmp_path / "camvid", train=2, val=0)
    two = masked_config(camvid, tmp_path / "m.zarr", views=LINES, num_crops=1, map_stride=4)
    wide = replace(MASKED_TEACHER, size=(32, 64))
    with pytest.raises(FkdError, match=r"sees 32x64 px, .* views of 32 px, .* that proportion"):
        label_images(replace(two, teacher=(MASKED_TEACHER, wide)))
    square = replace(MASKED_TEACHER, size=64)
    assert label_images(replace(two, teacher=(MASKED_TEACHER, square))).spec.grid == (8, 8)


def test_what_does_not_go_with_it_is_refused(made, tmp_path):
    with pytest.raises(FkdError, match="--fit pad does not go with --mixup or --cutmix"):
        ViewPolicy(fit="pad", mix=MixPolicy(mixup=1.0))
    with pytest.raises(FkdError, match="has padded views, and FKD's files are of crops that fill"):
        export_labels(ExportLabelsConfig(made.path, tmp_path / "out"))


VIEWS = {"seed": 0, "scale": [0.5, 1.0], "ratio": [0.8, 1.25]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"views": {**VIEWS, "flip": True}}, "views.flip is True"),
        ({"views": {**VIEWS, "flip": 0}}, "views.flip is 0"),
        ({"views": {**VIEWS, "fit": "pad"}}, "fit is 'pad'"),
        ({"views": {**VIEWS, "fit": {}}}, "key 'views.fit.rule' is missing"),
        ({"views": {**VIEWS, "fit": {"rule": "pad-middle"}}}, "'pad-middle', which a newer fkd"),
        ({"sampler": "stored"}, "its views are stored, and not those of a rule"),
        ({"format_version": 2}, "version 2|of version 3"),
    ],
)
def test_attributes_of_views_that_no_labeller_writes(made, tmp_path, changes, words):
    copytree(made.path, tmp_path / "a.zarr")
    change_attributes(tmp_path / "a.zarr", sign=True, **changes)
    with pytest.raises(FkdError, match=words) as told:
        LabelStore.open(tmp_path / "a.zarr")
    assert "\n" not in str(told.value)
