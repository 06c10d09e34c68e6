"""Labelled images that are gone: refused, or left out by name and by count; never silently."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.folders import make_image_folder
from helpers.networks import STUDENT
from helpers.sources import files_of, write_tar

from fkd import (
    CheckConfig,
    CropDataset,
    FkdError,
    LabelStore,
    ShowConfig,
    StudentLoader,
    TrainConfig,
    check_store,
    show_store,
    train_student,
)
from fkd.feeding import CenterViewLoader
from fkd.images import ImageList, Keys
from fkd.originals import find_images, find_present

SETTINGS = {"crops_per_image": 2, "scheme": "topk3", "batch_size": 6, "device": "cpu", "workers": 1}
GONE = (0, 7, 17)  # rows of the store's 18 images


@pytest.fixture
def folder(tmp_path, shared_store):
    """A copy of the labelled images without three of them."""
    root = make_image_folder(tmp_path / "data")
    for row in GONE:
        (root / "train" / shared_store.image_paths()[row]).unlink()
    return root


def loader_of(store, folder, **more):
    return StudentLoader(store.path, images=folder, epochs=8, **(SETTINGS | more))


def visits(loader):
    return np.concatenate([batch.image_index.numpy() for batch in loader.batches()])


def test_what_is_missing_is_refused_or_dropped_by_name(shared_store, folder, capsys):
    with pytest.raises(
        FkdError, match=r"circle/000\.jpg is missing; .* with `fkd train --drop-missing`"
    ):
        loader_of(shared_store, folder)
    loader = loader_of(shared_store, folder, drop_missing=True, crops_per_image=1, batch_size=5)
    assert (
        f"warning: 3 of 18 labelled images are not in {folder / 'train'}: circle/000.jpg, "
        "square/001.jpg, triangle/005.jpg; they are dropped\n"
    ) in capsys.readouterr().err
    assert (loader.schedule.num_images, loader.total_steps) == (15, 24)  # 8 epochs of 15, by 5
    counts = np.bincount(visits(loader), minlength=18)
    assert set(counts[list(GONE)]) == {0}
    assert set(np.delete(counts, GONE)) == {8}
    assert "15 images" in repr(loader)


def test_the_views_and_labels_of_the_others_are_their_own(shared_store, folder):
    """What is dropped does not move the index of what follows it."""
    whole, some = (
        CropDataset(shared_store.path, images=images, drop_missing=drop, scheme="topk3")
        for images, drop in ((None, False), (folder, True))
    )
    there = np.delete(np.arange(18), GONE)
    assert len(some) == 15
    for position, row in enumerate(there.tolist()):
        one, other = some[position], whole[row]
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels.value, other.labels.value)
        assert torch.equal(one.image_index, other.image_index)
    assert some.targets.tolist() == whole.targets[there].tolist()


def test_a_folder_that_lacks_none_changes_nothing(shared_store, shared_folder, capsys):
    pair = [loader_of(shared_store, shared_folder, drop_missing=drop) for drop in (False, True)]
    assert "missing" not in capsys.readouterr().err
    for one, other in zip(*(loader.batches() for loader in pair), strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.image_index, other.image_index)
    assert pair[0].state_dict() == pair[1].state_dict()


def test_images_without_labels_are_not_used_and_counted(shared_store, folder, capsys):
    new = folder / "train" / "square" / "abc.jpg"
    shutil.copy(folder / "train" / "square" / "000.jpg", new)
    loader = loader_of(shared_store, folder, drop_missing=True)
    assert f"warning: 1 image of {folder / 'train'} is not in {shared_store.path}, so without labels" in (
        capsys.readouterr().err
    )  # fmt: skip
    assert len(set(visits(loader))) == 15


def test_another_size_is_refused_either_way(shared_store, folder):
    changed = folder / "train" / "square" / "002.jpg"
    changed.write_bytes(changed.read_bytes() + b"\0")
    for drop in (False, True):
        with pytest.raises(
            FkdError, match=r"(000\.jpg is missing|002\.jpg has \d+ bytes)"
        ) as error:
            loader_of(shared_store, folder, drop_missing=drop)
        assert "--drop-missing" not in str(error.value)


def test_where_most_are_gone_the_folder_is_doubted(shared_store, folder, tmp_path, capsys):
    for name in ("circle", "square"):
        shutil.rmtree(folder / "train" / name)
    loader_of(shared_store, folder, drop_missing=True)
    said = capsys.readouterr().err
    assert "13 of 18 labelled images are not in" in said
    assert "square/000.jpg" not in said  # three are named
    assert "002.jpg and 10 more; they are dropped. That is the most of them: is it the" in said
    others = make_image_folder(tmp_path / "others")
    for image in (others / "train").rglob("*.jpg"):
        image.rename(image.with_name("x" + image.name))
    for drop in (False, True):
        with pytest.raises(FkdError, match="does not hold the images that") as error:
            loader_of(shared_store, others, drop_missing=drop)
        assert "--drop-missing" not in str(error.value)


def test_only_images_of_the_part_are_missed(shared_store, folder, tmp_path, capsys):
    (tmp_path / "classes.txt").write_text("triangle\n")
    shutil.rmtree(folder / "train" / "circle")
    loader = loader_of(
        shared_store, folder, drop_missing=True, classes=tmp_path / "classes.txt", crops_per_image=1
    )
    assert "1 of 6 labelled images is not in" in capsys.readouterr().err
    assert sorted(set(visits(loader))) == [12, 13, 14, 15, 16]


def test_an_archive_without_some_is_a_folder_without_them(shared_store, folder, tmp_path):
    archive = write_tar(tmp_path / "some.tar", files_of(folder / "train"))
    pair = [loader_of(shared_store, place, drop_missing=True) for place in (folder, archive)]
    for one, other in zip(*(loader.batches() for loader in pair), strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.image_index, other.image_index)
    present = find_present(shared_store, archive)
    assert present.images.name(0) == "circle/000.jpg"
    with pytest.raises(FkdError, match=r"circle/000\.jpg: missing \(it is not in"):
        present.images.read(0)
    assert present.images.take(np.array([1])).read(0) == present.images.read(1)


def test_crops_are_selected_among_those_that_are_there(shared_store, folder, capsys):
    more = {"drop_missing": True, "min_confidence": 0.34}
    assert not set(visits(loader_of(shared_store, folder, **more))) & set(GONE)
    assert "of 90 crops selected" in capsys.readouterr().err


def test_a_state_is_of_the_images_that_were_there(shared_store, folder):
    loader = loader_of(shared_store, folder, drop_missing=True)
    state = json.loads(json.dumps(loader.state_dict()))
    loader_of(shared_store, folder, drop_missing=True).load_state_dict(state)
    (folder / "train" / "circle" / "003.jpg").unlink()
    fewer = loader_of(shared_store, folder, drop_missing=True)
    with pytest.raises(FkdError, match=r"missing images is 4 images \(sha256:.*the state has 3 im"):
        fewer.load_state_dict(state)


def test_validation_needs_none_of_them(shared_store, folder):
    config = StudentLoader(shared_store.path, images=folder, drop_missing=True, **SETTINGS)
    images = CenterViewLoader.beside(config._feed.config, None, torch.device("cpu"))
    assert images._images.root == folder / "val"


def train(store, out, folder, **more):
    config = TrainConfig.from_recipe(
        "fkd", store=store.path, images=folder, out=out, student=STUDENT, lr=0.5,
        eval_every=3.0, log=("none",), **(SETTINGS | {"epochs": 6, "drop_missing": True} | more)
    )  # fmt: skip
    return train_student(config)


def test_a_run_goes_on_with_the_same_images_or_not_at_all(shared_store, folder, tmp_path, capsys):
    whole = train(shared_store, tmp_path / "whole", folder)
    said = capsys.readouterr().err
    assert "15 images (3 more are missing), 3 classes" in said
    assert "15 steps" in said  # 6 epochs of 15 images, 6 views a step
    settings = json.loads((whole / "config.json").read_text())
    assert settings["missing_images"].startswith("3 images (sha256:")
    assert settings["chosen_images"] == "all"
    keys = [shared_store.image_paths()[row] for row in GONE]
    assert (whole / "missing.txt").read_text().splitlines() == keys
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert (lines[-1]["step"], lines[-1]["epoch"]) == (15, 6.0)
    cut = Path(shutil.copytree(whole, tmp_path / "cut"))
    (cut / "previous.pt").replace(cut / "last.pt")
    train(shared_store, cut, folder, resume=True)
    ends = [torch.load(run / "last.pt", weights_only=True)["student"] for run in (whole, cut)]
    assert all(torch.equal(values, ends[1][name]) for name, values in ends[0].items())
    (folder / "train" / "circle" / "003.jpg").unlink()
    with pytest.raises(
        FkdError, match=r"other images were missing: 4 images .* now, 3 images .* th"
    ):
        train(shared_store, cut, folder, resume=True)
    assert (cut / "missing.txt").read_text().splitlines() == keys


def test_a_run_of_an_older_fkd_missed_none(shared_store, shared_folder, folder, tmp_path):
    run = train(shared_store, tmp_path / "run", shared_folder, epochs=2)
    assert not (run / "missing.txt").exists()
    settings = json.loads((run / "config.json").read_text())
    del settings["missing_images"], settings["drop_missing"]
    (run / "config.json").write_text(json.dumps(settings))
    assert train(shared_store, run, shared_folder, epochs=2, resume=True) == run
    with pytest.raises(FkdError, match=r"were missing: 3 images .* now, none then"):
        train(shared_store, run, folder, epochs=2, resume=True)


def test_check_and_show_say_what_is_missing(shared_store, folder, tmp_path):
    report = check_store(CheckConfig(shared_store.path, folder, deep=True, device="cpu"))
    found = {verdict.part: verdict for verdict in report.verdicts}
    assert not report.ok
    assert "circle/000.jpg is missing; square/001.jpg is missing" in found["images"].detail
    assert "`fkd train --drop-missing` trains without what is missing" in found["images"].detail
    assert found["contents"].state == "ok"
    assert found["contents"].detail.startswith("every image that is there")
    page = show_store(ShowConfig(shared_store.path, tmp_path / "out", folder, samples=18, crops=1))
    assert (
        f"3 of 18 images are not in {folder / 'train'}: circle/000.jpg and 2 more"
        in page.read_text()
    )
    assert len(list(page.parent.glob("sample-*.png"))) == 15
    with pytest.raises(FkdError, match=r"--image circle/000\.jpg is not in"):
        show_store(
            ShowConfig(shared_store.path, tmp_path / "b", folder, chosen=("circle/000.jpg",))
        )


def test_names_are_found_wherever_they_are():
    names = Keys.of(["b", "a/ü", "", "c" * 300])
    assert names.places_of(Keys.of(["c" * 300, "x", "", "a/ü"])).tolist() == [3, -1, 2, 1]
    assert names.places_of(names).tolist() == [0, 1, 2, 3]
    assert names.places_of(Keys.of([])).tolist() == []


def test_the_order_of_images_is_the_stores(shared_store, folder, tmp_path):
    """A store that grew, or was merged, has not the order of its folder."""
    keys, sizes = shared_store.image_paths(), shared_store.num_bytes()
    turned = np.arange(18)[::-1]
    images = ImageList(folder, keys.take(turned), turned % 3, sizes[turned], ("c",))
    spec = replace(shared_store.spec, part=True)
    names = shared_store.class_names()
    store = LabelStore.create(tmp_path / "s.zarr", spec, images, turned % 3, names)
    whole = find_images(store, Path(shared_store.spec.images_root))
    assert list(whole.paths) == list(keys)[::-1]
    assert whole.read(17) == find_images(shared_store, None).read(0)
    assert find_present(store, folder).there.tolist() == [row not in GONE for row in turned]
