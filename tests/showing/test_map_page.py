"""A page about maps of labels, and what it shows: numbers of all positions, by class and by crop."""

import re
from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest
import torch
from helpers.copies import labelled, teacher_probs
from helpers.folders import map_config

from fkd import (
    CopyConfig,
    FkdError,
    ShowConfig,
    ViewPolicy,
    compare,
    copy_store,
    label_images,
    label_statistics,
    show_store,
)
from fkd.config import MixPolicy
from fkd.info import info_lines
from fkd.labels import entropy
from fkd.pictures.map_figures import class_colours
from fkd.statistics import sampled_agreement, sampled_certainty


def labels_of(store):
    """Return the labels of all positions, crop by crop."""
    slab = store.read_images(range(store.spec.num_images), store.spec.num_crops)
    rows = {n: torch.from_numpy(v.reshape(-1, v.shape[2])) for n, v in slab.kept.items()}
    return store.spec.labels.restore(rows)


def test_statistics_are_those_of_all_positions(map_store):
    labels, found = labels_of(map_store), label_statistics(map_store)
    top, nats = labels.confidence, entropy(labels, 5)
    assert found.certainty.top_probability.count == len(top) == 18 * 4 * 32
    assert found.certainty.top_probability.mean == pytest.approx(float(top.mean()))
    assert found.certainty.entropy.mean == pytest.approx(float(nats.mean()))
    assert (found.agreement, found.classes, found.confusion) == (None, None, None)
    assert found.certainty.sure_of_another == ()
    first, positions = labels.top_class, found.positions
    assert positions.grid == (8, 4)
    for n, number in enumerate(positions.class_id.tolist()):
        here = first == number
        assert positions.share[n] == pytest.approx(float(here.float().mean()))
        assert positions.crops[n] == pytest.approx(float(here.view(72, 32).any(1).float().mean()))
        assert positions.top_probability[n] == pytest.approx(float(top[here].mean()), rel=1e-5)
    assert positions.share.sum() == pytest.approx(1)


def test_crops_are_judged_by_the_means_of_their_positions(map_store):
    labels = labels_of(map_store)
    top = labels.confidence.view(18, 4, 32).mean(2)
    nats = entropy(labels, 5).view(18, 4, 32).mean(2)
    lowest, crop = top.min(1)
    order = lowest.argsort().tolist()
    unsure = label_statistics(map_store, num_unsure=5).certainty.least_sure
    assert [(one.image_index, one.crop) for one in unsure] == [(i, int(crop[i])) for i in order[:5]]
    assert unsure[0].entropy == pytest.approx(float(nats[order[0], crop[order[0]]]))
    area = label_statistics(map_store).area
    assert area.agreement is None
    assert np.nansum(area.crops * area.mean) == pytest.approx(float(top.sum()), rel=1e-5)


def test_few_crops_tell_how_flat_labels_are_and_nothing_of_folders(map_store):
    assert sampled_agreement(map_store) is None
    few = sampled_certainty(map_store, at_most=300)
    assert 300 <= few.entropy.count < 18 * 4 * 32


def test_maps_are_compared_position_by_position(map_store, tmp_path):
    first = copy_store(CopyConfig(map_store.path, tmp_path / "a.zarr", scheme="topk1"))
    found = compare(map_store, first)
    p, q = labels_of(map_store).dense(5), labels_of(first).dense(5)
    assert found.agreement == 1
    assert found.divergences.cross_entropy == pytest.approx(float(-(p * q.log()).sum(1).mean()))
    one, other = (
        labelled(
            tmp_path / f"{h}.zarr",
            "topk3",
            teacher_probs(0, 15, 36).view(15, 6, 6, 40),
            grid=(h, w),
        )
        for h, w in ((2, 3), (3, 2))
    )
    with pytest.raises(FkdError, match="the grid of its labels: 3x2, not 2x3"):
        compare(one, other)


def test_the_page_shows_maps_and_says_nothing_of_the_classes_of_images(map_store, tmp_path, capsys):
    page = show_store(ShowConfig(map_store.path, tmp_path / "page", samples=2, crops=3)).read_text()
    assert "72 crops of 8x4 labels" in capsys.readouterr().err
    for words in (
        "Which classes are where",
        "8x4 positions",
        "have no masks",
        "8 × 4",
        "bytes a label",
    ):
        assert words in page, words
    for words in ("the class of the image", "folder's class", "bold is", "share of crops, %"):
        assert words not in page, words
    assert len(re.findall(r"<img src=", page)) == 9
    named = labels_of(map_store).top_class.unique().numpy()
    drawn = matplotlib.image.imread(tmp_path / "page/least-sure.png")[..., :3]
    pixels = {tuple(p) for p in np.round(drawn.reshape(-1, 3) * 255).astype(int).tolist()}
    colours = np.round(class_colours(named) * 255).astype(int).tolist()
    assert all(any(np.abs(np.array(c) - p).max() <= 1 for p in pixels) for c in colours)


def test_colours_of_classes_differ():
    colours = class_colours(np.arange(20))
    apart = np.abs(colours[:, None] - colours[None]).max(2) + np.eye(20)
    assert apart.min() > 0.1


@pytest.mark.parametrize("scheme", ["hard", "full-8bit"])
def test_other_schemes_have_a_page_without_their_images(tmp_path, scheme):
    probs = teacher_probs(0, 15, 36).view(15, 6, 6, 40)
    store = labelled(tmp_path / "a.zarr", scheme, probs, grid=(2, 3))
    page = show_store(ShowConfig(store.path, tmp_path / "page")).read_text()
    assert "No image is drawn" in page
    assert ("How sure the teacher is" in page) == (scheme != "hard")


def test_info_says_what_a_label_takes(map_store):
    lines = dict(info_lines(map_store.path))
    assert lines["maps"] == "8x4 labels of each crop"
    per_crop, per_label = (float(lines[name].split()[0]) for name in ("per crop", "per label"))
    assert per_label == pytest.approx(per_crop / 32, abs=0.01)
    assert "ids 0.00" not in lines["per crop"]
    total, *parts = map(float, re.findall(r"[\d.]+", lines["per label"]))
    assert sum(parts) == pytest.approx(total, abs=0.02)


def test_a_page_of_mixed_maps_shows_what_is_mixed_in(shared_folder, tmp_path):
    mixed = map_config(shared_folder, "unused", views=ViewPolicy(mix=MixPolicy(cutmix=1)))
    store = label_images(replace(mixed, out=tmp_path / "a.zarr"))
    page = show_store(ShowConfig(store.path, tmp_path / "page", samples=1, crops=2)).read_text()
    assert "mixed with those of the images below" in page
