"""Stored vectors in a loop of one's own: those that are asked for, with the views that they are of."""

import pickle

import pytest
import torch
from helpers.vector_stores import MID, OUTPUT, some_vectors, with_vectors
from torch.utils.data import default_collate

from fkd import CropDataset, FkdError, StudentLoader, Term
from fkd.feeding import ViewBatch
from fkd.loader import read_vectors
from fkd.losses import DistillationLoss

ALONE = {"crops_per_image": 2}
SETTINGS = {**ALONE, "scheme": "topk3"}
LOADER = {**ALONE, "batch_size": 6, "epochs": 1, "device": "cpu", "stagger": 0}


@pytest.fixture(scope="module")
def vectors(shared_store):
    return {"output": some_vectors(shared_store, OUTPUT), "mid": some_vectors(shared_store, MID, 1)}


@pytest.fixture(scope="module")
def beside(shared_store, vectors, tmp_path_factory):
    return with_vectors(shared_store, tmp_path_factory.mktemp("v") / "beside.zarr", **vectors)


@pytest.fixture(scope="module")
def alone(shared_store, vectors, tmp_path_factory):
    out = tmp_path_factory.mktemp("v") / "alone.zarr"
    return with_vectors(shared_store, out, labels=False, **vectors)


def expected(batch, vectors):
    return vectors[batch.image_index, batch.crop_index]


def test_a_batch_has_the_vectors_of_its_views(beside, vectors):
    loader = StudentLoader(beside.path, vectors=("mid", "output"), scheme="topk3", **LOADER)
    for batch in pickle.loads(pickle.dumps(loader)):
        assert batch.vectors.keys() == vectors.keys()
        for name, values in batch.vectors.items():
            assert torch.allclose(values, expected(batch, vectors[name]), atol=2e-3), name
        assert len(batch.labels) == 6
        some = batch.take(torch.tensor([3, 1]))
        assert torch.equal(some.vectors["mid"], batch.vectors["mid"][[3, 1]])
        both = ViewBatch.concatenate([some, batch.to("cpu")])
        assert torch.equal(both.vectors["output"][2:], batch.vectors["output"])
        assert repr(batch).endswith("mid [6, 4, 3, 3], output [6, 5])")


def test_vectors_that_nobody_asks_for_are_not_read(beside, alone):
    cases = (
        (beside, None, ()),
        (beside, ("output",), ("output",)),
        (alone, None, ("output", "mid")),
    )
    for store, asked, names in cases:
        read, vectors = read_vectors(store, asked)
        kept = {name for name in read.read_crops([0]).kept if name.startswith("vector.")}
        assert kept == {f"vector.{name}" for name in names}
        settings = LOADER if store is alone else LOADER | SETTINGS
        batch = next(iter(StudentLoader(store.path, vectors=asked, **settings)))
        assert tuple(batch.vectors) == names == tuple(vectors)


def test_a_store_without_labels_gives_all_that_it_has(alone, vectors):
    loader = StudentLoader(alone.path, **LOADER)
    assert "m = 2, vectors, cpu)" in repr(loader)
    batch = next(iter(loader))
    images, labels = batch
    assert labels is None
    assert batch.labels is None
    assert batch.vectors.keys() == vectors.keys()
    assert len(ViewBatch.concatenate([batch, batch.take(slice(2))])) == 8
    # A loop of one's own: the criterion takes vectors by the names of its terms.
    student = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 5))
    criterion = DistillationLoss(Term("store:output", "cosine"))
    loss = criterion(student(images), vectors=batch.vectors)
    loss.backward()
    assert 0 < loss < 2
    with pytest.raises(FkdError, match="holds vectors and no labels, and this trainer learns from"):
        loader.require_labels()


def test_a_dataset_of_images_has_them_too(beside, alone, vectors):
    dataset = CropDataset(beside.path, vectors=("mid",), **SETTINGS)
    copied = pickle.loads(pickle.dumps(dataset))  # as a worker process gets it
    whole = default_collate(copied.__getitems__([4, 0]))
    assert torch.allclose(whole.vectors["mid"], expected(whole, vectors["mid"]), atol=2e-3)
    plain = CropDataset(beside.path, **SETTINGS)
    assert plain[0].vectors == {}
    assert dataset.epoch_bytes == plain.epoch_bytes + 18 * 2 * 36 * 2
    bare = CropDataset(alone.path, **ALONE)
    assert "m = 2, vectors, epoch 0)" in repr(bare)
    crops = bare[2]
    assert crops.labels is None
    assert torch.allclose(crops.vectors["output"], expected(crops, vectors["output"]), atol=2e-3)


def test_names_that_there_are_not_are_refused(beside, alone):
    with pytest.raises(
        FkdError, match=r"--compress topk3: .*alone.zarr holds vectors and no labels"
    ):
        StudentLoader(alone.path, **LOADER, scheme="topk3")
    with pytest.raises(FkdError, match="has no vectors named neck; it has output, mid"):
        StudentLoader(beside.path, vectors=("neck",), **LOADER | SETTINGS)
    with pytest.raises(FkdError, match=r"vectors is 'mid'; give names, as in vectors=\('mid',\)"):
        CropDataset(beside.path, vectors="mid", **SETTINGS)
