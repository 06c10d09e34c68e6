"""Teachers of every kind label alike, alone or averaged, and are looked at before they begin."""

import argparse
import io
import shutil
import struct
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from click.testing import CliRunner
from helpers.folders import CLASSES, label_config
from helpers.processes import refused
from PIL import Image
from torch._dynamo.utils import counters

from fkd import Engine, FkdError, LabelStore, Scheme, TeacherChoice, label_images
from fkd.cli import main
from fkd.labelling.estimate import Estimate, _usable
from fkd.models import weights_hash
from fkd.sources import list_images
from fkd.teachers.sources import open_source

# TorchScript is deprecated, and yet what people have; fixtures make such files too.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit")

FULL = Scheme("full")


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """One set of weights as a state dict, an exported program, a script and a function."""
    folder = tmp_path_factory.mktemp("teachers")
    torch.manual_seed(5)
    model = torchvision.models.resnet18(num_classes=3).eval()
    torch.save(model.state_dict(), folder / "w.pth")
    batch = torch.export.Dim("batch", min=1, max=4096)
    program = torch.export.export(
        model, (torch.zeros(4, 3, 32, 32),), dynamic_shapes={"x": {0: batch}}
    )
    torch.export.save(program, folder / "program.pt2")
    torch.export.save(
        torch.export.export(model, (torch.zeros(3, 3, 32, 32),)), folder / "three.pt2"
    )
    torch.jit.script(model).save(folder / "script.pt")
    (folder / "my_teachers.py").write_text(
        "import torch, torchvision\n"
        "def good():\n"
        "    model = torchvision.models.resnet18(num_classes=3)\n"
        f"    model.load_state_dict(torch.load({str(folder / 'w.pth')!r}))\n"
        "    return model\n"
        "def wrong():\n"
        "    return 5\n"
        "class Own(torch.nn.Module):\n"
        "    def __init__(self, inner):\n"
        "        super().__init__()\n"
        "        self.inner, self.shift = inner, torch.zeros(3, 1, 1)\n"  # no buffer
        "    def forward(self, x):\n"
        "        if x.max() > 1e9: raise KeyError('x')\n"
        "        return self.inner(x + self.shift)\n"
        "def own():\n"
        "    return Own(good())\n"
        "def script():\n"
        f"    return torch.jit.load({str(folder / 'script.pt')!r})\n"
        "class Broken(Own):\n"
        "    def forward(self, x):\n"
        "        return {}['logits']\n"
        "def broken():\n"
        "    return Broken(good())\n"
        "def leaves():\n"
        "    raise SystemExit(3)\n"
    )
    return folder


def log_probs(store):
    return np.concatenate(
        [store.read_block(n).kept["log_prob"] for n in range(store.spec.num_blocks)]
    ).astype(np.float32)


def label(folder, out, *teachers, **more):
    return label_images(label_config(folder, out, teacher=teachers, scheme=FULL, **more))


@pytest.mark.parametrize(
    "kind",
    ["program.pt2", "script.pt", "my_teachers:good", "my_teachers:own", "my_teachers:script"],
)
def test_every_kind_of_teacher_says_the_same(shared_folder, tmp_path, kinds, monkeypatch, kind):
    monkeypatch.syspath_prepend(str(kinds))
    name = kind if ":" in kind else str(kinds / kind)
    store = label(shared_folder, tmp_path / "s.zarr", TeacherChoice(name, size=32))
    weights = TeacherChoice("resnet18", str(kinds / "w.pth"), size=32)
    expected = label(shared_folder, tmp_path / "e.zarr", weights)
    assert np.abs(log_probs(store) - log_probs(expected)).max() < 5e-3
    assert store.spec.teachers[0].name == name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("my_teachers:wrong", "returned a int"),
        ("my_teachers:missing", "my_teachers.py. has no 'missing'"),
        ("no_such_module:f", "No module named 'no_such_module'"),
        ("my_teachers:broken", "cannot take 3 views of 224 px .KeyError: 'logits'.; mend it"),
        ("my_teachers:leaves", "my_teachers:leaves: SystemExit: 3"),
        ("missing.pt2", "no such file"),
        ("w.pt2", "w.pt2: no program, and checkpoint w.pt2: not a checkpoint of fkd train"),
        ("cut.pt2", "cannot be loaded as an exported program"),
        ("runs/none", "runs/none: no such file, and no run of `fkd train`"),
        ("timm:no_such_model", "timm"),
    ],
)
def test_teachers_that_are_none(shared_folder, tmp_path, kinds, monkeypatch, name, words):
    monkeypatch.syspath_prepend(str(kinds))
    monkeypatch.chdir(tmp_path)
    shutil.copy(kinds / "w.pth", tmp_path / "w.pt2")
    with zipfile.ZipFile(tmp_path / "cut.pt2", "w") as archive:
        archive.writestr("cut/archive_format", "pt2")
    with pytest.raises(FkdError, match=words):
        label(shared_folder, tmp_path / "s.zarr", TeacherChoice(name))
    assert not (tmp_path / "s.zarr").exists()


