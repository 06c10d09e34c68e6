"""`fkd show` of mixed views: both images are drawn, and figures count the classes of both."""

import re
import shutil

import numpy as np
import pytest
import torch
from helpers.folders import make_image_folder
from helpers.mixed import label_mixed, mixed_by_hand

from fkd import LabelStore, Scheme, ShowConfig, compare, label_statistics, show_store
from fkd.errors import StoreError
from fkd.images import decode
from fkd.info import info_lines
from fkd.originals import find_images
from fkd.pictures.viewer import CropViewer
from fkd.statistics import sampled_agreement, sampled_certainty
from fkd.store import StoredMixes
from fkd.views import empty_views, render


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store of mixed views of 18 images in blocks of 4, with all classes kept."""
    folder = tmp_path_factory.mktemp("mixed")
    make_image_folder(folder / "data")
    out = folder / "labels.zarr"
    label_mixed(folder / "data", out, block_images=4, scheme=Scheme("full"))
    return LabelStore.open(out)


def rendered(images, index, box, flip, size):
    view = empty_views(1, size)
    pixels = decode(images.name(index), images.read(index))
    render(pixels, box, bool(flip), view[0], "bilinear")
    return view.numpy()


def test_crops_are_drawn_as_they_were_labelled(store, monkeypatch):
    images, mixes = find_images(store, None), StoredMixes.of_store(store)
    drawn = {}
    monkeypatch.setattr(
        "fkd.pictures.viewer.sample_figure",
        lambda shown, formats: drawn.update(crops=shown.crops, others=shown.others),
    )
    index = 4
    viewer = CropViewer(store, images, store.class_names(), ("png",))
    viewer.sample(index, 6, 1)
    assert viewer.skipped == []
    mixed = mixes.of(np.array([index]), np.arange(6))[0]
    slab, boxes = store.read_images(range(index, index + 1), 6), {}
    for other in drawn["others"]:
        boxes |= {number: (other.path, box, flip) for number, box, flip in other.boxes}
    assert sorted(boxes) == np.flatnonzero(mixed.mixed).tolist()
    for crop, shown in enumerate(drawn["crops"]):
        one = mixed[crop : crop + 1]
        true = rendered(images, index, slab.box[0, crop], slab.flip[0, crop], 32)
        assert (shown.mixing is not None) == bool(one.mixed[0])
        if shown.mixing is not None:
            whom = int(one.image[0])
            other = rendered(images, whom, one.box[0], one.flip[0], 32)
            true = mixed_by_hand(true, other, one)
            assert boxes[crop] == (
                images.paths[whom],
                tuple(one.box[0].tolist()),
                bool(one.flip[0]),
            )
            assert shown.mixing.own_share == pytest.approx(float(one.own_share[0]))
        assert np.array_equal(shown.pixels, true[0].transpose(1, 2, 0))


def test_statistics_count_the_classes_of_both_images(store):
    mixes = StoredMixes.of_store(store).of(np.arange(18), np.arange(6))
    own = np.repeat(store.targets()[:, None], 6, axis=1)
    its = np.where(mixes.mixed, store.targets()[mixes.image], own)
    larger = np.where(mixes.own_share >= 0.5, own, its)
    probs = torch.from_numpy(store.read_crops(range(6)).kept["log_prob"]).float().softmax(2).numpy()
    top = probs.argmax(axis=2)
    agrees = (top == own) | (top == its)
    assert (agrees != (top == own)).any()
    found = label_statistics(store)
    assert found.agreement == pytest.approx(agrees.mean())
    assert sampled_agreement(store) == pytest.approx(agrees.mean())
    assert found.classes.crops.tolist() == np.bincount(larger.ravel()).tolist()
    assert found.confusion.num_crops == int((~agrees).sum())
    assert found.area is None
    entropy = -(probs * np.log(probs)).sum(axis=2).mean()
    certainty = sampled_certainty(store)
    assert certainty.entropy.mean == pytest.approx(entropy, abs=1e-3)
    assert str(certainty).startswith(f"mean entropy {certainty.entropy.mean:.3f} nats, mean top")


def test_the_page_and_the_info_say_that_views_are_mixed(store, tmp_path):
    said = "mixup 1 or cutmix 1 (of 0.8 of all views), partner changes every 4 crops"
    assert dict(info_lines(store.path))["mixed"] == said
    page = show_store(ShowConfig(store.path, tmp_path / "out", samples=2))
    text = page.read_text("utf-8")
    assert said in text
    assert "top-1 is a class in the view" in text
    assert "Small crops and large ones" not in text
    assert len(list(page.parent.glob("sample-*.png"))) == 2


def test_of_an_unfinished_store_crops_are_drawn_whose_images_are_labelled(store, tmp_path):
    half = shutil.copytree(store.path, tmp_path / "labels.zarr")
    for block in (1, 3):
        (half / f"done/c/{block}/0").unlink()
    page = show_store(ShowConfig(half, tmp_path / "out", crops=4, samples=2))
    text = page.read_text("utf-8")
    assert "mixed with images that are not labelled yet are not drawn" in text
    assert list(page.parent.glob("sample-*.png"))
    samples = re.search(r"Images and crops.*?</section>", text, re.S)
    assert samples
    assert "Not drawn" not in samples[0]
    done = LabelStore.open(half)
    unknown = [
        n for n in range(4) if not StoredMixes.of_store(done).known(np.array([n]), np.arange(4))[0]
    ]
    path = done.image_paths()[unknown[0]]
    page = show_store(ShowConfig(half, tmp_path / "out2", crops=4, chosen=(path,)))
    assert f"{path} is mixed with an image that is not labelled yet" in page.read_text("utf-8")


def test_other_mixes_are_other_crops(store, tmp_path):
    other = tmp_path / "b.zarr"
    mix = type(store.spec.views.mix)(mixup=1)
    label_mixed(store.path.parent / "data", other, mix, scheme=Scheme("full"))
    with pytest.raises(StoreError, match=r"crops are others: --cutmix: 0\.0, not 1\.0"):
        compare(store, LabelStore.open(other))
