"""An image's crops go to several batches: each view comes once, from any step on, on any ranks."""

from collections import Counter
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fkd import FkdError, Selection, StudentLoader, TrainConfig
from fkd.loader import Schedule, select_crops, student_batches
from fkd.loader.stagger import dealt, decoded_steps
from fkd.sources import list_images
from fkd.views import RenderPool


def numbered(schedule):
    """Return a function of a step: from there on, what is decoded, as (step, number of the view)."""

    def steps_from(first):
        for step in range(first, schedule.total_steps):
            yield [(step, view) for view in range(schedule.batch_size)]

    return steps_from


def join(decoded):
    return [view for c, batch in enumerate(decoded) for view in batch[c :: len(decoded)]]


def dealt_from(schedule, first_step):
    decoded = decoded_steps(schedule, first_step, numbered(schedule))
    return list(dealt(decoded, schedule, join))


@given(
    st.integers(1, 50), st.integers(1, 6), st.integers(1, 5), st.integers(0, 9),
    st.floats(0.1, 12), st.data(),
)  # fmt: skip
def test_every_view_comes_once_and_siblings_never_meet(n, m, images, stagger, epochs, data):
    schedule = Schedule(n, m, m, images * m, epochs, seed=0, stagger=stagger)
    whole = dealt_from(schedule, 0)
    assert len(whole) == schedule.total_steps
    assert {len(batch) for batch in whole} == {schedule.batch_size}
    counts = Counter(view for batch in whole for view in batch)
    assert len(counts) == schedule.total_steps * schedule.batch_size
    assert set(counts.values()) == {1}
    first_step = data.draw(st.integers(0, schedule.total_steps))
    assert dealt_from(schedule, first_step) == whole[first_step:]
    if schedule.apart:
        where = {view: step for step, batch in enumerate(whole) for view in batch}
        for (step, view), at in where.items():
            expected = (step + view % m * schedule.apart) % schedule.total_steps
            assert at == expected
        for batch in whole:
            visits = [(step, view // m) for step, view in batch]
            assert len(set(visits)) == len(visits)
    elif stagger and m > 1:
        assert schedule.total_steps < m


def identity(batch):
    """Return each view of a batch as bytes: its pixels, its kept label and its class."""
    rows = zip(batch.views, *batch.kept.values(), batch.targets, strict=True)
    return [b"".join(part.numpy().tobytes() for part in row) for row in rows]


def batches(store, folder, schedule, **more):
    images = list_images(folder / "train")
    with RenderPool(2) as pool:
        return [identity(b) for b in student_batches(pool, store, images, schedule, **more)]


@pytest.mark.parametrize("picked", [False, True])
def test_views_and_their_labels_stay_together(shared_store, shared_folder, picked):
    picks = None
    if picked:
        picks = select_crops(Selection(max_entropy=1.0955), shared_store)
        assert picks is not None
    together, apart = (
        Schedule(18, 6, 3, 12, epochs=8, seed=0, stagger=stagger) for stagger in (0, 2)
    )
    plain = batches(shared_store, shared_folder, together, picks=picks)
    dealt_out = batches(shared_store, shared_folder, apart, picks=picks)
    assert {len(batch) for batch in dealt_out} == {12}
    assert sorted(chain(*plain)) == sorted(chain(*dealt_out))
    assert [sorted(batch) for batch in plain] != [sorted(batch) for batch in dealt_out]
    later = batches(shared_store, shared_folder, apart, picks=picks, first_step=5)
    assert later == dealt_out[5:]
    ranks = [
        batches(shared_store, shared_folder, apart, picks=picks, rank=rank, num_ranks=2)
        for rank in range(2)
    ]
    for alone, *shares in zip(dealt_out, *ranks, strict=True):
        assert [len(share) for share in shares] == [6, 6]
        assert sorted(alone) == sorted(chain(*shares))


def test_the_default_reaches_over_a_dozen_steps_and_the_loader_knows_it(shared_store):
    spans = {m: TrainConfig(crops_per_image=m).steps_apart for m in (1, 2, 4, 8, 16, 32)}
    assert spans == {1: 16, 2: 8, 4: 4, 8: 2, 16: 1, 32: 1}
    assert TrainConfig(stagger=0).steps_apart == 0
    settings = {
        "crops_per_image": 3,
        "batch_size": 6,
        "epochs": 20,
        "device": "cpu",
        "scheme": "topk3",
    }
    loader = StudentLoader(shared_store.path, **settings)
    assert (loader.schedule.apart, loader.schedule.reach) == (5, 10)
    row = StudentLoader(shared_store.path, stagger=0, **settings)
    assert row.schedule.apart == 0
    a, b = (
        torch.cat([pixels for pixels, _ in some.batches()]).flatten(1).sum(1).sort().values
        for some in (loader, row)
    )
    np.testing.assert_array_equal(a, b)


def test_more_than_fits_in_memory_is_not_kept_waiting(shared_store, monkeypatch):
    settings = {"crops_per_image": 3, "batch_size": 6, "epochs": 20, "scheme": "topk3"}
    bytes_each = 6 * 3 * shared_store.spec.size**2
    monkeypatch.setattr("fkd.loader.planning.physical_memory", lambda: 10 * bytes_each)
    assert StudentLoader(shared_store.path, stagger=5, **settings).schedule.reach == 10
    with pytest.raises(FkdError, match=r"--stagger 6 .* keeps 12 batches waiting.* \(0 keeps none"):
        StudentLoader(shared_store.path, stagger=6, **settings)
