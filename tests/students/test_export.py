"""A student leaves with its preprocessing and classes, and says elsewhere what it says here."""

import hashlib
import importlib
import json
import shutil
import warnings
from pathlib import Path

import pytest
import torch
import torchvision
from click.testing import CliRunner
from helpers.processes import refused

from fkd import (
    FkdError,
    LabelConfig,
    Scheme,
    TeacherChoice,
    TrainConfig,
    evaluate_checkpoint,
    export_student,
    label_images,
    load_student,
    train_student,
)
from fkd.cli import main
from fkd.students.export import Exported, _without_torchs_own_warnings


@pytest.fixture(scope="module")
def run(shared_store, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    return train_student(
        TrainConfig.from_recipe(
            "fkd", store=shared_store.path, out=out, student="resnet18", epochs=4,
            crops_per_image=2, scheme=Scheme("topk", 3), batch_size=12, device="cpu", ema=0.5,
            mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4),
        )
    )  # fmt: skip


def normalised(pixels):
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.4, 0.5, 0.6), (0.2, 0.3, 0.4)))
    return (pixels - mean) / std


@pytest.fixture
def views():
    return torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_how_far_a_file_is_off_is_said_by_the_largest_output():
    """Logits of a map are in the hundreds, where 0.01 is nothing."""
    assert Exported(Path("a.onnx"), 0.01, 200.0, maps=True).relative == pytest.approx(5e-5)
    assert Exported(Path("a.pth"), 0.0, 0.0).relative == 0


def test_the_command_says_how_far_its_file_is_off(run, tmp_path):
    done = CliRunner().invoke(main, ["export", str(run), "--out", str(tmp_path / "a.pth")])
    assert done.stdout == f"{tmp_path / 'a.pth'}: same logits as the student, to the last bit\n"


def test_a_plain_state_dict_is_torchvisions_own(run, views):
    exported = export_student(run)
    assert exported.path == run / "student.pth"
    model = torchvision.models.resnet18(num_classes=3)
    model.load_state_dict(torch.load(exported.path, weights_only=True))
    with torch.inference_mode():
        expected = load_student(run / "best.pt")[1](normalised(views))
        assert torch.allclose(model.eval()(normalised(views)), expected, atol=1e-5)
    about = json.loads((run / "student.json").read_text())
    assert about["classes"] == ["circle", "square", "triangle"]
    assert about["preprocessing"]["mean"] == [0.4, 0.5, 0.6]
    assert about["evaluation"] == {"resize": 32, "center_crop": 32, "crop_pct": 1}
    assert about["input"] == {"range": [0, 1], "normalized": "before"}
    assert about["weights"] == f"sha256:{hashlib.sha256(exported.path.read_bytes()).hexdigest()}"


def test_a_stop_between_two_files_leaves_no_pair_that_is_none(run, tmp_path, monkeypatch):
    export_student(run, "torch", tmp_path / "a.pth")
    own = (tmp_path / "a.pth").read_bytes()

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("fkd.students.export.write_whole", stop)
    with pytest.raises(KeyboardInterrupt):
        export_student(run, "torch", tmp_path / "a.pth", ema=True)
    assert (tmp_path / "a.pth").read_bytes() != own
    assert [path.name for path in tmp_path.iterdir()] == ["a.pth"]