def test_a_program_of_one_size_needs_no_word_of_it(kinds, capsys):
    name, cpu = str(kinds / "program.pt2"), torch.device("cpu")
    assert open_source(TeacherChoice(name), None, cpu).preprocessing.size == 32
    assert "does not say how its pixels are normalised" in capsys.readouterr().err
    with pytest.raises(FkdError, match=r"--size 64: .*program.pt2 takes views of 32 px alone"):
        open_source(TeacherChoice(name, size=64), None, cpu)
    capsys.readouterr()
    told = TeacherChoice(name, mean=(0, 0, 0), std=(1, 1, 1))
    assert open_source(told, None, cpu).preprocessing.std == (1, 1, 1)
    assert "normalised" not in capsys.readouterr().err


def test_a_program_of_one_batch_size_gets_views_in_such_batches(kinds):
    cpu = torch.device("cpu")
    views = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    one, any_size = (
        open_source(TeacherChoice(str(kinds / name)), None, cpu).model
        for name in ("three.pt2", "program.pt2")
    )
    with torch.inference_mode():
        assert torch.allclose(one(views), any_size(views), atol=1e-5)


def test_a_side_that_a_program_leaves_open_is_said(tmp_path):
    class Means(torch.nn.Module):
        def forward(self, x):
            return x.mean((2, 3))

    name, cpu = str(tmp_path / "wide.pt2"), torch.device("cpu")
    free = {"x": {0: torch.export.Dim("batch"), 3: torch.export.Dim("width")}}
    for channels, path in ((3, name), (4, str(tmp_path / "four.pt2"))):
        views = torch.zeros(4, channels, 48, 96)
        torch.export.save(torch.export.export(Means(), (views,), dynamic_shapes=free), path)
    with pytest.raises(FkdError, match=r"wide.pt2 takes views of 48xany px; say which with --size"):
        open_source(TeacherChoice(name), None, cpu)
    with pytest.raises(FkdError, match=r"--size 32x96: .* takes views of 48xany px alone"):
        open_source(TeacherChoice(name, size=(32, 96)), None, cpu)
    known = open_source(TeacherChoice(name, size=(48, 320)), None, cpu)
    assert known.preprocessing.size == (48, 320)
    with pytest.raises(FkdError, match=r"four.pt2 takes views of 4 channels, and these have 3"):
        open_source(TeacherChoice(path), None, cpu)


def test_a_model_of_timm(shared_folder, tmp_path):
    pytest.importorskip("timm")
    teacher = TeacherChoice("timm:resnet10t", "none", size=32)
    store = label(shared_folder, tmp_path / "s.zarr", teacher)
    assert store.spec.teachers[0].preprocessing.interpolation == "bicubic"
    torch.manual_seed(0)
    assert store.labelled_images().size == 18


