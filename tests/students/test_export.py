"""A student leaves with its preprocessing and classes, and says elsewhere what it says here."""

import hashlib
import json

import pytest
import torch
import torchvision
from helpers.processes import refused

from fkd import FkdError, Scheme, TrainConfig, export_student, load_student, train_student


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
    assert about["evaluation"] == {"resize": 37, "center_crop": 32}
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


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("ema", [False, True])
def test_programs_normalise_themselves_and_take_any_batch(run, views, tmp_path, ema):
    onnxruntime = pytest.importorskip("onnxruntime")
    with torch.inference_mode():
        expected = load_student(run / "best.pt", ema=ema)[1](normalised(views))
    other = load_student(run / "best.pt", ema=not ema)[1](normalised(views))
    assert not torch.allclose(expected, other, atol=1e-3)
    exported = export_student(run, "pt2", tmp_path / "a.pt2", ema=ema)
    extra = {"fkd.json": ""}
    program = torch.export.load(exported.path, extra_files=extra).module()
    assert torch.allclose(program(views), expected, atol=1e-4)
    assert json.loads(extra["fkd.json"])["classes"] == ["circle", "square", "triangle"]
    exported = export_student(run, "onnx", tmp_path / "a.onnx", ema=ema)
    session = onnxruntime.InferenceSession(exported.path)
    said = torch.from_numpy(session.run(None, {"pixels": views.numpy()})[0])
    assert torch.allclose(said, expected, atol=1e-4)
    about = json.loads(session.get_modelmeta().custom_metadata_map["fkd"])
    assert about["preprocessing"]["size"] == 32
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
