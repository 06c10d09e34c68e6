"""Labelling: classes are mapped, bad images are skipped, and a run that is stopped goes on."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import torchvision
from conftest import fkd_environment, label_config, make_image_folder

from fkd import FkdError, LabelStore, Scheme, TeacherChoice, ViewPolicy, label_images
from fkd.crops import empty_views, normalize, render
from fkd.images import decode, list_images
from fkd.info import bad_images


def blocks_of(store):
    return [store.read_block(number) for number in range(store.spec.num_blocks)]


def same_labels(one, other):
    for a, b in zip(blocks_of(one), blocks_of(other), strict=True):
        assert np.array_equal(a.box, b.box)
        assert np.array_equal(a.flip, b.flip)
        for name in a.kept:
            gap = np.abs(a.kept[name].astype(float) - b.kept[name].astype(float))
            assert gap.max() <= (1 if name == "code" else 0)


def test_a_killed_run_goes_on_and_keeps_what_was_done(image_folder, tmp_path):
    command = [sys.executable, "-m", "fkd", "label", "--teacher", "resnet18", "--size", "32"]
    command += ["--teacher-weights", "none", "--block", "3", "--crops", "120", "--device", "cpu"]
    command += ["--compress", "topk3", "--workers", "1", "--batch-size", "16", str(image_folder)]
    process = subprocess.Popen(
        [*command, "--out", "killed.zarr"], cwd=tmp_path, env=fkd_environment(),
        stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    seals, deadline = tmp_path / "killed.zarr" / "done" / "c", time.monotonic() + 120
    while not (seals.is_dir() and len(os.listdir(seals)) >= 2):
        assert time.monotonic() < deadline
        assert process.poll() is None, "finished before it could be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    store = LabelStore.open(tmp_path / "killed.zarr")
    done = sorted(set(range(6)) - set(store.pending_blocks()))
    assert done
    assert store.pending_blocks()
    written = {file: file.stat().st_mtime_ns for b in done for file in store._shards(b).values()}
    for name in ("killed.zarr", "whole.zarr"):
        subprocess.run(
            [*command, "--out", name], cwd=tmp_path, env=fkd_environment(), check=True,
            capture_output=True,
        )  # fmt: skip
    assert {file: file.stat().st_mtime_ns for file in written} == written
    same_labels(*(LabelStore.open(tmp_path / n) for n in ("killed.zarr", "whole.zarr")))


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_says_how_to_go_on(image_folder, tmp_path, stop):
    words = "label --teacher resnet18 --teacher-weights none --size 32 --crops 3000 --device cpu"
    process = subprocess.Popen(
        [sys.executable, "-m", "fkd", *words.split(), str(image_folder)], cwd=tmp_path,
        env=fkd_environment(), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (tmp_path / "labels.zarr").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(stop)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "goes on where it was" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"views": ViewPolicy(seed=1)}, "--seed"),
        ({"num_crops": 7}, "--crops"),
        ({"scheme": Scheme("topk", 2)}, "--compress"),
        ({"views": ViewPolicy(scale=(0.5, 1.0))}, "--scale"),
        ({"temperature": 2.0}, "--temperature"),
        ({"teacher": TeacherChoice("resnet34", "none", size=32)}, "--teacher"),
        ({"teacher": TeacherChoice("resnet18", "none", size=33)}, "--size"),
        ({"teacher": TeacherChoice("resnet18", "none", size=32, mean=(0, 0, 0))}, "--mean"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_store_of_other_settings_is_refused(shared_folder, shared_store, changes, name):
    with pytest.raises(FkdError, match=f"other settings: {name} is"):
        label_images(label_config(shared_folder, shared_store.path, **changes))


def test_a_store_of_other_images_is_refused(image_folder, tmp_path):
    label_images(label_config(image_folder, tmp_path / "s.zarr"))
    (image_folder / "train" / "circle" / "001.jpg").unlink()
    with pytest.raises(FkdError, match=r"circle/001\.jpg is missing"):
        label_images(label_config(image_folder, tmp_path / "s.zarr"))
    store = label_images(label_config(image_folder, tmp_path / "s.zarr", overwrite=True))
    assert store.spec.num_images == 17


def test_bad_images_are_recorded_and_skipped(image_folder, tmp_path):
    circle = image_folder / "train" / "circle"
    (circle / "001.jpg").write_bytes(b"no image")
    (circle / "003.jpg").write_bytes(b"")
    content = (circle / "005.jpg").read_bytes()
    (circle / "005.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(FkdError, match=r"--max-bad 0\.1"):
        label_images(label_config(image_folder, tmp_path / "a.zarr", max_bad=0.1))
    store = label_images(label_config(image_folder, tmp_path / "s.zarr", max_bad=0.2))
    assert bad_images(store) == [
        ("circle/001.jpg", "damaged"),
        ("circle/003.jpg", "empty"),
        ("circle/005.jpg", "damaged"),
    ]
    assert store.labelled_images().tolist() == [0, 2, 4, *range(6, 18)]
    block = store.read_block(0)
    assert block.box[[0, 2, 4], :, 2:].all()
    assert not block.box[[1, 3, 5]].any()


NAMES = ["square", "fish", "circle", "bird", "triangle"]


def five_class_teacher(tmp_path):
    torch.manual_seed(3)
    model = torchvision.models.resnet18(num_classes=5)
    wrapped = {"state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}}
    torch.save(wrapped, tmp_path / "five.pt")
    (tmp_path / "names.txt").write_text("\n".join(NAMES) + "\n")
    return model.eval()


@pytest.mark.parametrize("all_classes", [False, True])
def test_folder_names_pick_the_teachers_outputs(shared_folder, tmp_path, all_classes):
    model = five_class_teacher(tmp_path)
    choice = TeacherChoice(
        "resnet18", str(tmp_path / "five.pt"), tmp_path / "names.txt", all_classes, size=32
    )
    out, full = tmp_path / "s.zarr", Scheme("full")
    store = label_images(
        label_config(shared_folder, out, teacher=choice, scheme=full, temperature=2.0)
    )
    images, block = list_images(shared_folder / "train"), store.read_block(0)
    expected_names = tuple(NAMES) if all_classes else ("circle", "square", "triangle")
    assert store.class_names() == expected_names
    views = empty_views(6, 32)
    for image in (0, 7, 17):
        assert store.class_names()[block.target[image]] == images.paths[image].split("/")[0]
        pixels = decode(images.file(image))
        for crop in range(6):
            box, flip = block.box[image, crop], bool(block.flip[image, crop])
            render(pixels, box, flip, views[crop], "bilinear")
        p = choice_preprocessing()
        logits = model(normalize(views, *p)).detach() / 2
        logits = logits[:, [NAMES.index(name) for name in expected_names]]
        stored = torch.from_numpy(block.kept["log_prob"][image]).float()
        assert (stored.exp() - logits.softmax(1)).abs().max() < 2e-3


def choice_preprocessing():
    return (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (None, "3 classes, teacher resnet18 has 5 outputs"),
        (["square", "fish", "circle", "bird", "cube"], "not in .*: triangle"),
        (["square", "square", "circle", "bird", "triangle"], "'square' twice"),
        (["square", "circle", "triangle"], "3 names, the teacher has 5 outputs"),
    ],
    ids=["no file", "missing", "twice", "short"],
)
def test_classes_that_do_not_fit_are_refused_at_once(shared_folder, tmp_path, lines, words):
    five_class_teacher(tmp_path)
    file = None if lines is None else tmp_path / "other.txt"
    if file:
        file.write_text("\n".join(lines))
    choice = TeacherChoice("resnet18", str(tmp_path / "five.pt"), file, size=32)
    with pytest.raises(FkdError, match=words):
        label_images(label_config(shared_folder, tmp_path / "s.zarr", teacher=choice))
    assert not (tmp_path / "s.zarr").exists()


def test_weights_of_another_architecture_are_refused(shared_folder, tmp_path):
    torch.save(torchvision.models.resnet34(num_classes=3).state_dict(), tmp_path / "w.pt")
    choice = TeacherChoice("resnet18", str(tmp_path / "w.pt"), size=32)
    with pytest.raises(FkdError, match=r"unknown tensor 'layer1\.2"):
        label_images(label_config(shared_folder, tmp_path / "s.zarr", teacher=choice))


def test_preprocessing_comes_from_the_weights_metadata(tmp_path):
    store = label_images(
        label_config(
            make_image_folder(tmp_path / "d", 1, 0),
            tmp_path / "s.zarr",
            teacher=TeacherChoice("regnet_y_400mf", "none", std=(1, 1, 1)),
            num_crops=1,
        )
    )
    said = torchvision.models.RegNet_Y_400MF_Weights.DEFAULT.transforms()
    how = store.spec.teachers[0].preprocessing
    assert (how.size, how.mean, how.std) == (said.crop_size[0], tuple(said.mean), (1, 1, 1))


def test_a_teacher_that_says_nan_is_named(shared_folder, tmp_path):
    model = torchvision.models.resnet18(num_classes=3)
    torch.nn.init.constant_(model.fc.weight, float("nan"))
    torch.save(model.state_dict(), tmp_path / "nan.pt")
    choice = TeacherChoice("resnet18", str(tmp_path / "nan.pt"), size=32)
    with pytest.raises(FkdError, match=r"circle/000\.jpg, crop 0"):
        label_images(label_config(shared_folder, tmp_path / "s.zarr", teacher=choice))
