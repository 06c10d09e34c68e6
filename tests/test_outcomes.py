"""Whole runs at the edges: unusable images, teachers of the same shape, models that do not fit."""

import json

import pytest
import torch
import torchvision
from click.testing import CliRunner
from helpers.folders import label_config, make_image_folder
from torch import nn

from fkd import (
    FkdError,
    Preprocessing,
    Scheme,
    TeacherChoice,
    TrainConfig,
    label_images,
    train_student,
)
from fkd.cli import main
from fkd.loader import Schedule, student_batches
from fkd.sources import list_images
from fkd.students import StudentCard, build_student
from fkd.views import RenderPool

LABEL = ["label", "--teacher", "resnet18", "--teacher-weights", "none", "--size", 32]
LABEL += ["--crops", 2, "--device", "cpu"]


def train(store, out, **changes):
    settings = {
        "student": "squeezenet1_1",
        "crops_per_image": 2,
        "scheme": Scheme("topk", 3),
        "epochs": 2,
        "batch_size": 8,
        "device": "cpu",
    }
    settings |= changes
    return train_student(TrainConfig.from_recipe("fkd", store=store.path, out=out, **settings))


def losses(run):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines if json.loads(line)["kind"] == "train"]


def weights(tmp_path, name, seed):
    torch.manual_seed(seed)
    torch.save(torchvision.models.resnet18(num_classes=3).state_dict(), tmp_path / name)
    return TeacherChoice("resnet18", str(tmp_path / name), size=32)


def test_a_student_never_meets_an_unusable_image(image_folder, tmp_path):
    bad = image_folder / "train" / "square" / "002.jpg"
    bad.write_bytes(b"no image")
    store = label_images(label_config(image_folder, tmp_path / "s.zarr", max_bad=0.1))
    images = list_images(image_folder / "train")
    schedule = Schedule(17, 6, crops_per_image=2, batch_size=34, epochs=4, seed=0)
    with RenderPool(2) as pool:
        batches = list(student_batches(pool, store, images, schedule))
    unusable = images.paths.index("square/002.jpg")
    for batch in batches:
        assert sorted(batch.decoded.tolist()) == [i for i in range(18) if i != unusable]
    run = train(store, tmp_path / "run", epochs=4)
    config = json.loads((run / "config.json").read_text())
    assert config["total_steps"] == round(4 * 17 / 8)


def test_too_many_unusable_images_end_the_command(image_folder, tmp_path, run_fkd):
    for number in range(3):
        (image_folder / "train" / "square" / f"00{number}.jpg").write_bytes(b"")
    done = run_fkd(*LABEL, image_folder, "--out", "s.zarr")
    assert "--max-bad 0.01" in done.error_line()
    done = run_fkd(*LABEL, image_folder, "--out", "s.zarr", "--max-bad", "0.5")
    assert done.code == 0, done.err
    assert done.err.count("square/00") == 3
    assert "3 images unusable" in run_fkd("info", "s.zarr").out


def test_another_teacher_of_the_same_shape_is_refused(image_folder, tmp_path):
    out = tmp_path / "s.zarr"
    label_images(label_config(image_folder, out, teacher=weights(tmp_path, "a.pt", 1)))
    with pytest.raises(FkdError, match="other settings: --teacher-weights is"):
        label_images(label_config(image_folder, out, teacher=weights(tmp_path, "b.pt", 2)))


def test_other_teacher_classes_are_refused(image_folder, tmp_path):
    choices = []
    for name, lines in (("one", "circle square triangle"), ("two", "square circle triangle")):
        (tmp_path / name).write_text(lines.replace(" ", "\n"))
        choices.append(TeacherChoice("resnet18", "none", classes_file=tmp_path / name, size=32))
    out = tmp_path / "s.zarr"
    label_images(label_config(image_folder, out, teacher=choices[0]))
    with pytest.raises(FkdError, match="other settings"):
        label_images(label_config(image_folder, out, teacher=choices[1]))


