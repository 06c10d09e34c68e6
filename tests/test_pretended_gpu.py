"""Whole commands on a GPU that is none: they say what they say on the CPU, and no batch is waited for."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.folders import tiny_label_config
from helpers.lines import CHARACTERS, line_config, make_line_folder
from helpers.lines import student as line_student
from helpers.map_students import plain
from helpers.masked import CLASSES as MASKED_CLASSES
from helpers.masked import make_masked_folder, masked_config
from helpers.networks import TEACHER_CHOICE, student
from helpers.pretended_gpu import GPU, pretended_gpu
from torch import nn

from fkd import (
    AddTeacherConfig,
    CheckConfig,
    TeacherChoice,
    ViewPolicy,
    add_teacher,
    check_store,
    label_images,
)
from fkd.config import MixPolicy, NetworkInput, Scheme, Target
from fkd.evaluation import judge
from fkd.evaluation.images import lined_images, masked_images
from fkd.machine import place
from fkd.sources import list_images
from fkd.students import StudentCard

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")

VECTORS = (
    Target("0", "f16", name="map"), Target("0", "int8", "mean", "mean"), Target("features", "pca2"),
)  # fmt: skip
MIXED = ViewPolicy(mix=MixPolicy(mixup=1.0, cutmix=1.0))
AWAY = TeacherChoice("test_pretended_gpu:away", size=32)
LOOKS = {  # where each teacher is opened and looked at, and each scheme learns, once
    "labelling/preflight.py: sample_accuracy", "labelling/preflight.py: _some_positions",
    "labelling/line_look.py: add", "labelling/learning.py: learned", "machine/device.py: place",
    "models/weights.py: weights_hash", "teachers/teacher.py: fault",
    "truth/confusion.py: counts", "vectors/components.py: <genexpr>",
    "views/render_cpu.py: _scale_and_shift", "views/render_device.py: _trial",
}  # fmt: skip


class Away(nn.Module):
    """Says what it says on the CPU in double precision, as one does that asks another library."""

    fkd_identity = "away"

    def forward(self, pixels):
        return pixels.cpu().double().mean(dim=(2, 3))


def away():
    return Away()


@pytest.fixture(scope="module")
def places(shared_folder, tmp_path_factory):
    """Folders with classes, masks and texts."""
    return {
        "photos": shared_folder,
        "masked": make_masked_folder(tmp_path_factory.mktemp("masked")),
        "lines": make_line_folder(tmp_path_factory.mktemp("lines")),
    }


def kept(store):
    return store.read_images(range(store.spec.num_images), store.spec.num_crops).kept


CASES = {
    "labels": (tiny_label_config, "photos", {"scheme": Scheme.parse("topk2-std")}),
    "samples": (tiny_label_config, "photos", {"scheme": Scheme.parse("samples2")}),
    "teachers": (tiny_label_config, "photos", {"teacher": (TEACHER_CHOICE, TEACHER_CHOICE)}),
    "mixed": (tiny_label_config, "photos", {"views": MIXED, "render": "device"}),
    "vectors": (tiny_label_config, "photos", {"targets": VECTORS}),
    "maps": (masked_config, "masked", {}),
    "coarser maps": (masked_config, "masked", {"map_stride": 8, "scheme": Scheme("full")}),
    "lines": (line_config, "lines", {}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_store_is_the_same_and_no_batch_is_waited_for(case, places, tmp_path, monkeypatch):
    configured, folder, settings = CASES[case]
    settings = {"render": "cpu", "num_crops": 4} | settings
    expected = label_images(configured(places[folder], tmp_path / "cpu.zarr", **settings))
    with pretended_gpu(monkeypatch) as waits:
        config = configured(places[folder], tmp_path / "gpu.zarr", device="cuda", **settings)
        found = label_images(replace(config, batch_size=5))
    assert {*waits} <= LOOKS
    one, other = (kept(store) for store in (expected, found))
    assert {name: np.array_equal(values, other[name]) for name, values in one.items()} == (
        dict.fromkeys(one, True)
    )


def test_a_function_may_answer_on_the_cpu(shared_folder, tmp_path, monkeypatch):
    settings = {"teacher": AWAY, "targets": (Target(),), "render": "cpu"}
    expected = label_images(tiny_label_config(shared_folder, tmp_path / "cpu.zarr", **settings))
    with pretended_gpu(monkeypatch):
        found = label_images(
            tiny_label_config(shared_folder, tmp_path / "gpu.zarr", device="cuda", **settings)
        )
    for name, values in kept(expected).items():
        assert np.array_equal(values, kept(found)[name])


def test_a_teacher_joins_others(shared_store, shared_folder, tmp_path, monkeypatch):
    config = AddTeacherConfig(
        shared_store.path, TEACHER_CHOICE, tmp_path / "cpu.zarr", shared_folder, batch_size=5,
        render="cpu", device="cpu",
    )  # fmt: skip
    expected = add_teacher(config)
    with pretended_gpu(monkeypatch) as waits:
        found = add_teacher(replace(config, out=tmp_path / "gpu.zarr", device="cuda"))
    assert {*waits} <= LOOKS
    for name, values in kept(expected).items():
        assert np.array_equal(values, kept(found)[name])


@pytest.mark.parametrize("case", ["labels", "samples", "vectors", "maps", "lines"])
def test_a_teacher_is_asked_again(case, places, tmp_path, monkeypatch):
    configured, folder, settings = CASES[case]
    config = configured(places[folder], tmp_path / "s.zarr", num_crops=4, **settings)
    label_images(config)
    with pretended_gpu(monkeypatch):
        report = check_store(CheckConfig(config.out, teacher=config.teachers, device="cuda"))
    asked = {v.part: v.state for v in report.verdicts if v.part in ("labels", "teacher")}
    assert asked == {"labels": "ok"} | ({"teacher": "ok"} if settings.get("targets") else {})


@pytest.mark.parametrize("case", ["classes", "features", "maps", "lines"])
def test_a_student_is_judged_alike_and_no_batch_is_waited_for(case, places, monkeypatch):
    torch.manual_seed(0)
    seen, truth = NetworkInput(32), None
    if case == "maps":
        card = StudentCard("it", MASKED_CLASSES, seen, maps=True)
        network, (images, truth) = plain(3), masked_images(places["masked"], card.classes)
    elif case == "lines":
        card = StudentCard("it", CHARACTERS, NetworkInput((16, 64)), lines=True)
        network, (images, truth) = line_student(5), lined_images(places["lines"], card.classes)
    else:
        images, network = list_images(places["photos"], split="train"), student(3)
        card = StudentCard("it", images.classes, seen, learned_classes=case == "classes")
    expected = judge(network, card, images, 2, 2, truth=truth)
    waited = []
    for batch_size in (1, len(images)):
        with pretended_gpu(monkeypatch) as waits:
            model = place(copy.deepcopy(network), GPU)
            found = judge(model, card, images, batch_size, 2, truth=truth)
            waits.pop("losses/lines.py: text_loss", None)  # CTC waits for the lengths of texts
            waited.append(dict(waits))
        assert found.numbers == pytest.approx(expected.numbers, rel=1e-5)
    assert waited[0] == waited[1]
