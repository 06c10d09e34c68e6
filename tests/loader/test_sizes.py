"""A student sees the stored boxes at any size, and all views of a step have one size."""

import numpy as np
import pytest
import torch

from fkd import FkdError, Selection, StudentLoader
from fkd.config import LoaderConfig, ViewSizes
from fkd.images import decode
from fkd.loader import Schedule, SizePlan, select_crops, student_batches
from fkd.sources import list_images
from fkd.views import RenderPool, empty_views, render

GROWING = SizePlan(((0, 16), (4, (20, 31)), (7, 48)), "bilinear")
SETTINGS = {"crops_per_image": 2, "batch_size": 12, "epochs": 8, "scheme": "topk3", "device": "cpu"}


def batches(store, folder, schedule, sizes=None, render_by="cpu", **more):
    images = list_images(folder / "train")
    with RenderPool(2, torch.device("cpu"), render_by) as pool:
        return list(student_batches(pool, store, images, schedule, sizes=sizes, **more))


def labels(batch):
    return [values.numpy().tolist() for values in (*batch.kept.values(), batch.targets)]


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [8, 32, 100, (24, 40), (65, 7)])
def test_the_boxes_are_the_stores_at_any_size(shared_store, shared_folder, size, interpolation):
    """Same images, order and labels as at the teacher's size, and each view is its box's."""
    images, schedule = list_images(shared_folder / "train"), Schedule(18, 6, 6, 12, 6, seed=0)
    as_labelled = batches(shared_store, shared_folder, schedule)
    found = batches(shared_store, shared_folder, schedule, SizePlan(((0, size),), interpolation))
    slab = shared_store.read_crops(range(6))
    for one, other in zip(as_labelled, found, strict=True):
        assert np.array_equal(one.decoded, other.decoded)
        assert labels(one) == labels(other)
        expected = empty_views(12, size)
        for row, view in enumerate(expected):
            image, crop = other.decoded[row // 6], row % 6
            flip = bool(slab.flip[image, crop])
            render(decode(images.name(image)), slab.box[image, crop], flip, view, interpolation)
        assert torch.equal(other.views, expected)


@pytest.mark.parametrize("apart", [0, 1, 2])
@pytest.mark.parametrize("picked", [False, True])
def test_a_step_has_one_size_wherever_its_views_were_decoded(
    shared_store, shared_folder, apart, picked
):
    picks = select_crops(Selection(max_entropy=1.0955), shared_store) if picked else None
    schedule = Schedule(18, 6, 3, 12, epochs=8, seed=0, stagger=apart)
    whole = batches(shared_store, shared_folder, schedule, GROWING, picks=picks)
    alike = {
        size: batches(
            shared_store, shared_folder, schedule, SizePlan(((0, size),), "bilinear"), picks=picks
        )
        for size in (16, (20, 31), 48)
    }
    assert len(whole) == 12
    for step, batch in enumerate(whole):
        fixed = alike[GROWING.at(step)][step]
        assert torch.equal(batch.views, fixed.views)
        assert labels(batch) == labels(fixed)
    for first in (1, 5, 8):
        later = batches(
            shared_store, shared_folder, schedule, GROWING, picks=picks, first_step=first
        )
        pairs = list(zip(later, whole[first:], strict=True))
        assert all(torch.equal(one.views, other.views) for one, other in pairs)
    for rank in range(2):
        share = batches(
            shared_store, shared_folder, schedule, GROWING, picks=picks, rank=rank, num_ranks=2
        )
        assert [b.views.shape[2:] for b in share] == [b.views.shape[2:] for b in whole]


@pytest.mark.parametrize("apart", [0, 1])
def test_a_device_renders_every_size_as_threads_do(shared_store, shared_folder, monkeypatch, apart):
    """Also where some batches are too large to be sent, and threads render a part of a step."""
    schedule = Schedule(18, 6, 2, 12, epochs=8, seed=0, stagger=apart)
    expected = batches(shared_store, shared_folder, schedule, GROWING)
    found = [batches(shared_store, shared_folder, schedule, GROWING, "device")]
    monkeypatch.setattr("fkd.loader.batches._PACKED_BYTES", 3 * 6 * 42**2)
    found += [batches(shared_store, shared_folder, schedule, GROWING, "device")]
    for others in found:
        for one, other in zip(expected, others, strict=True):
            assert torch.equal(one.views, other.views)


@pytest.mark.parametrize(
    ("text", "multiple", "stages"),
    [
        ("128:224", 32, [(0, 128), (25, 160), (50, 192), (75, 224)]),
        ("64:128", 64, [(0, 64), (50, 128)]),
        ("96x128:192x256", 32, [(0, (96, 128)), (20, (128, 160)), (40, (160, 192)),
                                (60, (160, 224)), (80, (192, 256))]),
        ("160x224", 32, [(0, (160, 224))]),
        ("100", 32, [(0, 100)]),
    ],
)  # fmt: skip
def test_the_sizes_of_a_run_share_its_steps(shared_store, text, multiple, stages):
    config = LoaderConfig(size=text, size_multiple=multiple)
    plan = SizePlan.of(config, shared_store.spec, Schedule(100, 1, 1, 1, 1, seed=0))
    assert list(plan.stages) == stages
    assert plan.last == stages[-1][1]
    begins = [step for step in range(100) if not step or plan.at(step) != plan.at(step - 1)]
    assert begins == [step for step, _ in stages]


def test_a_run_of_few_steps_ends_at_the_last_size(shared_store):
    config = LoaderConfig(size="128:224")
    plan = SizePlan.of(config, shared_store.spec, Schedule(2, 1, 1, 1, 1, seed=0))
    assert plan.stages == ((0, 192), (1, 224))
    assert str(plan) == "192 px, 224 px from step 2"


def test_a_loader_yields_sizes_that_grow(shared_store):
    loader = StudentLoader(
        shared_store.path, size="16:48", size_multiple=16, **SETTINGS | {"epochs": 6}
    )
    sides = [pixels.shape[-1] for pixels, _ in loader.batches()]
    assert sides == [16] * 4 + [32] * 4 + [48] * 4
    assert [loader.sizes.at(step) for step in range(12)] == sides
    assert [p.shape[-1] for p, _ in loader.batches(6)] == sides[6:]
    plain = StudentLoader(shared_store.path, **SETTINGS)
    sized = StudentLoader(shared_store.path, size=32, interpolation="bilinear", **SETTINGS)
    for (one, _), (other, _) in zip(plain.batches(), sized.batches(), strict=True):
        assert torch.equal(one, other)
    wide = StudentLoader(shared_store.path, size=(24, 40), **SETTINGS)
    assert next(iter(wide))[0].shape == (12, 3, 24, 40)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"size": 0}, "--size is 0; it must lie between 1 and 4,096"),
        ({"size": "32x5000"}, "--size is 5000"),
        ({"size": "224:128"}, "--size 224:128 shrinks; sizes grow over a run"),
        ({"size": "128x224:160x192"}, "shrinks"),
        ({"size": "100:224"}, "--size 100:224: 100 is not a multiple of 32; take 96 or 128, or"),
        ({"size": "64:96:128"}, "size '64:96:128' is unknown; give the side"),
        ({"size": "big"}, "size 'big' is unknown"),
        ({"size": ""}, "size '' is unknown"),
        ({"size": 1.5}, "size is 1.5; it must be a ViewSizes, whole numbers, or text for one"),
        ({"size": (1, 2, 3)}, "it must be a ViewSizes"),
        ({"size": True}, "it must be a ViewSizes"),
        ({"size_multiple": 0}, "--size-multiple is 0"),
        ({"interpolation": "nearest"}, "--interpolation 'nearest' is unknown"),
    ],
    ids=str,
)
def test_sizes_that_cannot_be(settings, words):
    with pytest.raises(FkdError) as refusal:
        LoaderConfig(**settings)
    assert words in str(refusal.value)


def test_one_size_has_several_spellings():
    for same in (["160 224", "160x224", "160X224", (160, 224), [160, 224], np.array([160, 224])],
                 [96, "96", "96x96", (96, 96), "96:96", np.int64(96)]):  # fmt: skip
        assert len({LoaderConfig(size=one).size for one in same}) == 1
    assert str(LoaderConfig(size="128 : 224").size) == "128:224"
    assert ViewSizes([96, 96], np.int64(128)) == ViewSizes.parse("96:128")
    with pytest.raises(FkdError, match="first is '96'; it must be a whole number"):
        ViewSizes("96", "128")
