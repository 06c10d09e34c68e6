"""Maps in a loop of one's own: labels that know their grid, with the masks of the same views."""

import copy
import pickle

import pytest
import torch
from helpers.map_students import PLAIN, plain
from helpers.masked import CLASSES, make_masked_folder, masked_config
from torch.utils.data import DataLoader, default_collate

from fkd import (
    CropDataset,
    FkdError,
    GridLabels,
    StudentLoader,
    Term,
    TrainConfig,
    label_images,
    soft_cross_entropy,
)
from fkd.config import LoaderConfig
from fkd.feeding import CenterViewLoader, ViewBatch
from fkd.losses import DistillationLoss, distillation_loss
from fkd.training import Learner
from fkd.training.train import train_student

SETTINGS = {"crops_per_image": 2, "batch_size": 8, "epochs": 2, "scheme": "topk2", "workers": 1}
LOSS = (Term(by="kl", temperature=2.0, label_temperature=1.0), Term("truth", weight=0.5))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_masked_folder(tmp_path_factory.mktemp("maps") / "camvid", train=8, val=3)


@pytest.fixture(scope="module")
def store(place):
    return label_images(masked_config(place, place.parent / "maps.zarr"))


def loader_of(store, **more):
    return StudentLoader(store.path, device="cpu", **(SETTINGS | more))


def test_a_loop_of_ones_own_loses_what_the_trainer_does(store, tmp_path):
    """Views, labels and masks are those of `fkd train`, step by step."""
    told, models = [], []

    class Tells(Learner):
        def step(self, batch, step, **more):
            if not models:
                models.append(copy.deepcopy(self.student))
            told.append(super().step(batch, step, **more))
            return told[-1]

    config = TrainConfig.of(
        store=store.path, out=tmp_path / "run", student=PLAIN, device="cpu", val="none", lr=1e-9,
        log="none", loss=LOSS, **SETTINGS,
    )  # fmt: skip
    train_student(config, learner=Tells)
    criterion, found = DistillationLoss(LOSS), []
    for batch in loader_of(store, masks=True).batches():
        images, labels = batch
        assert isinstance(labels, GridLabels)
        found.append(criterion(models[0](images), labels, batch.truth).item())
    assert found == pytest.approx([loss.item() for loss in told], rel=1e-5)


def test_a_batch_of_maps_is_cut_moved_and_joined(store):
    batch = next(iter(loader_of(store, masks=True, normalized=False, stagger=0)))
    assert (batch.masks.dtype, tuple(batch.masks.shape)) == (torch.uint8, (8, 32, 32))
    assert batch.truth is batch.masks
    assert len(batch.labels) == len(batch) == 8
    assert batch.labels.grid == (8, 8)
    # Of so sharp a teacher the cells are what the masks say, but for those at an edge.
    cells = batch.masks[:, 2::4, 2::4].long()
    assert (batch.labels.top_class == cells)[cells < 3].float().mean() > 0.9
    some = batch.take(slice(1, 3)).to("cpu")
    both = ViewBatch.concatenate([some, batch.take([5])])
    assert torch.equal(both.masks, batch.masks[[1, 2, 5]])
    assert torch.equal(both.labels.dense(), batch.labels[[1, 2, 5]].dense())
    assert "GridLabels(8 views of 8x8 positions" in repr(batch)
    model = plain(3)
    whole = distillation_loss(
        model(batch.images.float()), batch.labels, batch.truth, hard_weight=0.5
    )
    assert whole.requires_grad


def test_masks_count_among_what_waits_in_memory(store, monkeypatch):
    batch = 8 * 3 * 32 * 32  # bytes of the views; the masks are a third as many
    monkeypatch.setattr("fkd.loader.planning.physical_memory", lambda: batch)
    assert loader_of(store, stagger=1).schedule.reach == 1
    with pytest.raises(FkdError, match=r"--stagger 1 .* keeps 1 batch waiting"):
        loader_of(store, stagger=1, masks=True)


def test_masks_that_nobody_asks_for_are_not_read(store, place):
    hidden = place / "hidden"
    (place / "trainannot").rename(hidden)
    try:
        batch = next(iter(loader_of(store)))
        assert batch.masks is None
        with pytest.raises(FkdError, match="has no masks, and the images of"):
            loader_of(store, masks=True)
    finally:
        hidden.rename(place / "trainannot")


def test_images_without_masks_have_no_truth(shared_store):
    with pytest.raises(FkdError, match="is of images without masks"):
        loader_of(shared_store, masks=True, scheme="topk3", batch_size=6)


def test_a_loader_is_pickled_with_its_masks(store):
    loader = pickle.loads(pickle.dumps(loader_of(store, masks=True)))
    assert next(iter(loader)).masks is not None


def test_crops_of_one_image_have_maps_too(store):
    dataset = CropDataset(store.path, crops_per_image=2, scheme="topk2")
    assert dataset.epoch_bytes == 8 * 2 * (9 + store.spec.labels.num_bytes)
    loader = DataLoader(dataset, batch_size=3, collate_fn=default_collate)
    images, labels = next(iter(loader))
    assert (len(images), len(labels), labels.grid) == (6, 6, (8, 8))
    by_loader = {
        (int(image), int(crop)): labels.dense()
        for batch in loader_of(store).batches()
        for image, crop, labels in zip(
            batch.image_index, batch.crop_index, [batch.labels[n] for n in range(8)], strict=True
        )
    }
    one = dataset[2]
    for row, crop in enumerate(one.crop_index.tolist()):
        assert torch.equal(one.labels[row].dense(), by_loader[2, crop])
    logits = plain(3)(images.float())
    assert soft_cross_entropy(logits, labels).shape == (6,)


def test_whole_images_come_with_masks_to_evaluate_on(store, place):
    config = LoaderConfig.of(store=store.path, **SETTINGS)
    loader = CenterViewLoader.beside(config, None, torch.device("cpu"))
    ((pixels, masks),) = list(loader)
    assert masks.shape == (3, *pixels.shape[2:])
    assert masks.dtype == torch.uint8
    assert set(masks.unique().tolist()) == {*range(len(CLASSES))}
    assert CenterViewLoader.beside(config, "none", torch.device("cpu")) is None
    with pytest.raises(FkdError, match="has no images with masks"):
        CenterViewLoader.beside(config, store.path, torch.device("cpu"))
    small = CenterViewLoader.beside(config, place / "val", torch.device("cpu"), eval_size=16)
    assert next(iter(small))[1].shape == (3, 16, 16)