def test_an_ensemble_averages_over_the_same_boxes(shared_folder, tmp_path, kinds):
    """Two teachers of other weights, sizes and normalisation; each sees what it would see alone."""
    one = TeacherChoice("resnet18", str(kinds / "w.pth"), size=32)
    other = TeacherChoice(
        "squeezenet1_1", "none", size=48, mean=(0.5, 0.5, 0.5), interpolation="bicubic"
    )
    both = label(shared_folder, tmp_path / "both.zarr", one, other)
    alone = [
        np.exp(log_probs(label(shared_folder, tmp_path / f"{t.name}.zarr", t)))
        for t in (one, other)
    ]
    assert np.abs(np.exp(log_probs(both)) - (alone[0] + alone[1]) / 2).max() < 2e-3
    assert np.abs(alone[0] - alone[1]).max() > 0.05
    assert both.spec.size == 32
    assert [t.preprocessing.size for t in both.spec.teachers] == [32, 48]
    with pytest.raises(FkdError, match="--teacher is squeezenet1_1, resnet18"):
        label(shared_folder, tmp_path / "both.zarr", other, one)


def test_options_of_teachers_are_given_once_or_for_each(shared_folder, tmp_path, run_fkd, kinds):
    words = ["label", shared_folder, "--teacher", "resnet18", "--teacher", "squeezenet1_1"]
    words += ["--crops", 2, "--device", "cpu"]
    sizes = ["--size", 32, "--size", 48]
    weights = ["--teacher-weights", kinds / "w.pth", "--teacher-weights", "none"]
    done = run_fkd(*words, *sizes, *weights)
    assert done.code == 0, done.err
    records = LabelStore.open(tmp_path / "labels.zarr").spec.teachers
    assert [t.preprocessing.size for t in records] == [32, 48]
    line = run_fkd(*words, *sizes, "--size", 64, "--teacher-weights", "none").error_line()
    assert "--size is given 3 times for 2 teachers" in line
    assert "the word `default` for those that need none" in line


def test_a_teacher_may_have_none_of_what_another_is_given(monkeypatch, shared_folder):
    """`default` says that nothing is given, for an option of several numbers in the place of each."""
    chosen = []

    def look(config):
        chosen.extend(config.teachers)
        raise FkdError("enough")

    monkeypatch.setattr("fkd.labelling.label_images", look)
    words = "--teacher a --teacher b --teacher-weights none --teacher-weights default"
    words += " --teacher-classes default --teacher-classes names --size 32 --size default"
    words += " --interpolation default --interpolation bicubic --std 1 2 3"
    words += " --mean 0.5 0.5 0.5 --mean default default default"
    assert refused("label", shared_folder, *words.split()) == "fkd: error: enough"
    assert chosen == [
        TeacherChoice("a", "none", size=32, mean=(0.5, 0.5, 0.5), std=(1, 2, 3)),
        TeacherChoice("b", "default", Path("names"), std=(1, 2, 3), interpolation="bicubic"),
    ]
    mixed = ["label", "--teacher", "a", "--mean", "0.5", "default", "0.5"]
    assert "--mean: give three numbers, or the word default three times" in refused(
        *mixed, shared_folder
    )
    assert refused("label", "--teacher", "a", "--size", "48x", shared_folder) == (
        "fkd: error: --size '48x' is unknown; give the side of square views (224), or height and width "
        "(160x224)"
    )


