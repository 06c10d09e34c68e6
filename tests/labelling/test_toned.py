"""Views whose tone changes before they are labelled: labelled, replayed, checked and refused."""

import numpy as np
import pytest
import torch
from helpers.folders import label_config

from fkd import (
    ExportLabelsConfig,
    FkdError,
    LabelStore,
    Scheme,
    StudentLoader,
    export_labels,
    label_images,
)
from fkd.config import ViewPolicy
from fkd.config.views import MixPolicy, TonePolicy
from fkd.images import decode
from fkd.sources import dataset_root, list_images
from fkd.store import StoredMixes
from fkd.views import apply_tones, blend_views, draw_tones, empty_views, render_views

TONE = TonePolicy(0.4, 0.3, 0.5, 0.5)


def label(folder, out, **changes):
    return label_images(label_config(folder, out, scheme=Scheme("full"), **changes))


def views_by_hand(store, images, image, crop):
    """Return a view from the parts: render both, change their tones, blend."""
    policy = store.spec.views
    slab = store.read(range(store.spec.num_images), range(store.spec.num_crops))
    mixes = StoredMixes.of_store(store)

    def toned(number, box, flip):
        view = empty_views(1, store.spec.size)
        render_views(decode(images.name(number)), box[None], flip[None], view, "bilinear")
        tones = draw_tones(policy.tone, policy.seed, np.array([number]), np.array([crop]))
        apply_tones(view, tones.factor[0], tones.hole[0])
        return view

    view = toned(image, slab.box[image, crop], slab.flip[image, crop])
    if mixes is not None:
        mix = mixes.of(np.array([image]), np.array([crop]))[0]
        if mix.mixed[0]:
            other = toned(int(mix.image[0]), mix.box[0], mix.flip[0])
            blend_views(list(view), list(other), mix)
    return view[0]


@pytest.mark.parametrize("mix", [MixPolicy(), MixPolicy(mixup=1.0, cutmix=1.0, period=2)])
def test_a_student_sees_the_tone_that_was_labelled(shared_folder, tmp_path, mix):
    policy = ViewPolicy(mix=mix, tone=TONE)
    stores = [
        label(shared_folder, tmp_path / f"{render}.zarr", views=policy, num_crops=4, render=render)
        for render in ("cpu", "device")
    ]
    one, other = (store.read(range(store.spec.num_images), range(4)) for store in stores)
    assert all(np.array_equal(one.kept[name], other.kept[name]) for name in one.kept)
    images = list_images(dataset_root(shared_folder))
    for render in ("cpu", "device"):
        loader = StudentLoader(
            stores[0].path,
            crops_per_image=2,
            batch_size=4,
            epochs=2,
            normalized=False,
            render=render,
        )
        seen = 0
        for batch in loader.batches():
            for view, image, crop in zip(
                batch.images, batch.image_index.tolist(), batch.crop_index.tolist(), strict=True
            ):
                assert torch.equal(view, views_by_hand(stores[0], images, image, crop))
                seen += 1
        assert seen >= 2 * len(images) - 4


def test_a_store_of_tones_is_known_by_them(shared_folder, tmp_path):
    store = label(shared_folder, tmp_path / "a.zarr", views=ViewPolicy(tone=TONE), num_crops=2)
    assert LabelStore.open(store.path).spec.views.tone == TONE
    plain = label(shared_folder, tmp_path / "b.zarr", num_crops=2)
    assert "tone" not in (plain.path / "zarr.json").read_text()
    assert store.spec.first_difference(plain.spec).startswith(
        "--brightness is 0.0, the store has 0.4"
    )


def test_files_that_know_no_tone_are_not_made_of_it(shared_folder, tmp_path):
    store = label(shared_folder, tmp_path / "a.zarr", views=ViewPolicy(tone=TONE), num_crops=2)
    with pytest.raises(FkdError, match=r"whose tone changes \(brightness 0.4, .* erase 0.5\)"):
        export_labels(ExportLabelsConfig(store.path, tmp_path / "out"))
    assert not (tmp_path / "out").exists()
