"""What a teacher returns is judged before a softmax makes labels of it, and in every batch."""

import re

import numpy as np
import pytest
import torch
import torchvision
from helpers.folders import label_config

from fkd import CheckConfig, FkdError, TeacherChoice, check_store, label_images
from fkd.config import Preprocessing
from fkd.labelling.preflight import SampleAccuracy
from fkd.teachers import not_logits, open_source, suspicion

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = 4 * torch.randn(64, 1000, generator=GENERATOR)
FEW = torch.randn(64, 3, generator=GENERATOR)
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    "outputs",
    [
        LOGITS.softmax(1),
        LOGITS.softmax(1).bfloat16().float(),
        FEW.half().softmax(1).float(),
        FEW[:1].softmax(1),
        torch.full((8, 2), 0.5),
        torch.eye(5),
    ],
)
def test_probabilities_are_no_logits(outputs):
    assert "returns probabilities" in not_logits(outputs)


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        (LOGITS, None),
        (FEW, None),
        (LOGITS.log_softmax(1), None),
        (FEW.log_softmax(1), None),
        (20 + 2 * FEW, None),  # a scaled cosine is positive
        (torch.rand(1, 1, generator=GENERATOR), None),
        (torch.full((4, 3), float("nan")), None),
        (torch.empty(0, 3), None),
        (FEW.sigmoid(), "sigmoids .* rows sum to "),
        (LOGITS.relu(), "after a ReLU"),
        (1e6 * FEW, "no usual logits"),
        (FEW[:1].expand(9, 3), "the same for all 9 views"),
        (torch.nn.functional.normalize(LOGITS), "nearly even labels"),
        (torch.cat([FEW, torch.full((64, 1), -1e9)], dim=1), None),  # a class that is masked
    ],
)
def test_what_is_odd_about_outputs_is_said(outputs, words):
    assert not_logits(outputs) is None
    said = suspicion(outputs)
    assert said is None if words is None else re.search(words, said)


def test_outputs_are_judged_at_the_temperature():
    """Cosines, as CLIP's are before they are scaled, become logits by it, and logits of it cosines."""
    cosines = 0.2 + LOGITS / 130
    assert "sigmoids" in suspicion(cosines)
    assert "nearly even" in suspicion(cosines - 0.2)
    assert suspicion(cosines, 0.01) is None
    assert suspicion(cosines - 0.2, 0.01) is None
    assert suspicion(LOGITS, 4) is None
    assert "at a temperature of 40; scale" in suspicion(LOGITS, 40)
    assert "nearly even" in suspicion(20 + LOGITS, 40)
    assert "one class each" in suspicion(LOGITS, 0.001)


@pytest.fixture
def teacher(tmp_path, monkeypatch):
    """A linear teacher at 16 px, and a way to say what becomes of its logits."""

    def make(name, forward, classes=3):
        (tmp_path / f"{name}.py").write_text(
            "import torch\n"
            "class Teacher(torch.nn.Module):\n"
            "    def __init__(self):\n"
            "        super().__init__()\n"
            "        with torch.random.fork_rng():\n"
            "            torch.manual_seed(0)\n"
            f"            self.head = torch.nn.Linear(3 * 16 * 16, {classes})\n"
            "    def forward(self, x):\n"
            "        logits = self.head(x.flatten(1))\n"
            f"        return {forward}\n"
        )
        monkeypatch.syspath_prepend(str(tmp_path))
        return TeacherChoice(f"{name}:Teacher", size=16)

    return make


def contents(path):
    return {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}


def test_a_teacher_of_probabilities_is_refused_and_its_store_found(
    shared_folder, shared_store, tmp_path, teacher, monkeypatch
):
    soft, out = teacher("soft", "logits.softmax(1)"), tmp_path / "s.zarr"
    with pytest.raises(
        FkdError, match=r"soft:Teacher returns probabilities, .* rows sum to 1 to 1"
    ):
        label_images(label_config(shared_folder, out, teacher=soft))
    assert not out.exists()
    label_images(label_config(shared_folder, out, teacher=teacher("plain", "logits")))
    before = contents(out)
    with pytest.raises(FkdError, match="returns probabilities"):
        label_images(label_config(shared_folder, out, teacher=soft, overwrite=True))
    assert contents(out) == before
    with monkeypatch.context() as once:
        once.setattr("fkd.teachers.outputs.not_logits", lambda _: None)  # as it was
        label_images(label_config(shared_folder, out, teacher=soft, overwrite=True))
    verdicts = check_store(CheckConfig(out, teacher=(soft,), device="cpu")).verdicts
    labels = next(v for v in verdicts if v.part == "labels")
    assert labels.state == "FAILED"
    assert "top-1 agrees on 100.0%" in labels.detail
    assert "soft:Teacher returns probabilities" in labels.detail


