"""Stores of samples: drawn alike on every way, checked against a teacher, fed to a student."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.folders import tiny_label_config as label_config
from helpers.networks import TEACHER, TEACHER_CHOICE
from helpers.processes import refused

from fkd import (
    CheckConfig,
    CropDataset,
    FkdError,
    LabelStore,
    Scheme,
    StudentLoader,
    check_store,
    label_images,
    soft_cross_entropy,
)
from fkd.cli import main
from fkd.labels import misplaced
from fkd.store import Block, InspectedStore
from fkd.views import label_draws

FOUR = Scheme("samples", 4)
WORDS = f"label --teacher {TEACHER} --size 32 --crops 6 --block 5 --batch-size 7"
WORDS += " --compress samples4 --device cpu --workers 1"


@pytest.fixture(scope="module")
def labelled(shared_folder, tmp_path_factory):
    """A store of samples that the command line made, and what it said; no test may change it."""
    out = tmp_path_factory.mktemp("samples") / "s.zarr"
    words = [*WORDS.split(), "--out", str(out), str(shared_folder)]
    done = CliRunner().invoke(main, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return out, done


@pytest.fixture(scope="module")
def full(shared_folder, tmp_path_factory):
    """The probabilities of the same teacher, f32 [N, M, C]."""
    out = tmp_path_factory.mktemp("full") / "s.zarr"
    store = label_images(label_config(shared_folder, out, scheme=Scheme("full")))
    return torch.from_numpy(store.read_crops(range(6)).kept["log_prob"]).float().exp()


def samples_of(store):
    return np.sort(store.read_crops(range(6)).kept["index"], axis=2)


def test_the_command_says_how_samples_are_read(labelled):
    out, done = labelled
    assert "6 crops, samples4, " in done.stdout
    assert f"fkd train {out} --recipe small --crops-per-image 4 --compress samples4" in done.stderr


def test_samples_are_those_of_the_label_and_the_crop(labelled, full):
    found = samples_of(LabelStore.open(labelled[0]))
    draws = torch.from_numpy(label_draws(0, np.arange(18)[:, None], np.arange(6)).reshape(-1))
    index = torch.from_numpy(found.reshape(-1, 4).astype(np.int64))
    assert misplaced(full.reshape(-1, 3), index, draws).max() < 1e-3  # of float16
    assert len(np.unique(found.reshape(-1, 4), axis=0)) > 10  # of 15 sets of four of three classes


def test_other_batches_and_a_stop_give_the_same_samples(labelled, shared_folder, tmp_path):
    settings = {"scheme": FOUR, "block_images": 5, "batch_size": 32}
    config = label_config(shared_folder, tmp_path / "s.zarr", **settings)
    whole = samples_of(LabelStore.open(labelled[0]))
    assert np.array_equal(samples_of(label_images(config)), whole)
    for block in (1, 3):
        (tmp_path / f"s.zarr/done/c/{block}/0").unlink()
    assert LabelStore.open(config.out).pending_blocks() == [1, 3]
    assert np.array_equal(samples_of(label_images(config)), whole)


def test_a_teacher_is_asked_again_by_the_same_draws(labelled, shared_folder, tmp_path):
    out, teacher = labelled[0], (TEACHER_CHOICE,)
    report = check_store(CheckConfig(out, shared_folder, teacher=teacher, device="cpu"))
    assert report.ok
    said = next(v.detail for v in report.verdicts if v.part == "labels")
    assert "samples agree on 100.0% of" in said
    config = label_config(shared_folder, tmp_path / "s.zarr", scheme=FOUR)
    label_images(config)
    store = InspectedStore.open(config.out, writable=True)
    slab, facts = store.read_block(0), store.image_facts(0)
    others = {"index": (slab.kept["index"] + 1) % 3}
    facts = facts["size"], facts["status"], facts["content_hash"]
    store.commit_block(0, Block(slab.box, slab.flip, *facts, others))
    report = check_store(CheckConfig(config.out, shared_folder, teacher=teacher, device="cpu"))
    assert next(v.state for v in report.verdicts if v.part == "labels") == "FAILED"
    assert [v.part for v in report.verdicts if v.state == "FAILED"] == ["labels"]


def test_a_student_is_fed_the_samples(labelled):
    settings = {"batch_size": 6, "crops_per_image": 2, "epochs": 2, "device": "cpu", "workers": 1}
    loader = StudentLoader(labelled[0], scheme="samples4", **settings)
    index = samples_of(LabelStore.open(labelled[0]))
    batch = next(iter(loader))
    dense = batch.labels.dense(3)
    for row, (image, crop) in enumerate(zip(batch.image_index, batch.crop_index, strict=True)):
        counts = np.bincount(index[int(image), int(crop)], minlength=3)
        assert np.allclose(dense[row].numpy(), counts / 4)
    assert torch.isfinite(soft_cross_entropy(torch.randn(6, 3), batch.labels)).all()
    assert ", samples4, cpu)" in repr(StudentLoader(labelled[0], **settings))
    with pytest.raises(FkdError, match="--compress topk2 cannot be read from a store of samples4"):
        StudentLoader(labelled[0], scheme="topk2", **settings)
    with pytest.raises(FkdError, match="holds samples of labels, which say nothing"):
        CropDataset(labelled[0], scheme="samples4", crops_per_image=2, calibrate=True)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            ["--compress", "topk5", "--recipe", "small"],
            "holds 4 classes drawn from each label; give --compress samples4",
        ),
        (["--compress", "hard"], "give --compress samples4"),
        (
            ["--compress", "samples4", "--label-temperature", "2"],
            "label by `fkd label --temperature 2 --compress samples4`",
        ),
        (
            ["--compress", "samples4", "--min-confidence", "0.5", "--batch-size", "4"],
            "holds samples of labels, which say nothing of the teacher's confidence",
        ),
        (
            ["--compress", "samples4", "--calibrate"],
            "--calibrate: {store} holds samples of labels, which say nothing",
        ),
        (["--compress", "samples257"], "the N of samplesN is 257"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_samples_cannot_give_is_one_line(labelled, tmp_path, more, words):
    command = ["train", labelled[0], "--out", tmp_path / "run", "--device", "cpu", *more]
    assert words.replace("{store}", str(labelled[0])) in refused(*command, alone=False)
    assert not (tmp_path / "run").exists()
