"""A dataset of crops by image: the same pixels and labels, whoever asks for them, from any process."""

import copy
import pickle
import re
import shutil
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.folders import label_config, make_image_folder
from helpers.processes import SERVER
from helpers.sources import files_of, write_tar
from torch.utils.data import DataLoader, DistributedSampler, Subset, WeightedRandomSampler

from fkd import CropDataset, FkdError, StudentLoader, ViewBatch, label_images
from fkd.losses import DistillationLoss

SETTINGS = {"crops_per_image": 2, "scheme": "topk3"}  # of 18 images with 6 crops


def build(store, **changes):
    return CropDataset(store.path, **SETTINGS | changes)


def by_crop(batches):
    """Return image, ids, values and class of every view by (image, crop); none comes twice."""
    found = {}
    for batch in batches:
        numbers = zip(batch.image_index.tolist(), batch.crop_index.tolist(), strict=True)
        for row, number in enumerate(numbers):
            assert number not in found
            labels = batch.labels[row]
            found[number] = (batch.images[row], labels.index, labels.value, batch.targets[row])
    return found


def same(found, expected):
    assert found.keys() == expected.keys()
    for number, values in found.items():
        for value, other in zip(values, expected[number], strict=True):
            assert torch.equal(value, other)


@pytest.fixture(scope="module")
def expected(shared_store):
    """Every stored crop once, as a `StudentLoader` gives them."""
    loader = StudentLoader(
        shared_store.path, batch_size=6, epochs=6, normalized=False, device="cpu", **SETTINGS
    )
    crops = by_crop(loader.batches())
    assert len(crops) == 18 * 6
    return crops


def test_an_image_has_the_crops_and_labels_of_a_loader(shared_store, expected):
    dataset = build(shared_store)
    assert len(dataset) == len(dataset.targets) == 18
    assert dataset.classes == ("circle", "square", "triangle")
    found = []
    for epoch in range(3):
        dataset.set_epoch(epoch)
        batches = list(dataset)
        assert [batch.image_index.tolist() for batch in batches] == [[i, i] for i in range(18)]
        assert {tuple(batch.crop_index.tolist()) for batch in batches} == {
            (2 * epoch, 2 * epoch + 1)
        }
        assert [int(batch.targets[0]) for batch in batches] == dataset.targets.tolist()
        found += batches
    same(by_crop(found), expected)
    one = dataset[-1]
    assert (one.images.dtype, one.images.shape) == (torch.uint8, (2, 3, 32, 32))
    assert one.image_index.tolist() == [17, 17]
    dataset.set_epoch(3)  # all six crops are used; the first come again
    assert dataset[np.int64(5)].crop_index.tolist() == [0, 1]
    with pytest.raises(IndexError, match="image 18 of a CropDataset of 18 images"):
        dataset[18]


@pytest.mark.parametrize("settings", [{}, {"collate_fn": CropDataset.collate}])
def test_a_plain_data_loader_makes_batches(shared_store, expected, settings):
    dataset = build(shared_store)
    loader = DataLoader(dataset, batch_size=5, shuffle=True, **settings)
    found = []
    for epoch in range(3):
        dataset.set_epoch(epoch)
        batches = list(loader)
        assert [len(batch) for batch in batches] == [10, 10, 10, 6]
        assert all(isinstance(batch, ViewBatch) for batch in batches)
        found += batches
    same(by_crop(found), expected)