def test_which_weights_are_taken_is_said(run, shared_folder, tmp_path, capsys):
    """Without a val folder the loss chooses best.pt, with one the average's top-1."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    best = max(line["ema_top1"] for line in lines if line["kind"] == "eval")
    step = torch.load(run / "best.pt", weights_only=True)["step"]
    where = f"weights  {run}/best.pt, step {step}: "
    evaluate_checkpoint(run, shared_folder)
    kept = f"kept for the top-1 of their moving average ({best:.2%}); --ema takes it\n"
    assert f"{where}the student's own, {kept}" in capsys.readouterr().err
    export_student(run, "torch", tmp_path / "a.pth", ema=True)
    assert capsys.readouterr().err == f"{where}the moving average of the student's\n"
    evaluate_checkpoint(run / "last.pt", shared_folder)
    assert "the student's own; --ema takes their moving average\n" in capsys.readouterr().err
    content = torch.load(run / "last.pt", weights_only=True)
    del content["ema"]
    torch.save(content, tmp_path / "plain.pt")
    export_student(tmp_path / "plain.pt")
    assert capsys.readouterr().err.endswith(": the student's own\n")


def test_what_is_no_student_is_named(run, shared_store, shared_folder, tmp_path):
    export_student(run, "torch", tmp_path / "plain.pth")
    (tmp_path / "begun").mkdir()
    shutil.copy(run / "last.pt", tmp_path / "begun")
    (tmp_path / "empty").mkdir()
    changed = torch.load(run / "last.pt", weights_only=True)
    changed["student_card"]["name"] = 3
    torch.save(changed, tmp_path / "number.pt")
    for path, words in (
        (
            shared_store.path,
            "is a label store, no student; give the run folder that `fkd train` made",
        ),
        (
            tmp_path / "plain.pth",
            "plain.pth: not a checkpoint of fkd train, which says what the student",
        ),
        (tmp_path / "number.pt", "number.pt: not a checkpoint of fkd train"),
        (
            tmp_path / "begun",
            f"no best.pt before its first evaluation; give {tmp_path}/begun/last.pt",
        ),
        (tmp_path / "empty", "a folder without best.pt"),
        (tmp_path / "none", "none: no such file"),
    ):
        for command in (["eval", path, shared_folder], ["export", path]):
            assert words in refused(*command)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such file"),
        (b"\xff", "not the published real.json"),
        (b'{"a": [1]}', "not the published real.json"),
        (b"[[1], 2]", "a list with a list of class ids"),
        (b"[[1000]]", "a list with a list of class ids"),
        (b"[" * 100_000, "not the published real.json"),
        (b"[[1], [2]]", "is of ImageNet's 1,000 classes, the student has 3; leave it out"),
    ],
    ids=["none", "bytes", "names", "flat", "class", "deep", "classes"],
)
def test_real_labels_that_are_none(run, shared_folder, tmp_path, content, words):
    if content is not None:
        (tmp_path / "real.json").write_bytes(content)
    line = refused("eval", run, shared_folder, "--real", tmp_path / "real.json", alone=False)
    assert f"--real {tmp_path}/real.json" in line
    assert words in line


@pytest.mark.filterwarnings("ignore")
def test_programs_normalise_themselves_and_take_any_batch(run, views, tmp_path):
    """A format of the student, one of its average: whose weights they are does not hang on the format."""
    onnxruntime = pytest.importorskip("onnxruntime")
    with torch.inference_mode():
        own, average = (
            load_student(run / "best.pt", ema=ema)[1](normalised(views)) for ema in (False, True)
        )
    assert not torch.allclose(own, average, atol=1e-3)
    exported = export_student(run, "pt2", tmp_path / "a.pt2", ema=False)
    extra = {"fkd.json": ""}
    program = torch.export.load(exported.path, extra_files=extra).module()
    assert torch.allclose(program(views), own, atol=1e-4)
    assert json.loads(extra["fkd.json"])["classes"] == ["circle", "square", "triangle"]
    exported = export_student(run, "onnx", tmp_path / "a.onnx", ema=True)
    session = onnxruntime.InferenceSession(exported.path)
    said = torch.from_numpy(session.run(None, {"pixels": views.numpy()})[0])
    assert torch.allclose(said, average, atol=1e-4)
    about = json.loads(session.get_modelmeta().custom_metadata_map["fkd"])
    assert about["preprocessing"]["size"] == 32
    shape = ["batch", *session.get_inputs()[0].shape[1:]]
    assert about["input"] == {"shape": shape, "range": [0, 1], "normalized": "inside"}
    assert [p.name for p in tmp_path.iterdir() if "data" in p.name] == []


def test_a_file_that_says_something_else_is_refused(run, tmp_path, monkeypatch):
    save = torch.save
    monkeypatch.setattr("torch.save", lambda s, p: save({k: v + 1 for k, v in s.items()}, p))
    with pytest.raises(FkdError, match="was not written: its logits would differ"):
        export_student(run, "torch", tmp_path / "a.pth")


def test_what_cannot_be_exported(run, tmp_path):
    content = torch.load(run / "best.pt", weights_only=True)
    del content["ema"]
    torch.save(content, tmp_path / "plain.pt")
    with pytest.raises(FkdError, match="has no moving average"):
        export_student(tmp_path / "plain.pt", ema=True)
    for arguments, words in (
        ([tmp_path / "none"], "none: no such file"),
        ([run, "--out", tmp_path / "no" / "a.pth"], "the folder"),
        ([run, "--format", "tflite"], "'tflite' is not one of"),
        ([run, "--out", run / "config.pth"], "would overwrite a file of a run"),
        ([run, "--out", run / "best.pt"], "would overwrite a file of a run"),
        ([run, "--out", tmp_path], "is a folder; name a file in it"),
    ):
        assert words in refused("export", *arguments, alone=False)


def without_fc(model, views):
    """Return what goes into the last layer of a ResNet, of views in [0, 1]."""
    seen = []
    model.fc.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        model(normalised(views))
    return seen[0]


def test_a_state_dict_without_its_head_is_torchvisions_backbone(run, views):
    features = without_fc(load_student(run / "best.pt")[1], views)
    exported = export_student(run, "torch", head=False)
    assert (exported.path, exported.features) == (run / "features.pth", 512)
    backbone = torchvision.models.resnet18()
    backbone.fc = torch.nn.Identity()
    backbone.load_state_dict(torch.load(exported.path, weights_only=True))
    with torch.inference_mode():
        assert torch.allclose(backbone.eval()(normalised(views)), features, atol=1e-4)
    about = json.loads((run / "features.json").read_text())
    assert about["features"] == 512
    assert "classes" not in about


@pytest.fixture
def own_student(run, tmp_path, monkeypatch):
    """Return a function that makes checkpoints of small students of one's own."""
    (tmp_path / "own_heads.py").write_text(HEADS)
    monkeypatch.syspath_prepend(str(tmp_path))
    content = torch.load(run / "best.pt", weights_only=True)
    del content["ema"]

    def checkpoint(kind, **card):
        model = getattr(importlib.import_module("own_heads"), kind)(3)
        own = content["student_card"] | {"name": f"own_heads:{kind}"} | card
        file = tmp_path / "own.pt"
        torch.save(content | {"student_card": own, "student": model.state_dict()}, file)
        return file, model

    return checkpoint


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("format", ["pt2", "onnx"])
def test_a_program_without_its_head_returns_features_and_is_no_teacher_of_labels(
    own_student, image_folder, views, tmp_path, format
):
    """Where labels are asked for it is refused; for vectors it is just right."""
    file, model = own_student("Small")
    features = model.features(normalised(views)).detach()
    path = export_student(file, format, head=False).path
    assert path == tmp_path / f"features.{format}"
    if format == "pt2":
        about = {"fkd.json": ""}
        said = torch.export.load(path, extra_files=about).module()(views)
        text = about["fkd.json"]
    else:
        session = pytest.importorskip("onnxruntime").InferenceSession(path)
        said = torch.from_numpy(session.run(["features"], {"pixels": views.numpy()})[0])
        text = session.get_modelmeta().custom_metadata_map["fkd"]
    assert torch.allclose(said, features, atol=1e-4)
    assert json.loads(text)["features"] == 8
    given = ["label", "--teacher", path, "--crops", 2, "--device", "cpu", image_folder]
    line = refused(*given, "--out", tmp_path / "labels.zarr", alone=False)
    assert "so that it returns features; keep them as vectors" in line
    config = LabelConfig(
        image_folder, TeacherChoice(str(path)), scheme="int8", num_crops=2, device="cpu",
        out=tmp_path / "vectors.zarr",
    )  # fmt: skip
    assert label_images(config).spec.vectors["output"].shape == (8,)