class Counting(nn.Module):
    """A student that counts what it is shown; it needs nothing but pixels."""

    def __init__(self):
        super().__init__()
        self.seen = 0
        self.head = nn.Linear(3, 3)

    def forward(self, pixels):
        self.seen += len(pixels) if self.training else 0
        return self.head(pixels.mean((2, 3)))


@pytest.mark.parametrize(("epochs", "m", "batch"), [(3, 4, 20), (5, 1, 7), (0.5, 2, 16)])
def test_the_student_sees_the_exact_number_of_views(
    shared_store, tmp_path, monkeypatch, epochs, m, batch
):
    student = Counting()
    monkeypatch.setattr("fkd.training.building.build_student", lambda card: student)
    train(shared_store, tmp_path / "run", epochs=epochs, crops_per_image=m, batch_size=batch)
    assert student.seen == max(1, round(epochs * 18 / batch)) * batch


def outcome(*args):
    """Run in process; a traceback is the test's own."""
    result = CliRunner().invoke(main, [str(a) for a in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.mark.parametrize("teacher", ["maxvit_t", "alexnet"])
def test_a_teacher_that_rejects_the_size_is_an_error_line(tmp_path, teacher):
    folder = make_image_folder(tmp_path / "d", 1, 0)
    args = [*LABEL, folder, "--size", 16, "--teacher", teacher, "--out", tmp_path / "s.zarr"]
    result = outcome(*args)
    assert result.exit_code == 2
    assert f"{teacher} cannot" in result.stderr
    assert not (tmp_path / "s.zarr").exists()


@pytest.mark.parametrize(
    "more",
    [["--student", "alexnet", "--batch-size", 12], ["--student", "resnet18", "--batch-size", 1]],
    ids=str,
)
def test_a_student_that_rejects_the_views_is_an_error_line(shared_store, tmp_path, more):
    args = ["train", shared_store.path, "--compress", "topk3", "--device", "cpu", "--epochs", 1]
    result = outcome(*args, "--crops-per-image", 1, "--out", tmp_path / "run", *more)
    assert result.exit_code == 2
    assert "fkd: error: student" in result.stderr
    assert not (tmp_path / "run").exists()


def test_eval_refuses_like_the_others(shared_folder, tmp_path):
    result = outcome("eval", tmp_path / "x.pt", shared_folder, "--batch-size", 0)
    assert result.exit_code == 2
    assert result.stderr.startswith("fkd: error:")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["nope"], "No such command 'nope'"),
        (["--nope"], "No such option '--nope'"),
        (["label"], "Missing argument 'IMAGES'; see `fkd label --help`"),
        (["train", "--lr", "fast"], "'fast' is not a valid float; see `fkd train --help`"),
    ],
    ids=str,
)
def test_a_mistyped_command_is_one_line(args, said):
    result = outcome(*args)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.startswith("fkd: error: ")
    assert result.stderr.count("\n") == 1


def test_a_transformer_is_built_for_the_size_of_the_views():
    model = build_student(StudentCard("vit_b_32", ("a", "b", "c"), Preprocessing(32)))
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 3)


def test_a_damaged_val_image_counts_as_missed(image_folder, shared_store, tmp_path, run_fkd):
    damaged = sorted((image_folder / "val").rglob("*.jpg"))[0]
    damaged.write_bytes(damaged.read_bytes()[:100])
    run = train(shared_store, tmp_path / "run", epochs=1, val=image_folder / "val")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    count = len(list_images(image_folder / "val"))
    assert [x["num_unusable"] for x in lines if x["kind"] == "eval"] == [1]
    done = run_fkd("eval", run / "last.pt", image_folder / "val")
    assert f"({count:,} images, 1 unusable)" in done.out
    assert f"counted as missed: {damaged}" in done.err


@pytest.mark.parametrize(
    "content", [{"checkpoint_version": 1}, torch.zeros(3), {"student": {}}], ids=str
)
def test_a_file_that_is_no_checkpoint_is_an_error_line(tmp_path, shared_folder, content):
    torch.save(content, tmp_path / "x.pt")
    result = outcome("eval", tmp_path / "x.pt", shared_folder)
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"fkd: error: checkpoint {tmp_path}/x.pt: not a checkpoint of fkd train")
    assert result.exit_code == 2
