"""What a labelling run says: what it works with, what it has done, and what comes next."""

import pytest
import torch
from click.testing import CliRunner
from helpers.folders import label_config

from fkd import LabelConfig, Scheme, TeacherChoice, label_images
from fkd.cli import main
from fkd.labelling import views_at_a_time
from fkd.store import InspectedStore


def said(capsys):
    """Return what stderr says by the name that a line begins with."""
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().err.splitlines()]
    return {line[0]: line[1] for line in lines if len(line) == 2}


def test_a_run_says_what_it_works_with_and_what_it_has_done(image_folder, tmp_path, capsys):
    (image_folder / "train" / "circle" / "001.jpg").write_bytes(b"no image")
    (image_folder / "train" / "square" / "003.jpg").write_bytes(b"")
    out = tmp_path / "s.zarr"
    config = label_config(image_folder, out, block_images=4, max_bad=1)
    store = label_images(config)
    lines = said(capsys)
    assert "kept" not in lines  # topk3 is of three classes
    assert lines["images"] == f"18 images of 3 classes in {image_folder / 'train'}"
    assert lines["crops"] == "6 per image, kept as topk3"
    assert lines["device"] == "cpu, float32"
    assert lines["rendering"] == "by 2 threads of the CPU"
    assert lines["views"] == "108 in all, 32 a batch"
    assert lines["labelled"].startswith("96 views in ")
    assert lines["labelled"].endswith(" views/s")
    size = sum(f.stat().st_size for f in out.rglob("*") if f.is_file())
    assert lines["store"].startswith(
        f"{out}, {size / 1024:.1f} KiB, {size / 108:.1f} bytes per crop"
    )
    assert lines["unusable"] in ("2 images: 1 damaged, 1 empty", "2 images: 1 empty, 1 damaged")
    InspectedStore.open(store.path, writable=True).unseal([1, 3])
    label_images(config)
    goes_on = capsys.readouterr().err
    assert f"{out}, goes on: 3 of 5 blocks are labelled" in goes_on
    assert "48 views in " in goes_on


def test_a_k_above_the_number_of_classes_is_told_of(shared_folder, tmp_path, capsys):
    label_images(label_config(shared_folder, tmp_path / "s.zarr", scheme=Scheme("topk", 50)))
    assert said(capsys)["kept"] == "all 3 classes, which are fewer than the K of topk50"


def test_the_teachers_are_named_with_their_weights(shared_folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "own_teacher.py").write_text(
        "import torch\n"
        "def make():\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 5))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "names").write_text("triangle\nfish\ncircle\nsquare\nbird\n")
    own = TeacherChoice("own_teacher:make", classes_file=tmp_path / "names", size=16)
    other = TeacherChoice("squeezenet1_1", "none", size=32, interpolation="bicubic")
    label_images(label_config(shared_folder, tmp_path / "s.zarr", teacher=(own, other)))
    text = capsys.readouterr().err
    assert (
        "teacher    own_teacher:make, 3.85 K parameters, its own weights, 3 of its 5 outputs, "
        in text
    )
    assert "16 px, bilinear" in text
    assert "squeezenet1_1, 724 K parameters, random weights, 3 outputs, 32 px, bicubic" in text


@pytest.mark.parametrize(
    ("crops", "compress", "train"),
    [(3, "topk2", "2 --compress topk2"), (4, "full", "4 --compress topk5")],
)
def test_the_next_commands_are_named_as_they_can_be_typed(
    shared_folder, tmp_path, monkeypatch, crops, compress, train
):
    monkeypatch.chdir(tmp_path)
    words = (
        "label --teacher squeezenet1_1 --teacher-weights none --size 32 --device cpu --workers 1"
    )
    words = [*words.split(), "--out", "my labels.zarr", "--crops", crops, "--compress", compress]
    done = CliRunner().invoke(main, [str(word) for word in [*words, shared_folder]])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"my labels.zarr: 18 images × {crops} crops, {compress}, ")
    assert len(done.stdout.splitlines()) == 1
    assert [line.strip() for line in done.stderr.splitlines()[-3:]] == [
        "next  fkd check 'my labels.zarr'",
        "fkd show 'my labels.zarr'",
        f"fkd train 'my labels.zarr' --recipe small --crops-per-image {train}",
    ]


def test_a_batch_follows_from_the_device():
    config = LabelConfig("images", TeacherChoice("resnet18"))
    views = [views_at_a_time(config, torch.device(name)) for name in ("cpu", "mps", "cuda")]
    assert views == [32, 32, 256]
    chosen = LabelConfig("images", TeacherChoice("resnet18"), batch_size=7)
    assert views_at_a_time(chosen, torch.device("cuda")) == 7
