"""A loop of one's own gets what `fkd train` trains on."""

import re

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from fkd import FkdError, Scheme, StudentLoader, soft_cross_entropy
from fkd.loader import student_batches
from fkd.sources import list_images
from fkd.views import RenderPool, normalize

SETTINGS = {"crops_per_image": 2, "batch_size": 6, "epochs": 4, "seed": 3, "device": "cpu"}


def test_a_loop_of_ones_own_sees_the_views_and_labels_of_a_run(shared_store, shared_folder):
    loader = StudentLoader(shared_store.path, scheme=Scheme("topk", 3), **SETTINGS)
    assert (len(loader), loader.epochs, loader.total_steps) == (3, 4, 12)
    assert loader.classes == ("circle", "square", "triangle")
    images = list_images(shared_folder / "train")
    with RenderPool(1) as pool:
        expected = list(student_batches(pool, shared_store, images, loader.schedule))
    batches = list(loader.batches())
    for batch, (pixels, labels) in zip(expected, batches, strict=True):
        how = shared_store.spec.teachers[0].preprocessing
        assert torch.equal(pixels, normalize(batch.views, how.mean, how.std))
        assert torch.equal(labels.index, batch.kept["index"].long())
        assert torch.allclose(labels.dense(3).sum(1), torch.ones(6))
    student = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 3))
    pixels, labels = batches[0]
    soft_cross_entropy(student(pixels), labels).mean().backward()
    for (one, _), (other, _) in zip(batches[4:], loader.batches(4), strict=True):
        assert torch.equal(one, other)
    assert list(loader.batches(12)) == []
    for wrong in (-1, 1.5, 13):
        with pytest.raises(FkdError, match=f"first_step is {wrong}; it must"):
            loader.batches(wrong)


def test_ranks_share_a_batch(shared_store):
    settings = {"scheme": Scheme("topk", 3), "stagger": 0} | SETTINGS | {"batch_size": 12}
    whole, *shares = (
        [p for p, _ in StudentLoader(shared_store.path, rank=r, num_ranks=n, **settings).batches()]
        for r, n in ((0, 1), (0, 2), (1, 2))
    )
    for step, pixels in enumerate(whole):
        pairs = pixels.view(6, 2, 3, 32, 32)
        for rank, share in enumerate(shares):
            assert torch.equal(share[step].view(3, 2, 3, 32, 32), pairs[rank::2])


def test_all_that_is_kept_is_read_where_nobody_says_how(shared_store):
    assert ", topk3, cpu)" in repr(StudentLoader(shared_store.path, **SETTINGS))


def test_all_classes_are_read_as_any_k_where_all_are_kept(shared_store):
    """Its three classes are kept, which is all that topk5, the usual reading, asks for."""
    asked = StudentLoader(shared_store.path, scheme="topk5", **SETTINGS)
    usual = StudentLoader(shared_store.path, **SETTINGS)
    for (_, one), (_, other) in zip(asked.batches(), usual.batches(), strict=True):
        assert torch.equal(one.dense(3), other.dense(3))
    with pytest.raises(FkdError, match="--compress full asks for more than the store keeps"):
        StudentLoader(shared_store.path, scheme="full", **SETTINGS)


def test_what_training_refuses_the_loader_refuses(shared_store, tmp_path):
    with pytest.raises(FkdError, match="it holds topk3"):
        StudentLoader(shared_store.path, scheme="full", **SETTINGS)
    for wrong, words in (
        ({"mixup": 1.0}, "mixup is no setting of a loader"),
        ({"rank": 0, "num_ranks": 4, "batch_size": 12}, "which 4 processes cannot share evenly"),
        ({"rank": 2, "num_ranks": 2}, "rank is 2; it must lie between 0 and 1"),
        ({"batch_size": 960}, "is more than the whole run"),
        ({"std": (0.0, 0.0, 0.0)}, "--std is 0"),
        ({"crops_per_image": "4"}, "crops_per_image is '4'; it must be a whole number"),
    ):
        with pytest.raises(FkdError, match=words):
            StudentLoader(shared_store.path, scheme=Scheme("topk", 3), **SETTINGS | wrong)
    with pytest.raises(FkdError, match="does not exist"):
        StudentLoader(tmp_path / "none.zarr")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, None),
        ({"label_temperature": 4.0, "scheme": "topk2-smooth"}, None),
        ({"label_temperature": 0.5}, None),
        ({"label_temperature": 4.0, "scheme": "topk3"}, None),  # it keeps all three classes
        (
            {"label_temperature": 4.0},
            r"the 2 classes that it reads hold (\d+)% of the teacher's probability ",
        ),
        (
            {"label_temperature": 4.0, "scheme": "hard"},
            r"does nothing to labels that are read as hard",
        ),
    ],
)
def test_what_a_temperature_does_to_labels_is_said(shared_store, settings, words, capsys):
    settings = SETTINGS | {"scheme": "topk2"} | settings
    StudentLoader(shared_store.path, **settings)
    said = capsys.readouterr().err
    if words is None:
        assert said == ""
        return
    found = re.search(f"warning: .*{words}", said)
    assert found, said
    if found.groups():
        whole = StudentLoader(shared_store.path, **settings | {"scheme": "topk2-smooth"})
        held = torch.cat([labels.value.sum(1) for _, labels in whole.batches()]).mean().item()
        assert int(found[1]) == pytest.approx(100 * held, abs=3)
        assert "re-norm drops the rest" in said
        assert "`fkd label --temperature 4`" in said


class Wrapped(IterableDataset):
    """How people put a loader into a trainer's own `DataLoader`."""

    def __init__(self, loader):
        self.loader = loader

    def __iter__(self):
        yield from self.loader


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of a fork beside threads
def test_a_data_loader_yields_each_batch_once_or_says_why_not(shared_store):
    loader = StudentLoader(shared_store.path, scheme="topk3", **SETTINGS)
    expected = [pixels for pixels, _ in loader]
    assert len(expected) == len(loader) > 1
    for dataset in (loader, Wrapped(loader)):
        loader.batches(0)
        found = list(DataLoader(dataset, batch_size=None))
        assert all(torch.equal(a, b) for a, (b, _) in zip(expected, found, strict=True))
        assert all(len(labels) == len(pixels) for pixels, labels in found)
        with pytest.raises(FkdError, match="would yield every batch once in each of them"):
            next(
                iter(
                    DataLoader(
                        dataset, batch_size=None, num_workers=2, multiprocessing_context="fork"
                    )
                )
            )


def test_a_loader_says_what_it_is(shared_store):
    loader = StudentLoader(shared_store.path, scheme="topk3", **SETTINGS)
    steps, size = len(loader), SETTINGS["batch_size"]
    m = SETTINGS["crops_per_image"]
    text = f"{shared_store.path}: 4 epochs of {steps} steps of {size} views, m = {m}, topk3, cpu)"
    assert repr(loader) == f"StudentLoader({text}"


def test_a_data_loader_that_would_join_whole_batches_is_refused(shared_store):
    loader = StudentLoader(shared_store.path, scheme="topk3", **SETTINGS)
    with pytest.raises(FkdError, match="which are whole already; give it batch_size=None"):
        next(iter(DataLoader(loader, batch_size=32)))


def test_a_setting_of_a_data_loader_is_named_as_it_is_here(shared_store):
    with pytest.raises(
        FkdError, match=r"num_workers is no setting .*perhaps workers\?.*; it knows"
    ):
        StudentLoader(shared_store.path, num_workers=2)
