"""Masks go with their views: through boxes, flips, threads, devices, shares, ranks, picks and sizes."""

import shutil

import numpy as np
import pytest
import torch
from helpers.masked import make_masked_folder, masked_config
from PIL import Image

from fkd import FkdError, LabelStore, label_images
from fkd.config import IGNORED, LoaderConfig, ViewSizes
from fkd.images import ImageList
from fkd.loader import Picks, Schedule, SizePlan, student_batches
from fkd.originals import find_labelled_masks, image_root
from fkd.sources import list_images
from fkd.truth import find_masks
from fkd.views import RenderPool, render_mask

IMAGES, CROPS = 6, 4


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder and its store, of which one image has a bad mask."""
    folder = tmp_path_factory.mktemp("masked")
    camvid = make_masked_folder(folder / "camvid", train=IMAGES, val=0)
    (camvid / "trainannot" / "004.png").write_bytes(b"no mask")
    store = label_images(masked_config(camvid, folder / "labels.zarr", max_bad=0.5))
    return list_images(camvid / "train", unlabelled=True), store


def batches(images: ImageList, store: LabelStore, render="cpu", sizes=None, **how):
    schedule = Schedule(IMAGES - 1, CROPS, 2, 4, 4, seed=1, stagger=how.pop("stagger", 0))
    masks = find_labelled_masks(store, images) if how.pop("masked", True) else None
    with RenderPool(2, torch.device("cpu"), render) as pool:
        plan = None if sizes is None else planned(sizes, store, schedule)
        given = student_batches(pool, store, images, schedule, truth=masks, sizes=plan, **how)
        return [batch.to(torch.device("cpu")) for batch in given]


def planned(sizes, store, schedule):
    config = LoaderConfig.of(store=store.path, size=ViewSizes.parse(sizes), size_multiple=8)
    return SizePlan.of(config, store.spec, schedule)


def picks():
    taken = np.random.default_rng(0).random((IMAGES - 1, CROPS)) < 0.7
    return Picks([(taken, taken)], CROPS)


WAYS = {
    "threads": {},
    "device": {"render": "device"},
    "staggered": {"stagger": 2},
    "staggered on a device": {"stagger": 1, "render": "device"},
    "some crops": {"picks": picks()},
    "a rank": {"rank": 1, "num_ranks": 2},
    "from a step on": {"first_step": 2, "stagger": 2},
    "growing": {"sizes": "16:24"},
    "growing on a device, staggered": {"sizes": "16:24", "render": "device", "stagger": 1},
}


@pytest.mark.parametrize("how", WAYS.values(), ids=WAYS)
def test_a_mask_is_that_of_its_view(made, how):
    images, store = made
    masks, slab = find_masks(images), store.read_crops(range(CROPS))
    found, plain = batches(*made, **how), batches(*made, masked=False, **how)
    assert len(found) >= 3
    for batch, bare in zip(found, plain, strict=True):
        assert bare.masks is None
        assert torch.equal(batch.views, bare.views)
        assert batch.masks.shape == (len(batch.views), *batch.views.shape[-2:])
        rows = zip(batch.masks, batch.image_index, batch.crop_index, strict=True)
        for mask, image, crop in rows:
            box, flip = slab.box[image, crop][None], slab.flip[image, crop][None]
            (seen,) = render_mask(masks.read(image), box, flip, tuple(mask.shape))
            assert torch.equal(mask, seen)
    assert {0, 1, 2} <= set(torch.cat([batch.masks.unique() for batch in found]).tolist())


def test_a_mask_that_was_changed_is_refused_by_its_name(made, tmp_path):
    images, store = made
    camvid = shutil.copytree(images.root.parent, tmp_path / "camvid")
    copied = list_images(image_root(store, camvid), unlabelled=True)
    assert len(batches(copied, store)) == 5
    file = camvid / "trainannot" / "003.png"
    Image.fromarray(np.array(Image.open(file)) % 2).save(file)
    with pytest.raises(FkdError, match=r"trainannot/003\.png is not the mask that was there"):
        batches(copied, store)
    assert len(batches(copied, store, masked=False)) == 5


def test_truth_that_is_not_there_is_refused(made, tmp_path):
    images, store = made
    plain = label_images(masked_config(images.root, tmp_path / "plain.zarr", unlabelled=True))
    with pytest.raises(
        FkdError, match=r"plain\.zarr is of images without masks, so that nothing says"
    ):
        find_labelled_masks(plain, images)
    shutil.copytree(images.root, tmp_path / "bare" / "train")
    bare = list_images(image_root(store, tmp_path / "bare"), unlabelled=True)
    with pytest.raises(FkdError, match=r"bare/train has no masks, and the images of .* had some"):
        find_labelled_masks(store, bare)


def test_classes_txt_may_name_values_anew(made, tmp_path):
    """A class is known by its name, so that its value may be another one, with the same files."""
    images, store = made
    camvid = shutil.copytree(images.root.parent, tmp_path / "camvid")
    (camvid / "classes.txt").write_text("car\nroad\n-\n-\n")
    found = find_labelled_masks(store, list_images(camvid / "train", unlabelled=True))
    assert found.masks.numbers == (2, 1, IGNORED, IGNORED)


def test_images_are_found_in_a_folder_of_images_and_masks(made, tmp_path):
    images, store = made
    shutil.copytree(images.root, tmp_path / "set" / "images")
    shutil.copytree(images.root.parent / "trainannot", tmp_path / "set" / "masks")
    shutil.copy(images.root.parent / "classes.txt", tmp_path / "set")
    root = image_root(store, tmp_path / "set")
    assert root == tmp_path / "set" / "images"
    assert len(batches(list_images(root, unlabelled=True), store)) == 5
