"""What the statistics count beside certainty: classes taken for others, areas, and crops to look at."""

from collections import Counter

import numpy as np
import pytest
import torch
from helpers.stores import make_store, read_all

from fkd import LabelStore, Scheme, label_statistics
from fkd.info import reached
from fkd.statistics import sampled_agreement
from fkd.statistics.confusion import ConfusionTally
from fkd.statistics.measured import MeasuredCrops


@pytest.fixture(scope="module")
def random_store(tmp_path_factory):
    """A store of 40 classes whose labels are random: 11 images, 6 crops, topk3."""
    return make_store(tmp_path_factory.mktemp("measures") / "labels.zarr")[0]


def labels_of(store):
    """Return the class, top-1, top probability and area of each crop, [N, M] each, one by one."""
    slab = read_all(store)
    kept = {n: torch.from_numpy(v.reshape(-1, v.shape[2])) for n, v in slab.kept.items()}
    labels = store.spec.labels.restore(kept)
    shape = slab.flip.shape
    area = (
        slab.box[..., 2].astype(float)
        * slab.box[..., 3]
        / slab.size.prod(axis=1, dtype=float)[:, None]
    )
    target = np.broadcast_to(slab.target[:, None], shape)
    top = labels.confidence.view(shape).numpy()
    return target, labels.top_class.view(shape).numpy(), top, area


def test_pairs_of_classes_are_counted(random_store):
    target, first, _, _ = labels_of(random_store)
    pairs = Counter((t, f) for t, f in zip(target.flat, first.flat, strict=True) if t != f)
    found = label_statistics(random_store).confusion
    assert (found.num_crops, found.num_pairs) == (sum(pairs.values()), len(pairs))
    listed = zip(found.target, found.top_class, found.crops, strict=True)
    assert {(t, f): n for t, f, n in listed} == dict(pairs)
    assert (np.diff(found.crops) <= 0).all()
    assert found.share == pytest.approx(found.crops / 6)  # each class has one image


def test_the_matrix_has_the_crops_of_its_classes(random_store, shared_store):
    for store in (random_store, shared_store):
        target, first, _, _ = labels_of(store)
        found = label_statistics(store).confusion
        ids = found.class_id
        assert len(ids) == min(12, store.spec.num_classes)
        assert {found.target[0], found.top_class[0]} <= set(ids)
        for i, row in zip(ids, found.matrix, strict=True):
            crops = [int(((target == i) & (first == j)).sum()) for j in ids]
            assert row.tolist() == [*crops, int((target == i).sum()) - sum(crops)]


def test_pairs_that_wait_are_merged(random_store, monkeypatch):
    """Counts are the same however often codes are merged."""
    whole = label_statistics(random_store).confusion
    monkeypatch.setattr("fkd.statistics.confusion._HELD", 3)
    monkeypatch.setattr("fkd.statistics.sweep._VALUES_RESTORED", 18)
    parts = label_statistics(random_store).confusion
    assert parts.crops.tolist() == whole.crops.tolist()
    assert parts.matrix.tolist() == whole.matrix.tolist()


def test_a_teacher_that_never_errs_confuses_nothing():
    tally = ConfusionTally(5)
    target = torch.tensor([0, 0, 3, 3])
    zeros = torch.zeros(4)
    tally.add(
        MeasuredCrops(np.arange(2), target, target, target == target, zeros, None, None, None)
    )
    found = tally.finish(np.array([2.0, 0, 0, 2, 0]), np.array([2.0, 0, 0, 2, 0]))
    assert (found.num_crops, found.num_pairs) == (0, 0)
    assert found.matrix.sum() == np.trace(found.matrix) == 4


def test_areas_are_those_of_the_boxes(shared_store):
    target, first, top, area = labels_of(shared_store)
    found = label_statistics(shared_store).area
    low, high = shared_store.spec.views.scale
    place = np.clip(((area - low) / (high - low) * 12).astype(int), 0, 11)
    assert found.edges[[0, -1]].tolist() == [low, high]
    for n in range(12):
        inside = place == n
        assert found.crops[n] == inside.sum()
        if inside.any():
            assert found.agreement[n] == pytest.approx((first == target)[inside].mean())
            assert found.mean[n] == pytest.approx(top[inside].mean(), abs=1e-6)
            assert found.quantiles[:, n] == pytest.approx(
                np.quantile(top[inside], (0.05, 0.25, 0.5, 0.75, 0.95), method="inverted_cdf"),
                abs=0.002,
            )
        else:
            assert np.isnan(found.agreement[n])


def test_hard_labels_have_areas_and_pairs(tmp_path):
    store, _ = make_store(tmp_path / "labels.zarr", scheme=Scheme("hard"))
    found = label_statistics(store)
    assert found.certainty is found.area.mean is found.area.quantiles is None
    assert found.area.crops.sum() == 66
    assert found.confusion.num_crops == round(66 * (1 - found.agreement))


def test_the_surest_of_another_class_come_first(shared_store):
    target, first, top, _ = labels_of(shared_store)
    others = np.where(first == target, -1, top)
    best = sorted((-others[i].max(), i) for i in range(len(others)) if others[i].max() >= 0)
    found = label_statistics(shared_store, num_unsure=5).certainty.sure_of_another
    assert [round(-crop.top_probability, 6) for crop in found] == [
        pytest.approx(highest, abs=1e-5) for highest, _ in best[:5]
    ]
    for crop in found:
        assert first[crop.image_index, crop.crop] == crop.top_class != target[crop.image_index, 0]
        assert top[crop.image_index, crop.crop] == pytest.approx(crop.top_probability)
    assert len({crop.image_index for crop in found}) == len(found)


def test_a_sample_is_of_some_blocks(random_store):
    target, first, _, _ = labels_of(random_store)
    agrees = first == target
    assert sampled_agreement(random_store) == pytest.approx(agrees.mean())
    assert sampled_agreement(random_store, 22) == pytest.approx(agrees[:, :2].mean())
    # Blocks 0 and 2 of the three: 7 images, one crop of each.
    assert sampled_agreement(random_store, 8) == pytest.approx(
        agrees[[*range(4), 8, 9, 10], 0].mean()
    )
    assert reached(LabelStore.open(random_store.path)).all()


def test_statistics_are_short_in_a_notebook(random_store):
    assert len(repr(label_statistics(random_store))) < 700