def test_each_teacher_takes_the_average_or_not(shared_folder, tmp_path, run_fkd, kinds):
    own = torch.load(kinds / "w.pth")
    torch.manual_seed(6)
    average = torchvision.models.resnet18(num_classes=3).state_dict()
    beside = {"args": argparse.Namespace(lr=0.1), "epoch": 3}
    torch.save({"model": own, "model_ema": average, **beside}, tmp_path / "both.pth")
    words = ["label", shared_folder, "--teacher", "resnet18", "--teacher-weights", "both.pth"]
    words += ["--crops", 1, "--size", 32, "--device", "cpu", "--teacher", "resnet18"]
    done = run_fkd(*words, "--teacher-ema", "--no-teacher-ema", "--out", "s.zarr")
    assert done.code == 0, done.err
    hashes = []
    for state in (average, own):
        model = torchvision.models.resnet18(num_classes=3)
        model.load_state_dict(state)
        hashes.append(weights_hash(model))
    records = LabelStore.open(tmp_path / "s.zarr").spec.teachers
    assert [record.weights_hash for record in records] == hashes
    said = "both.pth: those of model; --teacher-ema takes their moving average, model_ema\n"
    assert done.err.count(said) == 1
    check = ["check", "s.zarr", "--views", 8, *words[2:6], "--teacher", "resnet18"]
    done = run_fkd(*check, "--teacher-ema", "--no-teacher-ema")
    assert "top-1 agrees on 100.0%" in done.out
    assert "not the weights" not in done.out
    assert "these are not the weights that labelled" in run_fkd(*check, "--teacher-ema").out
    line = run_fkd(*words[:4], "--teacher-ema").error_line()
    assert "--teacher-ema needs --teacher-weights FILE for teacher resnet18" in line
    line = run_fkd("check", "s.zarr", "--teacher-ema").error_line()
    assert "do nothing without --teacher" in line
    line = run_fkd("label", shared_folder, "--teacher", "both.pth").error_line()
    assert "both.pth: no program, and checkpoint both.pth: not a checkpoint of fkd train" in line
    assert "weights alone go to --teacher-weights, with their model's name as --teacher" in line


def test_half_precision_is_recorded_and_nearly_the_same(shared_folder, tmp_path):
    teacher = TeacherChoice("resnet18", "none", size=32)
    plain = label(shared_folder, tmp_path / "plain.zarr", teacher)
    half = label(shared_folder, tmp_path / "half.zarr", teacher, engine=Engine("bf16"))
    gap = np.abs(np.exp(log_probs(plain)) - np.exp(log_probs(half))).max()
    assert 0 < gap < 0.05
    with pytest.raises(FkdError, match="--amp is off, the store has bf16"):
        label(shared_folder, tmp_path / "half.zarr", teacher)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a compiler")