@pytest.mark.parametrize(
    ("method", "persistent"), [("fork", True), ("fork", False), (SERVER, True)]
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of a fork beside threads
def test_worker_processes_hear_of_the_epoch(shared_store, expected, method, persistent):
    dataset = build(shared_store)
    dataset[0]  # the store is open and read before workers start
    loader = DataLoader(
        dataset,
        batch_size=4,
        shuffle=True,
        num_workers=2,
        persistent_workers=persistent,
        multiprocessing_context=method,
    )
    found = []
    for epoch in (2, 0):
        dataset.set_epoch(epoch)
        found += list(loader)
    slots = {number for number in expected if number[1] in (4, 5, 0, 1)}
    same(by_crop(found), {number: expected[number] for number in slots})


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of a fork beside threads
def test_crops_that_come_again_are_named_once(shared_store, workers, capfd):
    context = "fork" if workers else None
    dataset = build(shared_store)
    loader = DataLoader(dataset, batch_size=6, num_workers=workers, multiprocessing_context=context)
    for epoch in (1, 0):
        dataset.set_epoch(epoch)
        list(loader)
    assert capfd.readouterr().err == ""
    for _ in range(2):  # nobody says that an epoch begins
        assert {max(batch.crop_index.tolist()) for batch in loader} == {1}
    said = capfd.readouterr().err
    assert len(said.splitlines()) == 1
    assert said.startswith("warning: ")
    assert ".jpg was asked for again in epoch 0 of a CropDataset" in said
    assert "call its set_epoch(epoch) before each epoch" in said


def test_to_look_at_images_begins_no_epoch(shared_store, capsys):
    dataset = build(shared_store)
    for _ in range(3):
        dataset[0]
    for _ in DataLoader(dataset, batch_size=6):
        pass
    assert capsys.readouterr().err == ""
    dataset.set_epoch(1)
    for batch in (batch for _ in range(2) for batch in dataset):  # as a dataset around it would
        assert batch.crop_index.tolist() == [2, 3]
    assert capsys.readouterr().err.count("was asked for again in epoch 1") == 1


def test_samplers_of_torch_choose_its_images(shared_store):
    dataset = build(shared_store)
    shares = [DistributedSampler(dataset, 2, rank, seed=1) for rank in (0, 1)]
    batches = [b for share in shares for b in DataLoader(dataset, batch_size=3, sampler=share)]
    assert len(by_crop(batches)) == 36
    weights = (dataset.targets == 1).astype(float)
    sampler = WeightedRandomSampler(weights, 6, replacement=False)
    (batch,) = DataLoader(dataset, batch_size=6, sampler=sampler)
    assert batch.targets.tolist() == [1] * 12
    (batch,) = DataLoader(Subset(dataset, [7, 3]), batch_size=2)
    assert batch.image_index.tolist() == [7, 7, 3, 3]


def test_a_transform_gets_each_crop(shared_store, expected):
    def halved(crop):
        assert (crop.dtype, crop.shape) == (torch.uint8, (3, 32, 32))
        return crop[:, ::2, ::2].float() / 255

    dataset = build(shared_store, transform=halved)
    (batch,) = DataLoader(dataset, batch_size=18)
    assert (batch.images.dtype, batch.images.shape) == (torch.float32, (36, 3, 16, 16))
    for number, (image, *_) in by_crop([batch]).items():
        assert torch.equal(image, expected[number][0][:, ::2, ::2].float() / 255)


@pytest.mark.parametrize(
    ("transform", "words"),
    [
        (lambda crop: crop[None], r"transform returned \[1, 3, 32, 32\]; it must return a tensor"),
        (lambda crop: crop.numpy(), "transform returned a ndarray"),
    ],
)
def test_a_transform_that_returns_no_crop_is_refused(shared_store, transform, words):
    with pytest.raises(FkdError, match=words):
        build(shared_store, transform=transform)[0]


def test_views_may_be_of_another_size_and_a_part(shared_store, expected):
    dataset = build(shared_store, size="24x40", subset=0.5, scheme="topk2")
    loader = StudentLoader(
        shared_store.path, crops_per_image=2, scheme="topk2", size="24x40", subset=0.5,
        batch_size=6, epochs=2, stagger=0, normalized=False, device="cpu",
    )  # fmt: skip
    assert len(dataset) == 9
    same(by_crop(dataset), by_crop(islice(loader.batches(), 3)))
    assert repr(dataset) == f"CropDataset({shared_store.path}: 9 images, m = 2, topk2, epoch 0)"
    assert dataset.epoch_bytes == 18 * 2 * (9 + 3 * 4 + 3)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"batch_size": 4, "seed": 1}, "batch_size, seed is no setting of a CropDataset; it knows"),
        ({"min_confidence": 0.2}, "min_confidence is no setting of a CropDataset"),
        ({"size": "64:128"}, "size is 64:128; it is one size, such as 128"),
        ({"crops_per_image": 7}, "more than the 6 crops per image"),
        ({"crops_per_image": "2"}, "crops_per_image is '2'; it must be a whole number"),
        ({"scheme": "full"}, "it holds topk3"),
    ],
)
def test_what_it_cannot_do_is_refused_by_name(shared_store, settings, words):
    with pytest.raises(FkdError, match=words):
        build(shared_store, **settings)


def test_an_epoch_that_cannot_be_is_refused(shared_store):
    with pytest.raises(FkdError, match="epoch is -1; it must lie between 0 and"):
        build(shared_store).set_epoch(-1)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d))])
def test_a_copy_gives_the_same_crops_and_counts_epochs_of_its_own(shared_store, copied):
    dataset = build(shared_store)
    dataset.set_epoch(1)
    other = copied(dataset)
    same(by_crop([other[3]]), by_crop([dataset[3]]))
    other.set_epoch(2)
    assert (dataset.epoch, other.epoch) == (1, 2)


def test_the_default_device_of_a_program_is_not_that_of_crops(shared_store, expected):
    torch.set_default_device("meta")
    try:
        batch = build(shared_store)[3]
    finally:
        torch.set_default_device(None)
    same(by_crop([batch]), {number: expected[number] for number in ((3, 0), (3, 1))})


def test_images_of_an_archive_reach_a_process_that_begins_anew(tmp_path, shared_folder):
    archive = write_tar(tmp_path / "train.tar", files_of(shared_folder / "train"))
    store = label_images(label_config(archive, tmp_path / "labels.zarr", num_crops=2))
    dataset = pickle.loads(pickle.dumps(build(store)))
    assert dataset[4].images.shape == (2, 3, 32, 32)


def test_an_image_that_was_replaced_is_refused(tmp_path):
    folder = make_image_folder(tmp_path / "data", train_per_class=1)
    store = label_images(label_config(folder, tmp_path / "labels.zarr", num_crops=2))
    dataset = build(store)
    first, second = (folder / "train" / name / "000.jpg" for name in ("circle", "square"))
    shutil.copy(second, first)
    dataset[1]
    with pytest.raises(FkdError, match=r"000\.jpg is not the file that was labelled"):
        dataset[0]


def test_the_example_of_the_page_runs(shared_store, monkeypatch, capsys):
    page = (Path(__file__).parents[2] / "docs" / "python.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.S)
    (code,) = [block for block in blocks if "CropDataset(" in block]
    small = {
        "crops_per_image=4": 'crops_per_image=2, scheme="topk3"',
        "num_workers=8, persistent_workers=True": "num_workers=0",
        "range(75)": "range(3)",
    }
    for long, short in small.items():
        assert code.count(long) == 1
        code = code.replace(long, short)
    code += "        seen.append(loss.item())\n"
    monkeypatch.chdir(shared_store.path.parent)
    student = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 3))
    names = {"student": student, "criterion": DistillationLoss(), "seen": []}
    exec(compile(code, "page", "exec"), names)
    assert len(names["seen"]) == 3
    assert capsys.readouterr().err == ""