def test_features_of_frames_are_exported_as_their_mean(own_student, views):
    """That is what a loss on vectors compares of a student of lines."""
    file, model = own_student("Frames", lines=True, learned_classes=False)
    exported = export_student(file, "pt2", head=False)
    assert (exported.features, exported.lines) == (8, False)
    said = torch.export.load(exported.path).module()(views)
    assert torch.allclose(said, model.frames(normalised(views)).mean(dim=1), atol=1e-4)
    assert export_student(file, "torch", head=False).features == 8
    assert export_student(file).features == 3  # its numbers a frame, which name no class


def test_a_head_that_learned_nothing_is_said(own_student, image_folder, tmp_path, capsys):
    file, _ = own_student("Small", learned_classes=False)
    export_student(file)
    assert "warning: no loss was on classes" in capsys.readouterr().err
    assert "classes" not in json.loads((tmp_path / "student.json").read_text())
    given = ["label", "--teacher", file, "--crops", 2, "--device", "cpu", image_folder]
    line = refused(*given, "--out", tmp_path / "labels.zarr", alone=False)
    assert "own.pt learned from vectors alone, so that its head has learned nothing" in line


def test_a_student_without_a_linear_layer_has_no_head_to_leave_out(own_student, views):
    file, _ = own_student("Convolutional")
    with pytest.raises(
        FkdError, match="has no linear layer that could be left out; export it with"
    ):
        export_student(file, head=False)
    file, model = own_student("Convolutional", learned_classes=False)  # its output is what learned
    exported = export_student(file, "pt2", head=False)
    said = torch.export.load(exported.path).module()(views)
    assert torch.allclose(said, model(normalised(views)), atol=1e-4)


HEADS = """
import torch
class Small(torch.nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv, self.head = torch.nn.Conv2d(3, 8, 4, 4), torch.nn.Linear(8, classes)
    def features(self, x):
        return self.conv(x).relu().mean((2, 3))
    def forward(self, x):
        return self.head(self.features(x))
class Frames(Small):
    def frames(self, x):
        return self.conv(x).relu().mean(2).mT
    def forward(self, x):
        return self.head(self.frames(x))
def Convolutional(classes):
    return torch.nn.Sequential(torch.nn.Conv2d(3, classes, 32), torch.nn.Flatten())
class Logs(Small):
    def forward(self, x):
        return super().forward(x).log_softmax(1)
class Asked(Small):
    def forward(self, x):
        return self.features(x) @ self.head.weight.T
class Twice(Small):
    def forward(self, x):
        return super().forward(x) + super().forward(x)
"""


@pytest.mark.parametrize("kind", ["Logs", "Asked", "Twice"])
def test_a_head_that_cannot_be_left_out(own_student, tmp_path, kind):
    file, _ = own_student(kind)
    with pytest.raises(FkdError, match="its last linear layer is not what it ends with"):
        export_student(file, head=False)
    assert not (tmp_path / "features.pth").exists()


def test_what_torch_says_of_itself_is_not_passed_on_and_all_else_is():
    network = torch.nn.LSTM(3, 4, batch_first=True).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with _without_torchs_own_warnings():
            torch.export.export(network, (torch.rand(2, 5, 3),))
            with pytest.raises(UserWarning, match="of the user's own"):
                warnings.warn("of the user's own", stacklevel=1)
