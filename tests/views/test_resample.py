"""What a device renders in one batched call is, to the last bit, what a CPU thread renders."""

import numpy as np
import pytest
import torch
from helpers.crops import all_at_once, one_by_one, some_crops
from helpers.folders import label_config
from hypothesis import given, settings
from hypothesis import strategies as st

from fkd import TeacherChoice, label_images
from fkd.config import sides_of
from fkd.loader import Schedule, student_batches
from fkd.sources import list_images
from fkd.views import RenderPool
from fkd.views import render_device as module


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 2, 7, 32, 65]),
    st.sampled_from([(1, 3), (1, 90), (200, 300)]),
    st.sampled_from(["bilinear", "bicubic"]),
)
def test_a_batched_call_gives_the_pixels_of_the_threads(seed, size, sides, interpolation):
    images, crops = some_crops(np.random.default_rng(seed), 9, sides)
    expected = one_by_one(images, crops, size, interpolation)
    found = all_at_once(images, crops, size, interpolation)
    assert found.shape == (9, 3, size, size)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_extreme_contrast_is_clipped_alike(interpolation):
    """Bicubic weights below zero overshoot at hard edges, after each of the two directions."""
    board = (np.indices((61, 83)).sum(0) // 3 % 2 * 255).astype(np.uint8)
    image = np.repeat(board[..., None], 3, axis=2)
    crops = [([0, 0, 61, 83], False), ([5, 9, 7, 50], True), ([60, 82, 1, 1], True)]
    expected = one_by_one([image] * 3, crops, 40, interpolation)
    assert torch.equal(all_at_once([image] * 3, crops, 40, interpolation), expected)


def test_little_working_memory_means_more_goes_and_the_same_pixels(monkeypatch):
    images, crops = some_crops(np.random.default_rng(0), 30, (20, 200))
    whole = all_at_once(images, crops, 32, "bilinear")
    heights = np.array([box[2] for box, _ in crops])
    assert len(list(module._goes(heights, 32 * 23, module._WORKING_BYTES))) == 1
    monkeypatch.setattr(module, "_WORKING_BYTES", 200_000)
    goes = list(module._goes(heights, 32 * 23, module._WORKING_BYTES))
    assert len(goes) > 5
    assert sorted(np.concatenate(goes).tolist()) == list(range(30))
    assert torch.equal(all_at_once(images, crops, 32, "bilinear"), whole)


@pytest.mark.parametrize("size", [32, (24, 40)], ids=str)
@pytest.mark.parametrize("goes", ["one go", "many goes"])
def test_views_are_written_in_place_in_their_order(size, goes, monkeypatch):
    """Rows of another batch lie before and behind."""
    if goes == "many goes":
        monkeypatch.setattr(module, "_WORKING_BYTES", 100_000)
    images, crops = some_crops(np.random.default_rng(1), 20, (20, 90))
    out = torch.full((22, *sides_of(size), 3), 7, dtype=torch.uint8).permute(0, 3, 1, 2)
    all_at_once(images, crops, size, "bicubic", out[1:21])
    assert torch.equal(out[1:21], one_by_one(images, crops, size, "bicubic"))
    assert (out[[0, 21]] == 7).all()


def test_the_student_gets_the_same_views_whoever_renders(shared_store, shared_folder, monkeypatch):
    images = list_images(shared_folder / "train")
    schedule = Schedule(18, 6, 2, 10, epochs=6, seed=0)
    seen = {}
    for render_by in ("cpu", "device"):
        with RenderPool(2, torch.device("cpu"), render_by) as pool:
            seen[render_by] = list(student_batches(pool, shared_store, images, schedule))
    monkeypatch.setattr("fkd.loader.batches._PACKED_BYTES", 1000)
    with RenderPool(2, torch.device("cpu"), "device") as pool:
        seen["too large"] = list(student_batches(pool, shared_store, images, schedule))
    assert len(seen["cpu"]) == schedule.total_steps
    for one, *others in zip(*seen.values(), strict=True):
        assert all(torch.equal(one.views, other.views) for other in others)
        assert all(torch.equal(one.targets, other.targets) for other in others)


def test_the_teacher_labels_the_same_views_whoever_renders(shared_folder, tmp_path, monkeypatch):
    (tmp_path / "flat_teacher.py").write_text(
        "import torch\n"
        "def make():\n"
        "    torch.manual_seed(0)\n"
        "    head = torch.nn.Linear(3 * 8 * 8, 3)\n"
        "    return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(8), torch.nn.Flatten(), head)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    both = []
    for render_by in ("cpu", "device"):
        teachers = (
            TeacherChoice("flat_teacher:make", size=32),
            TeacherChoice("flat_teacher:make", size=24, interpolation="bicubic"),
        )
        config = label_config(
            shared_folder, tmp_path / render_by, teacher=teachers, render=render_by, num_crops=20
        )
        store = label_images(config)
        both.append([store.read_block(number) for number in range(store.spec.num_blocks)])
    for one, other in zip(*both, strict=True):
        assert np.array_equal(one.box, other.box)
        assert all(np.array_equal(one.kept[name], other.kept[name]) for name in one.kept)
