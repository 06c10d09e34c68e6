"""Teachers in files and folders: their content tells what they are, and each says all that it knows."""

import json
import shutil
from dataclasses import asdict

import numpy as np
import pytest
import torch
from helpers.folders import label_config
from helpers.processes import STUDENT
from torch import nn

from fkd import FkdError, Preprocessing, Scheme, TeacherChoice, label_images, load_student
from fkd.models import weights_hash
from fkd.students import Checkpoint, StudentCard, export_student, save_checkpoint
from fkd.teachers import kind_of, load_teachers

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

CPU = torch.device("cpu")
CLASSES = ("circle", "square", "triangle")
NAMES = ("triangle", "bird", "circle", "square")  # of a run that knows one more class
SEEN = Preprocessing(32, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), "bicubic")
VIEWS = torch.randint(
    0, 256, (5, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit")


def student(classes):
    return nn.Sequential(nn.Conv2d(3, 8, 5, 4), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 49, classes))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of `fkd train` as far as a teacher looks at it."""
    (tmp_path / "tiny_student.py").write_text(STUDENT)
    monkeypatch.syspath_prepend(str(tmp_path))
    torch.manual_seed(0)
    card = StudentCard("tiny_student:make", NAMES, SEEN)
    own, average = student(4).state_dict(), student(4).state_dict()
    (tmp_path / "run").mkdir()
    save_checkpoint(tmp_path / "run" / "best.pt", Checkpoint(card, own, 5, average, best=0.5))
    return tmp_path / "run"


def only(choice, classes=CLASSES):
    return load_teachers([choice], classes, CPU).teachers[0]


def test_a_run_teaches_and_says_all_that_it_knows(run, shared_folder, tmp_path, capsys):
    store = label_images(
        label_config(shared_folder, tmp_path / "s.zarr", teacher=TeacherChoice(str(run)))
    )
    assert store.class_names() == CLASSES
    (record,) = store.spec.teachers
    assert record.preprocessing == SEEN
    model = load_student(run)[1]
    assert record.weights_hash == weights_hash(model)
    said = capsys.readouterr().err
    assert f"{run}, 2.18 K parameters, its own weights, 3 of its 4 outputs, 32 px, bicubic" in said
    assert "kept for the top-1 of their moving average (50.00%); --teacher-ema takes it" in said
    teacher = only(TeacherChoice(str(run / "best.pt")))
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (SEEN.mean, SEEN.std))
    with torch.inference_mode():
        logits = model((VIEWS / 255 - mean) / std)[:, [2, 3, 0]]
    assert torch.allclose(teacher.probs(VIEWS, 5, 2.0), (logits / 2).softmax(1), atol=1e-6)
    average = only(TeacherChoice(str(run), ema=True, size=32, mean=(0, 0, 0)))
    assert average.weights_hash == weights_hash(load_student(run, ema=True)[1])
    assert average.preprocessing == Preprocessing(32, (0, 0, 0), SEEN.std, "bicubic")


def test_a_run_is_asked_again_and_names_its_classes(run, shared_folder, tmp_path, run_fkd):
    words = ["--teacher", "run", "--teacher-ema"]
    more = ["--all-classes", "--crops", 2, "--device", "cpu", "--out", "s.zarr", shared_folder]
    done = run_fkd("label", *words, *more)
    assert done.code == 0, done.err
    assert "run, 2.18 K parameters, the moving average of its weights, 4 outputs" in done.err
    done = run_fkd("check", "s.zarr", *words, "--views", 8, "--device", "cpu")
    assert "top-1 agrees on 100.0%" in done.out
    assert "not the weights" not in done.out
    assert load_teachers([TeacherChoice(str(run))], None, CPU).classes.names == NAMES
    with pytest.raises(FkdError, match="2 of 3 class folders are not in the classes of teacher"):
        only(TeacherChoice(str(run)), ("cat", "circle", "dog"))


def test_a_file_is_what_its_content_says(run, tmp_path, monkeypatch):
    torch.jit.script(student(3)).save(tmp_path / "script.torchscript")
    shutil.copy(run / "best.pt", tmp_path / "student.bin")
    (tmp_path / "resnet18").mkdir()
    (tmp_path / "plain").mkdir()
    torch.save(student(3).state_dict(), tmp_path / "w.pt")
    monkeypatch.chdir(tmp_path)
    kinds = {
        "script.torchscript": "TorchScript", "student.bin": "run", "run": "run", "./run": "run",
        "resnet18": "library", "plain": "library", "./plain": "run", "timm:a": "library",
        "a.b:c": "function", "w.pt": "run",
    }  # fmt: skip
    assert {name: kind_of(name) for name in kinds} == kinds
    assert only(TeacherChoice("student.bin")).num_outputs == 4
    assert only(TeacherChoice("script.torchscript", size=32)).num_outputs == 3
    for name, words in (
        ("w.pt", "w.pt: no program, and checkpoint w.pt: not a checkpoint of fkd train"),
        ("./plain", "teacher ./plain: checkpoint plain: a folder without best.pt"),
        ("./none", "teacher ./none: no such file, and no run"),
    ):
        with pytest.raises(FkdError, match=words):
            only(TeacherChoice(name))
    for choice, words in (
        (TeacherChoice("run", "w.pt"), "brings its own weights"),
        (TeacherChoice("resnet18", ema=True), "or a run of `fkd train` as --teacher"),
    ):
        with pytest.raises(FkdError, match=words):
            only(choice)
    content = torch.load(run / "best.pt", weights_only=True)
    torch.save({k: v for k, v in content.items() if k != "ema"}, tmp_path / "single.pt")
    with pytest.raises(FkdError, match="has no moving average; it was trained without --ema"):
        only(TeacherChoice("single.pt", ema=True))


def graph(path, shape=("n", 3, 32, 32), *, kind=None, more=(), outputs=("y",), seed=0, **save):
    """Write a graph of the means of channels and a linear layer; its second output is twice the first."""
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    rng = np.random.default_rng(seed)
    weight = onnx.numpy_helper.from_array(
        rng.normal(size=(shape[1], 3)).astype(np.float32) * 9, "w"
    )
    two = onnx.numpy_helper.from_array(np.float32(2), "two")
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], [outputs[0]]),
        *(helper.make_node("Mul", [outputs[0], "two"], [name]) for name in outputs[1:]),
    ]
    if kind is not None:
        nodes = [helper.make_node("Cast", ["given"], ["x"], to=floats), *nodes]
    inputs = [
        helper.make_tensor_value_info("x" if kind is None else "given", kind or floats, shape),
        *(helper.make_tensor_value_info(name, floats, [1]) for name in more),
    ]
    given = [helper.make_tensor_value_info(name, floats, [shape[0], 3]) for name in outputs]
    made = helper.make_graph(nodes, "g", inputs, given, [weight, two])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path, **save)
    return weight


def wanted(weight, scale=1):
    pixels = (VIEWS / 255 - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).view(3, 1, 1)
    return scale * pixels.mean((2, 3)) @ torch.from_numpy(onnx.numpy_helper.to_array(weight).copy())


@pytest.mark.parametrize("batch", ["n", 1, 2, 5, 8])
def test_an_onnx_file_of_any_batch_size_teaches(tmp_path, batch):
    weight = graph(tmp_path / "t.onnx", (batch, 3, 32, 32))
    teacher = only(TeacherChoice(str(tmp_path / "t.onnx")))
    assert (teacher.preprocessing.size, teacher.made_for) == (32, 32)
    assert torch.allclose(teacher.outputs(VIEWS, 5), wanted(weight), atol=1e-4)
    assert torch.allclose(teacher.outputs(VIEWS, 3), wanted(weight)[:3], atol=1e-4)


def test_an_onnx_file_labels_and_is_told_from_another(shared_folder, tmp_path):
    path, out = tmp_path / "t.onnx", tmp_path / "s.zarr"
    config = label_config(shared_folder, out, teacher=TeacherChoice(str(path), size=24))
    graph(path, ("n", 3, "h", "w"))
    assert label_images(config).spec.size == 24
    graph(path, ("n", 3, "h", "w"), seed=1)
    with pytest.raises(FkdError, match="other settings: --teacher-weights is"):
        label_images(config)


def test_the_weights_beside_a_graph_are_part_of_it(tmp_path):
    beside = {"save_as_external_data": True, "location": "w.bin", "size_threshold": 0}
    hashes = []
    for seed in (0, 1):
        graph(tmp_path / "t.onnx", seed=seed, **beside)
        assert (tmp_path / "w.bin").exists()
        hashes.append(only(TeacherChoice(str(tmp_path / "t.onnx"))).weights_hash)
        (tmp_path / "w.bin").rename(tmp_path / f"{seed}.bin")
    assert hashes[0] != hashes[1]
    with pytest.raises(FkdError, match=r"t.onnx: cannot be loaded as ONNX"):
        only(TeacherChoice(str(tmp_path / "t.onnx")))


def test_the_output_that_is_named_logits_is_taken(tmp_path):
    weight = graph(tmp_path / "t.onnx", outputs=("features", "logits"))
    assert torch.allclose(
        only(TeacherChoice(str(tmp_path / "t.onnx"))).outputs(VIEWS, 5),
        wanted(weight, 2),
        atol=1e-4,
    )
    weight = graph(tmp_path / "t.onnx", outputs=("first", "second"))
    assert torch.allclose(
        only(TeacherChoice(str(tmp_path / "t.onnx"))).outputs(VIEWS, 5), wanted(weight), atol=1e-4
    )


@pytest.mark.parametrize(
    ("shape", "more", "words"),
    [
        (("n", 32, 32, 3), {}, r"takes \[n, 32, 32, 3\], with the channels last; export it"),
        (("n", 3, 32), {}, r"takes \[n, 3, 32\]; export"),
        (("n", 3, 32, 32), {"kind": 2}, r"takes tensor\(uint8\) \[n, 3, 32, 32\]; export"),
        (("n", 3, 32, 32), {"more": ("scale",)}, r"has 2 inputs \(x, scale\); export"),
    ],
)  # fmt: skip
def test_graphs_that_take_no_views_are_refused(tmp_path, shape, more, words):
    graph(tmp_path / "t.onnx", shape, **more)
    with pytest.raises(FkdError, match=f"t.onnx {words}"):
        only(TeacherChoice(str(tmp_path / "t.onnx")))


def test_a_side_that_a_graph_leaves_open_is_said(tmp_path):
    path, fixed = tmp_path / "t.onnx", tmp_path / "f.onnx"
    graph(path, ("n", 3, 32, "w"))
    graph(fixed, ("n", 3, 32, 48))
    with pytest.raises(FkdError, match=r"takes views of 32xany px; say which with --size HxW"):
        only(TeacherChoice(str(path)))
    with pytest.raises(FkdError, match=r"--size 16x48: .* takes views of 32xany px alone"):
        only(TeacherChoice(str(path), size=(16, 48)))
    assert only(TeacherChoice(str(path), size=(32, 48))).preprocessing.size == (32, 48)
    assert only(TeacherChoice(str(fixed))).preprocessing.size == (32, 48)


def test_an_onnx_file_is_refused_in_one_line(tmp_path):
    graph(tmp_path / "t.onnx")
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    for choice, words in (
        (TeacherChoice(str(tmp_path / "t.onnx"), size=64), "takes views of 32 px alone"),
        (TeacherChoice(str(tmp_path / "junk.onnx")), "junk.onnx: cannot be loaded as ONNX"),
        (TeacherChoice(str(tmp_path / "none.onnx")), "none.onnx: no such file"),
    ):
        with pytest.raises(FkdError, match=words) as caught:
            only(choice)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("format", ["pt2", "onnx"])
def test_an_exported_student_is_the_teacher_that_its_run_is(run, tmp_path, format, monkeypatch):
    """It normalises by itself, so that another normalisation before it would be one too many."""
    if format == "pt2":
        path = export_student(run, "pt2").path
        expected = only(TeacherChoice(str(run))).probs(VIEWS, 5, 1.0)
    else:
        path = tmp_path / "t.onnx"
        weight = graph(path)
        card = {"name": "s", "classes": CLASSES, "preprocessing": asdict(SEEN)}
        model = onnx.load(path)
        onnx.helper.set_model_props(model, {"fkd": json.dumps(card)})
        onnx.save(model, path)
        pixels = VIEWS.float().mean((2, 3)) / 255
        weights = torch.from_numpy(onnx.numpy_helper.to_array(weight).copy())
        expected = (pixels @ weights).softmax(1)
    teacher = only(TeacherChoice(str(path)))
    assert teacher.preprocessing == Preprocessing(32, (0, 0, 0), (1, 1, 1), "bicubic")
    assert torch.allclose(teacher.probs(VIEWS, 5, 1.0), expected, atol=1e-5)


WRAPPERS = """
import pathlib, onnxruntime, torch
class Wrapped(torch.nn.Module):
    def __init__(self, path):
        super().__init__()
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    def forward(self, x):
        return torch.from_numpy(self.session.run(None, {"x": x.contiguous().numpy()})[0])
def zero(): return Wrapped("0.onnx")
def one(): return Wrapped("1.onnx")
def from_bytes(): return Wrapped(pathlib.Path("1.onnx").read_bytes())
class Bare(torch.nn.Module):
    def forward(self, x): return x.mean((2, 3))
bare = Bare
def named(): model = Bare(); model.fkd_identity = "v1"; return model
def renamed(): model = Bare(); model.fkd_identity = "v2"; return model
def badly(): model = Bare(); model.fkd_identity = 5; return model
"""


def test_a_function_without_weights_is_known_by_its_file_or_its_word(tmp_path, monkeypatch):
    (tmp_path / "wrappers.py").write_text(WRAPPERS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for seed in (0, 1):
        graph(tmp_path / f"{seed}.onnx", seed=seed)
    names = ("zero", "one", "from_bytes", "named", "renamed")
    hashes = [only(TeacherChoice(f"wrappers:{name}", size=32)).weights_hash for name in names]
    assert len(set(hashes)) >= 4
    assert hashes[0] != hashes[1]
    assert hashes == [
        only(TeacherChoice(f"wrappers:{name}", size=32)).weights_hash for name in names
    ]
    for name, words in (
        (
            "bare",
            "nothing tells its model from another, for it has no parameters and no buffers; ",
        ),
        ("badly", "its fkd_identity is 5; give it a text"),
    ):
        with pytest.raises(FkdError, match=f"teacher wrappers:{name}: {words}"):
            only(TeacherChoice(f"wrappers:{name}", size=32))


def test_full_labels_of_probabilities(shared_folder, tmp_path, monkeypatch, run_fkd):
    """`--teacher-output probs` gives the labels of the logits, and is part of what a store is of."""
    (tmp_path / "soft_outputs.py").write_text(
        "import torch\n"
        "def make(last=None):\n"
        "    torch.manual_seed(0)\n"
        "    head = torch.nn.Linear(3 * 16 * 16, 3)\n"
        "    torch.nn.init.normal_(head.weight)\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), head, *([last] if last else []))\n"
        "def probs(): return make(torch.nn.Softmax(1))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    probs = TeacherChoice("soft_outputs:probs", size=16, output="probs")
    kept = []
    for name, choice in (("logits", TeacherChoice("soft_outputs:make", size=16)), ("probs", probs)):
        config = label_config(
            shared_folder, tmp_path / name, teacher=choice, scheme=Scheme("full"), temperature=3.0
        )
        kept.append(label_images(config).read_block(0).kept["log_prob"].astype(np.float32))
    assert np.abs(kept[0] - kept[1])[kept[0] > -20].max() < 2e-2
    more = ["--crops", 6, "--size", 16, "--device", "cpu", "--compress", "full", shared_folder]
    more += ["--temperature", 3, "--batch-size", 32]
    words = ["label", "--teacher", "soft_outputs:probs", "--out", "probs", *more]
    assert "--teacher-output is logits, the store has probs" in run_fkd(*words).error_line()
    done = run_fkd(
        "check", "probs", "--teacher", "soft_outputs:probs", "--views", 8, "--device", "cpu"
    )
    assert "top-1 agrees on 100.0%" in done.out
    line = run_fkd(*words, "--overwrite").error_line()
    assert "returns probabilities, not logits: " in line
    assert "say --teacher-output probs, or return the logits" in line
    other = ["label", "--teacher", "soft_outputs:make", "--teacher-output", "probs", *more]
    line = run_fkd(*other, "--out", "none").error_line()
    assert "teacher soft_outputs:make returns no probabilities: its outputs lie in [-" in line
    assert not (tmp_path / "none").exists()
