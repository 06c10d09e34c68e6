"""A page of maps whose images have masks says how right the teacher is, and where a mask has gone."""

import numpy as np
import pytest
import torch
from helpers.masked import make_masked_folder, masked_config
from PIL import Image
from torch.nn import functional

from fkd import ShowConfig, label_images, show_store
from fkd.originals import find_images, find_labelled_masks
from fkd.statistics import truth_statistics

VOID = 3


@pytest.fixture
def store(tmp_path):
    """A store of six images with masks, a map of 8 x 8 labels of each of four crops."""
    camvid = make_masked_folder(tmp_path / "camvid", train=6, val=0)
    return label_images(masked_config(camvid, tmp_path / "labels.zarr"))


def counted(store):
    """Count the pixels of all crops, truth by row, int64 [C, C], from the files of the masks."""
    slab, counts = store.read_images(range(6), 4), np.zeros((3, 3), np.int64)
    for image, name in enumerate(store.image_paths()):
        file = f"{store.spec.images_root}annot/{name.removesuffix('.jpg')}.png"
        mask = np.array(Image.open(file)).astype(np.float32)
        kept = {n: torch.from_numpy(v[image]) for n, v in slab.kept.items()}
        maps = store.spec.labels.restore(kept).dense(3).reshape(4, 8, 8, 3).permute(0, 3, 1, 2)
        said = functional.interpolate(maps, (32, 32), mode="bilinear").argmax(1).numpy()
        for crop, (top, left, height, width) in enumerate(slab.box[image].tolist()):
            cut = torch.from_numpy(mask[top : top + height, left : left + width])[None, None]
            truth = functional.interpolate(cut, (32, 32), mode="nearest-exact")[0, 0].numpy()
            truth = truth[:, ::-1] if slab.flip[image, crop] else truth
            known = truth != VOID
            pairs = 3 * truth[known].astype(int) + said[crop][known]
            counts += np.bincount(pairs, minlength=9).reshape(3, 3)
    return counts


def test_pixels_are_counted_as_a_student_sees_them(store):
    images = find_images(store, None)
    masks = find_labelled_masks(store, images)
    found = truth_statistics(store, masks, np.ones(6, np.bool_))
    assert (found.num_images, found.crops_per_image) == (6, 4)
    true = counted(store)
    assert np.array_equal(found.confusion.counts.numpy(), true)
    assert 0.8 < found.confusion.pixel_accuracy < 1
    assert str(found).startswith(f"right at {true.trace() / true.sum():.1%} of pixels")
    some = truth_statistics(store, masks, np.arange(6) < 2)
    assert some.num_images == 2
    assert truth_statistics(store, masks, np.zeros(6, np.bool_)) is None


def test_the_page_compares_with_masks_and_names_one_that_has_changed(store, tmp_path, capsys):
    page = show_store(ShowConfig(store.path, tmp_path / "page", samples=1, crops=2)).read_text()
    said = capsys.readouterr().err
    assert "24 crops of 8x8 labels: right at " in said
    for words in (
        "Is the teacher right?",
        "the classes of its mask",
        "pixels that are right",
        "mIoU",
    ):
        assert words in page, words
    assert "it is not known how often the teacher is right" not in page
    assert (tmp_path / "page/truth.png").exists()
    mask = tmp_path / "camvid/trainannot/002.png"
    Image.fromarray(np.array(Image.open(mask)) // 2).save(mask)
    page = show_store(ShowConfig(store.path, tmp_path / "page", samples=1, crops=2)).read_text()
    assert "Labels are not compared with masks" in page
    assert "002.png is not the mask" in page
    assert not (tmp_path / "page/truth.png").exists()
    mask.unlink()
    page = show_store(ShowConfig(store.path, tmp_path / "page", samples=1, crops=2)).read_text()
    assert "No mask is drawn" in page