def test_a_compiled_teacher_says_the_same(shared_folder, tmp_path, monkeypatch):
    (tmp_path / "tiny_teacher.py").write_text(
        "import torch\n"
        "def make():\n"
        "    torch.manual_seed(0)\n"
        "    head = torch.nn.Linear(3 * 8 * 8, 3)\n"
        "    return torch.nn.Sequential(torch.nn.AvgPool2d(4), torch.nn.Flatten(), head)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    teacher = TeacherChoice("tiny_teacher:make", size=32)
    plain = label(shared_folder, tmp_path / "plain.zarr", teacher)
    counters.clear()
    compiled = label(
        shared_folder, tmp_path / "compiled.zarr", teacher, engine=Engine(compile=True)
    )
    # The first look and the last batch have other sizes, and must not make the graph one of any size.
    assert counters["stats"]["unique_graphs"] == 1
    assert np.abs(log_probs(plain) - log_probs(compiled)).max() < 5e-3


def centre_pixel_teacher(tmp_path, monkeypatch, shift):
    """A teacher that is right by construction: the images carry their class as a colour."""
    (tmp_path / "colour_teacher.py").write_text(
        "import torch\n"
        "class Colour(torch.nn.Module):\n"
        f"    fkd_identity = 'roll {shift}'\n"
        "    def forward(self, x):\n"
        f"        return 20 * x.mean((2, 3)).roll({shift}, 1)\n"
        "make = Colour\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("colour_teacher", None)
    return TeacherChoice("colour_teacher:make", size=16, mean=(0, 0, 0), std=(1, 1, 1))


@pytest.fixture
def coloured(tmp_path):
    for number, kind in enumerate(CLASSES):
        folder = tmp_path / "coloured" / kind
        folder.mkdir(parents=True)
        for n in range(20):
            colour = tuple(200 if channel == number else 40 + n for channel in range(3))
            Image.new("RGB", (30, 20), colour).save(folder / f"{n}.png")
    return tmp_path / "coloured"


@pytest.mark.parametrize(("shift", "warned"), [(0, False), (1, True)])
def test_a_teacher_that_does_not_know_the_images_is_warned_of(
    coloured, tmp_path, monkeypatch, capsys, shift, warned
):
    teacher = centre_pixel_teacher(tmp_path, monkeypatch, shift)
    label_images(label_config(coloured, tmp_path / "s.zarr", teacher=teacher))
    said = capsys.readouterr().err
    assert f"top-1 {0 if warned else 100:.1f}% on 60 centre crops of " in said
    assert ("no better than guessing among 3 classes" in said) is warned


def test_a_dry_run_estimates_and_leaves_nothing(coloured, tmp_path, monkeypatch, run_fkd):
    centre_pixel_teacher(tmp_path, monkeypatch, 0)
    # A loaded machine would look at fewer images, and know less of their labels.
    monkeypatch.setattr("fkd.labelling.estimate._SECONDS", 1000.0)
    teacher = ["--teacher", "colour_teacher:make", "--size", 16]
    teacher += ["--mean", 0, 0, 0, "--std", 1, 1, 1]
    before = set(tmp_path.rglob("*"))
    args = [*map(str, ("label", coloured, *teacher, "--crops", 40, "--dry-run"))]
    monkeypatch.chdir(tmp_path)
    dry = CliRunner().invoke(main, args)  # in this process, which the patch above is of
    assert dry.exit_code == 0, dry.output
    lines = dict(line.split(maxsplit=1) for line in dry.stdout.splitlines())
    assert lines["views"].startswith("2,400 (40 per image)")
    assert "top-1 100.0%" in lines["teacher"]
    left = {p for p in set(tmp_path.rglob("*")) - before if "__pycache__" not in str(p)}
    assert not left
    done = run_fkd("label", coloured, *teacher, "--crops", 40)
    assert done.code == 0, done.err
    store = LabelStore.open(tmp_path / "labels.zarr")
    size = sum(store.stored_bytes().values())
    per_crop = float(lines["store"].split(" at ")[1].split()[0])
    assert per_crop == pytest.approx(size / 2400, rel=0.1)


def test_a_dry_run_counts_the_files_that_are_there_however_small_the_store():
    estimate = Estimate(1000, 10, 20, 50.0, 300.0, 20_000, ())
    lines = dict(estimate.lines())
    assert lines["store"] == "312.5 KiB at 32.0 bytes per crop"
    assert lines["time"] == "3 min 20 s on one process like this one"
    assert lines["speed"] == "50.0 views/s, measured on 20 images"
    assert dict(replace(estimate, views_per_s=1e5).lines())["time"].startswith("under 1 s")


def test_a_dry_run_looks_at_headers_before_it_decodes(coloured):
    """A file of half a kilobyte that claims 24,000 × 24,000 pixels."""
    content = io.BytesIO()
    Image.new("RGB", (64, 64)).save(content, "JPEG")
    bomb = bytearray(content.getvalue())
    frame = bomb.index(b"\xff\xc0")
    bomb[frame + 5 : frame + 9] = struct.pack(">HH", 24_000, 24_000)
    (coloured / "circle" / "0.png").write_bytes(bomb)
    images = list_images(coloured)
    assert images.paths[0] == "circle/0.png"
    assert 0 not in _usable(images, 60)
    assert len(_usable(images, 60)) == 59


def test_a_network_that_frees_memory_gets_it_back_without_the_system():
    """Page faults of a pass over large activations, with and without the setting.

    The fewest of five passes counts: some systems take away memory that was not touched for a while.
    """
    code = (
        "import resource, sys\n"
        "import numpy as np\n"
        "if sys.argv[1] == 'keep':\n"
        "    from fkd.machine.memory import keep_freed_memory\n"
        "    if not keep_freed_memory(): print(-1); sys.exit()\n"
        "def step(): return sum(float(np.ones(2**24, np.float32)[-1]) for _ in range(8))\n"
        "faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "def count(): before = faults(); step(); return faults() - before\n"
        "step(); print(min(count() for _ in range(5)))\n"
    )
    faults = [
        int(
            subprocess.run(
                [sys.executable, "-c", code, how], capture_output=True, check=True
            ).stdout
        )
        for how in ("default", "keep")
    ]
    if faults[1] == -1:
        pytest.skip("the C library is not glibc")
    assert faults[1] < faults[0] / 10
