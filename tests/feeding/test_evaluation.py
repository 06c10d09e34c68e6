"""The images that a loop evaluates on are those of `fkd train`, each once, whoever shares them out."""

import shutil

import pytest
import torch
from helpers.folders import CLASSES

from fkd import FkdError
from fkd.config import LoaderConfig
from fkd.feeding import CenterViewLoader

CPU = torch.device("cpu")


def build(store, val=None, batch_size=4, **given):
    config = LoaderConfig.of(store=store.path, scheme="topk3", batch_size=batch_size, workers=1)
    return CenterViewLoader.beside(config, val, CPU, **given)


def test_each_image_comes_once_and_as_often_as_it_is_asked_for(shared_store):
    loader = build(shared_store)
    for _ in range(2):
        batches = list(loader)
        assert len(batches) == len(loader) == 2
        assert torch.cat([targets for _, targets in batches]).tolist() == [0, 0, 1, 1, 2, 2]
    assert {tuple(images.shape) for images, _ in batches} == {(3, 3, 32, 32)}
    assert build(shared_store, "none") is None


@pytest.mark.parametrize(("batch_size", "num_ranks"), [(4, 2), (4, 4), (8, 5), (20, 6)])
def test_ranks_have_equally_many_batches_and_no_image_twice(shared_store, batch_size, num_ranks):
    alone = torch.cat([images for images, _ in build(shared_store)])
    ranks = [
        list(build(shared_store, batch_size=batch_size, rank=rank, num_ranks=num_ranks))
        for rank in range(num_ranks)
    ]
    assert len({len(batches) for batches in ranks}) == 1
    assert all(len(targets) for batches in ranks for _, targets in batches)
    together = torch.cat([images for batches in ranks for images, _ in batches])
    assert len(together) == len(alone) == 6
    matches = (together[:, None] == alone).flatten(2).all(dim=2)
    assert torch.equal(matches.sum(dim=0), torch.ones(6, dtype=torch.int64))


def test_an_image_that_cannot_be_decoded_is_named_and_left_out(
    shared_store, shared_folder, tmp_path, capsys
):
    val = shutil.copytree(shared_folder / "val", tmp_path / "val")
    (val / CLASSES[1] / "000.jpg").write_bytes(b"no image")
    targets = torch.cat([targets for _, targets in build(shared_store, val)])
    assert targets.tolist() == [0, 0, 1, 2, 2]
    assert f"left out: {val / CLASSES[1] / '000.jpg'}: damaged" in capsys.readouterr().err


def test_a_student_is_evaluated_at_the_size_that_it_sees_last(shared_store):
    config = LoaderConfig.of(store=shared_store.path, scheme="topk3", size="32:64")
    sizes = [
        CenterViewLoader.beside(config, None, CPU, **given) for given in ({}, {"eval_size": 48})
    ]
    assert [next(iter(loader))[0].shape[-1] for loader in sizes] == [64, 48]


def test_fewer_images_than_ranks_are_refused(shared_store):
    with pytest.raises(FkdError, match="6 images for 7 processes to evaluate on; name a folder"):
        build(shared_store, batch_size=8, rank=0, num_ranks=7)
