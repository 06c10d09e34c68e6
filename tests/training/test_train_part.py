"""Training on a part of a store: which images that is, and that a run which goes on takes the same."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.folders import label_config
from helpers.networks import STUDENT
from helpers.processes import refused

from fkd import FkdError, Part, StudentLoader, TrainConfig, label_images, train_student
from fkd.config import Selection
from fkd.loader import chosen_images, sample_batches, sample_labels, select_crops, student_batches
from fkd.originals import find_images
from fkd.views import RenderPool

SETTINGS = {"crops_per_image": 2, "scheme": "topk3", "batch_size": 6, "device": "cpu", "workers": 1}


@pytest.fixture
def listed(tmp_path):
    (tmp_path / "part.txt").write_text(
        "circle/004.jpg\nsquare/000.jpg\nsquare/005.jpg\ntriangle/001.jpg\n"
    )
    return tmp_path / "part.txt"


ROWS = [4, 6, 11, 13]  # of these among the 18 images


def test_a_loader_takes_the_images_of_its_part_alone(shared_store, listed):
    """Each view is one of theirs, and all of them come equally often."""
    loader = StudentLoader(shared_store.path, subset=listed, epochs=12, stagger=0, **SETTINGS)
    assert (loader.total_steps, loader.schedule.num_images) == (12, 4)
    images = find_images(shared_store, None)
    rows = np.array(ROWS)
    with RenderPool(1) as pool:
        batches = list(student_batches(pool, shared_store, images, loader.schedule, chosen=rows))
        with pytest.raises(ValueError, match="schedule is of 4 images, not of 18"):
            next(student_batches(pool, shared_store, images, loader.schedule))
    visits = np.concatenate([batch.decoded for batch in batches])
    assert (np.bincount(visits, minlength=18)[ROWS] == 9).all()
    assert len(visits) == 36
    for (_, labels), batch in zip(loader.batches(), batches, strict=True):
        expected = shared_store.spec.labels.restore(batch.kept)
        torch.testing.assert_close(labels.value, expected.value)  # re-norm divides by their sum
    assert repr(loader).endswith("topk3, 4 images, cpu)")
    assert loader.classes == shared_store.class_names()


def test_a_share_is_the_same_when_labelled_and_when_trained_on(
    shared_folder, shared_store, tmp_path
):
    part = Part("50%")
    of_store = chosen_images(part, shared_store)
    assert np.bincount(of_store // 6).tolist() == [3, 3, 3]
    store = label_images(label_config(shared_folder, tmp_path / "half.zarr", part=part))
    paths = shared_store.image_paths()
    assert list(store.image_paths()) == [paths[n] for n in of_store]


def test_only_the_images_of_the_part_are_looked_at(shared_store):
    rows = np.array(ROWS)
    images = find_images(shared_store, None)
    with RenderPool(1) as pool:
        views = torch.cat(list(sample_batches(pool, shared_store, images, 1000, 64, chosen=rows)))
    assert len(views) == 4 * 6
    sample = sample_labels(shared_store, rows)
    assert (sample.num_images, len(sample.targets)) == (4, 24)
    assert sorted({*sample.targets.tolist()}) == [0, 1, 2]


def test_crops_are_selected_among_those_of_the_part(shared_store):
    rows = np.array(ROWS)
    every = select_crops(Selection(min_confidence=0.34), shared_store)
    some = select_crops(Selection(min_confidence=0.34), shared_store, rows)
    assert some.num_images == 4
    for number in range(6):
        assert (some.taken(number) == every.taken(number)[rows]).all()


def train(store, out, **more):
    config = TrainConfig.from_recipe(
        "fkd", store=store.path, out=out, val="none", student=STUDENT, lr=0.5,
        eval_every=3.0, **(SETTINGS | {"epochs": 9} | more)
    )  # fmt: skip
    return train_student(config)


def test_a_run_on_a_part_goes_on_with_the_same_images(shared_store, listed, tmp_path, capsys):
    """Its weights are those of a run without a stop; a list of other images is refused."""
    whole = train(shared_store, tmp_path / "whole", subset=listed)
    said = capsys.readouterr().err
    assert f"4 of 18 images (--subset {listed}), 3 classes" in said
    assert "6 steps" in said  # 9 epochs of 4 images, 6 views a step
    cut = Path(shutil.copytree(whole, tmp_path / "cut"))
    (cut / "previous.pt").replace(cut / "last.pt")
    moved = tmp_path / "moved.txt"
    listed.replace(moved)
    train(shared_store, cut, subset=moved, resume=True)
    ends = [torch.load(run / "last.pt", weights_only=True) for run in (whole, cut)]
    assert ends[0]["step"] == ends[1]["step"] == 6
    for name, values in ends[0]["student"].items():
        assert torch.equal(values, ends[1]["student"][name]), name
    with pytest.raises(
        FkdError, match="--subset and --classes choose is all, the run has 4 images"
    ):
        train(shared_store, cut, resume=True)
    moved.write_text(moved.read_text().replace("001", "002"))
    with pytest.raises(
        FkdError, match=r"choose is 4 images \(sha256:.*, the run has 4 images \(sha"
    ):
        train(shared_store, cut, subset=moved, resume=True)


def test_a_run_of_an_older_fkd_took_all(shared_store, tmp_path):
    run = train(shared_store, tmp_path / "run", epochs=3)
    settings = json.loads((run / "config.json").read_text())
    for name in ("subset", "classes", "chosen_images"):
        del settings[name]
    (run / "config.json").write_text(json.dumps(settings))
    assert train(shared_store, run, epochs=3, resume=True) == run
    with pytest.raises(FkdError, match="choose is 9 images"):
        train(shared_store, run, epochs=3, subset=0.5, resume=True)


def test_classes_of_a_part_keep_the_outputs(shared_store, tmp_path):
    (tmp_path / "two.txt").write_text("square\ncircle\n")
    loader = StudentLoader(shared_store.path, classes=tmp_path / "two.txt", epochs=4, **SETTINGS)
    assert loader.schedule.num_images == 12
    assert len(loader.classes) == 3


def test_a_part_that_does_not_fit_is_refused_before_torch_is_loaded(shared_store, listed):
    command = ["train", shared_store.path, "--crops-per-image", 2, "--batch-size", 4]
    command += ["--compress", "topk3", "--subset"]
    listed.write_text("circle/004.jpg\nno/such.jpg\n")
    message = refused(*command, listed)
    assert f"--subset {listed}, line 2: no/such.jpg is no image of {shared_store.path}" in message
    assert "--subset 200% is no share of the images" in refused(*command, "200%")
    assert "nothing.txt: no such file" in refused(*command, "nothing.txt")