def test_log_probabilities_give_the_labels_of_the_logits(shared_folder, tmp_path, teacher, capsys):
    stores = [
        label_images(
            label_config(shared_folder, tmp_path / f"{name}.zarr", teacher=teacher(name, forward))
        )
        for name, forward in (("raw", "logits"), ("logged", "logits.log_softmax(1)"))
    ]
    index = [store.read_block(0).kept["index"] for store in stores]
    assert np.array_equal(*index)
    assert "warning: teacher logged:Teacher return" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "forward", "words"),
    [
        ("fewer", "logits[:, 1:] if len(x) == 7 else logits", r"\[7, 2\] for .*7 views, where \[7, 3\]"),
        ("squeezes", "logits.squeeze()", r"returned \[3\] for a batch of 1 view, where \[1, 3\]"),
        ("wraps", "[x] if len(x) == 7 else logits", r"returned \[7, 3, 16, 16\] for a batch of 7 views"),
    ],
)  # fmt: skip
def test_every_batch_has_the_shape_of_the_first(
    shared_folder, tmp_path, teacher, name, forward, words
):
    """18 images of 6 crops are 15 batches of 7 views and one of 3; of 107 views the last has one."""
    batch = 107 if name == "squeezes" else 7
    config = label_config(
        shared_folder, tmp_path / "s.zarr", teacher=teacher(name, forward), batch_size=batch
    )
    with pytest.raises(
        FkdError, match=f"teacher {name}:Teacher .*{words}.* image .*, crop"
    ) as error:
        label_images(config)
    assert "begins with image " in str(error.value)


def accuracy(hits, count, classes, **more):
    return SampleAccuracy("t", hits, count, classes, Preprocessing(96), **more).warnings


def test_warnings_are_of_what_is_known():
    assert accuracy(3, 3, 3) == []  # guessing finds them all now and then
    assert accuracy(60, 60, 3) == []
    assert "guessing among 3 classes" in accuracy(20, 60, 3)[0]
    assert "the folder has one class" in " ".join(accuracy(9, 9, 1))
    assert "guessing" not in " ".join(accuracy(9, 9, 1))
    assert "can be used" in accuracy(0, 0, 3)[0]
    assert "guessing" not in " ".join(accuracy(0, 0, 3))
    assert "sees 96 px, and its weights were made for 224 px" in accuracy(9, 9, 3, made_for=224)[0]
    assert accuracy(9, 9, 3, made_for=96) == []


def test_the_size_that_weights_were_made_for(tmp_path):
    """A file of as many outputs as the library's own weights is taken to be trained as they were."""
    for outputs in (1000, 3):
        model = torchvision.models.squeezenet1_1(num_classes=outputs)
        torch.save(model.state_dict(), tmp_path / f"{outputs}.pt")
    found = {
        weights: open_source(TeacherChoice("squeezenet1_1", str(weights), size=96), 3, CPU).made_for
        for weights in ("none", tmp_path / "1000.pt", tmp_path / "3.pt")
    }
    assert list(found.values()) == [None, 224, None]


def test_a_teacher_that_changes_its_mind_is_said_to(shared_folder, tmp_path, teacher):
    """It is asked again for the message: its probabilities may be right then."""
    forward = "logits * next(vars(self).setdefault('by', iter([1, 1, float('nan'), *[1] * 99])))"
    config = label_config(shared_folder, tmp_path / "s.zarr", teacher=teacher("moody", forward))
    words = r"image .*crop 0: its .* no distribution, and are one when the teacher is asked again"
    with pytest.raises(FkdError, match=words):
        label_images(config)


@pytest.mark.parametrize("second", ["no numbers", "names"])
def test_of_several_teachers_the_one_is_named(shared_folder, tmp_path, teacher, second):
    (tmp_path / "names").write_text("circle\nsquare\n")
    first = TeacherChoice("squeezenet1_1", "none", size=32)
    if second == "names":
        other = TeacherChoice("squeezenet1_1", "none", classes_file=tmp_path / "names", size=32)
        words = "^teacher 2 of 2, squeezenet1_1: --teacher-classes .* has 2 names, teacher squeeze"
    else:
        other = teacher("nans", "logits * float('nan')")
        words = "^teacher 2 of 2, nans:Teacher, image .*crop 0: its probabilities"
    with pytest.raises(FkdError, match=words):
        label_images(label_config(shared_folder, tmp_path / "s.zarr", teacher=(first, other)))
