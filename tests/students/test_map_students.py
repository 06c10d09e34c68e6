"""Students of maps: built by name, given weights, judged against masks, and written for others."""

import json
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
import torchvision
from helpers.masked import CLASSES, VOID, draw_mask, make_masked_folder, write_pair
from PIL import Image
from torch import nn

from fkd import FkdError, TeacherChoice, evaluate_checkpoint, evaluate_features, export_student
from fkd.config import IMAGENET_MEAN, IMAGENET_STD, CenterView, NetworkInput
from fkd.evaluation import evaluate_maps, find_masked_val
from fkd.images import decode
from fkd.models import resized
from fkd.sources import list_images
from fkd.students import (
    Checkpoint,
    StudentCard,
    build_student,
    give_weights,
    load_student,
    save_checkpoint,
    whole_view,
)
from fkd.teachers import load_teachers
from fkd.truth import find_masks

FUNCTION, LRASPP, TIMM = (
    "helpers.map_students:student",
    "lraspp_mobilenet_v3_large",
    "timm:test_resnet",
)


def card(name, size=64, classes=CLASSES, **more):
    return StudentCard(name, classes, NetworkInput(size), maps=True, **more)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_masked_folder(tmp_path_factory.mktemp("masked") / "camvid", train=2, val=3)


@pytest.mark.parametrize(
    ("name", "grid"), [(LRASPP, (8, 12)), (TIMM, (8, 12)), ("timm:test_vit", (10, 10))]
)
def test_a_library_has_students_of_maps(name, grid):
    """They say logits on a grid of their own, and all of their weights learn."""
    sides = (160, 160) if "vit" in name else (64, 96)
    student = build_student(card(name, 160 if "vit" in name else sides)).train()
    logits = student(torch.randn(2, 3, *sides))
    assert logits.shape == (2, 3, *grid)
    logits.sum().backward()
    assert not [name for name, weight in student.named_parameters() if weight.grad is None]


def test_stages_of_a_backbone_are_added_up():
    """The last stage of each stride from 8 on, by one convolution each, at the finest one's grid."""
    student = build_student(card(TIMM)).eval()
    plain = timm.create_model("test_resnet", num_classes=0).eval()
    plain.load_state_dict(student.backbone.state_dict())
    pixels = torch.randn(1, 3, 64, 64)
    stages = plain.forward_intermediates(pixels, intermediates_only=True)[-3:]
    assert [stage.shape[-1] for stage in stages] == [8, 4, 2]
    total = sum(
        resized(reduce(stage), (8, 8)) for reduce, stage in zip(student.reduce, stages, strict=True)
    )
    assert torch.allclose(student(pixels), student.head(total), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        (TIMM, lambda: timm.create_model("test_resnet", num_classes=9), "no head: reduce and head"),
        (LRASPP, lambda: torchvision.models.get_model(LRASPP, num_classes=21, weights_backbone=None),
         "made for 21 classes"),
        (LRASPP, torchvision.models.mobilenet_v3_large, "no head: classifier begin"),
    ],
    ids=["timm's classifier", "a segmentation model", "torchvision's classifier"],
)  # fmt: skip
def test_weights_of_a_backbone_are_taken_from_whatever_has_it(name, make, words, tmp_path, capsys):
    """Names are the library's, with what its trainer puts before them."""
    path, given = tmp_path / "weights.pth", make().state_dict()
    torch.save({"model": {f"module.{n}": value for n, value in given.items()}}, path)
    student = build_student(card(name))
    give_weights(student, card(name), str(path))
    assert words in capsys.readouterr().err
    own = {n: v for n, v in student.state_dict().items() if n.startswith("backbone.")}
    assert len(own) > 20
    for n, value in own.items():
        bare = n.removeprefix("backbone.")
        among = [given[key] for key in (n, bare, f"features.{bare}") if key in given]
        assert torch.equal(value, among[0]), n


def test_weights_of_nothing_alike_are_refused(tmp_path):
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "other.pth")
    with pytest.raises(FkdError, match=r"--init .*other\.pth"):
        give_weights(build_student(card(LRASPP)), card(LRASPP), str(tmp_path / "other.pth"))


def test_the_weights_of_a_library_lose_what_a_student_leaves_out(tmp_path, monkeypatch, capsys):
    """The cache of torch stands in for its server: the file is there, with an auxiliary head."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    name = "deeplabv3_mobilenet_v3_large"
    weights = torchvision.models.get_model_weights(name).DEFAULT
    given = torchvision.models.get_model(name, num_classes=21, weights_backbone=None, aux_loss=True)
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.save(given.state_dict(), cache / weights.url.rpartition("/")[2])
    student = build_student(card(name))
    give_weights(student, card(name), "default")
    assert "was made for 21 classes, the store has 3: " in capsys.readouterr().err
    own = given.state_dict()
    same = [n for n, v in student.state_dict().items() if v.shape == own[n].shape]
    assert set(student.state_dict()) - set(same) == {"classifier.4.weight", "classifier.4.bias"}
    assert all(torch.equal(student.state_dict()[n], own[n]) for n in same)


def test_a_whole_image_is_seen_in_its_proportion():
    seen = NetworkInput(256, interpolation="bicubic")
    camvid = np.array([[360, 480]] * 5 + [[0, 0]], np.uint16)
    assert whole_view(seen, camvid) == CenterView((256, 352), "bicubic", 1.0)
    assert whole_view(seen, camvid[:, ::-1]).size == (352, 256)
    assert whole_view(seen, np.array([[300, 300]])).size == 256
    assert whole_view(seen, np.array([[300, 310]])).size == 256
    assert whole_view(NetworkInput((512, 1024)), np.array([[1024, 2048]])).size == (512, 1024)
    assert whole_view(NetworkInput(33), np.array([[33, 33]])).size == 33  # as it was trained
    assert whole_view(NetworkInput(224), np.array([[12, 900]])).size == (224, 4096)  # and no larger


class Fixed(nn.Module):
    """Says something of each cell of 4 × 4 pixels."""

    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(3, 3, 4, 4)

    def forward(self, pixels):
        return {"out": self.head(pixels)}


def as_seen(pixels):
    """Return views, uint8 [..., 3, H, W], normalised as students see them."""
    mean, std = (torch.tensor(three)[:, None, None] for three in (IMAGENET_MEAN, IMAGENET_STD))
    return (pixels.float() / 255 - mean) / std


def test_maps_are_judged_pixel_by_pixel(tmp_path):
    """Against what NumPy counts of the same logits; images are as large as their views."""
    rng, size = np.random.default_rng(1), (40, 56)
    for number in range(3):
        write_pair(tmp_path, "val", f"{number}", draw_mask(rng, *size), rng)
    (tmp_path / "classes.txt").write_text("\n".join([*CLASSES, "-void"]))
    images, masks = find_masked_val(tmp_path, None, CLASSES)
    torch.manual_seed(0)
    model, pairs, loss = Fixed().train(), np.zeros((3, 3)), 0.0
    about = card("fixed", evaluation=CenterView(size, "bilinear", 1.0))
    found = evaluate_maps(model, about, images, masks, batch_size=2, workers=1)
    assert model.training
    for number in range(3):
        pixels = torch.as_tensor(decode("", images.read(number)))
        with torch.no_grad():
            logits = resized(model(as_seen(pixels)[None])["out"], size)[0]
        truth = np.array(Image.open(masks.name(number)))
        valid = truth != VOID
        np.add.at(pairs, (truth[valid], logits.argmax(0).numpy()[valid]), 1)
        rows, columns = np.nonzero(valid)
        loss -= logits.log_softmax(0).numpy()[truth[valid], rows, columns].sum()
    hits = pairs.diagonal()
    iou = hits / (pairs.sum(0) + pairs.sum(1) - hits)
    assert (found.num_images, found.num_unusable) == (3, 0)
    assert found.pixel_accuracy == hits.sum() / pairs.sum()
    assert list(found.iou.values()) == pytest.approx(list(iou[~np.isnan(iou)]))
    assert found.miou == found.score == found.numbers["miou"] == pytest.approx(np.nanmean(iou))
    assert found.loss == pytest.approx(loss / pairs.sum(), rel=1e-5)
    assert found.numbers["iou/car"] == found.iou["car"]
    other = replace(found, iou={"道": 0.5, "Straße/Weg": 0.25, "空": 1.0})
    assert list(other.numbers)[-3:] == ["iou/道", "iou/Straße_Weg", "iou/空"]


def test_images_that_cannot_be_used_are_named_and_left_out(folder, tmp_path, capsys):
    for name in ("val", "valannot"):
        (tmp_path / name).mkdir()
        for path in (folder / name).iterdir():
            (tmp_path / name / path.name).write_bytes(path.read_bytes())
    (tmp_path / "classes.txt").write_bytes((folder / "classes.txt").read_bytes())
    (tmp_path / "val" / "001.jpg").write_bytes(b"no image")
    Image.new("RGB", (3, 3)).save(tmp_path / "valannot" / "002.png")
    images, masks = find_masked_val(tmp_path / "val", None, CLASSES)
    about = card("fixed", evaluation=CenterView(32, "bilinear", 1.0))
    found = evaluate_maps(Fixed(), about, images, masks, batch_size=2, workers=1)
    assert (found.num_images, found.num_unusable) == (3, 2)
    said = capsys.readouterr().err
    assert "left out: " in said
    assert "001.jpg" in said
    assert "002.png" in said
    void = np.full((40, 50), VOID, np.uint8)
    for path in (tmp_path / "valannot").iterdir():
        Image.fromarray(void).save(path)
    with pytest.raises(FkdError, match=r"no pixel of the images in .* has a class"):
        evaluate_maps(Fixed(), about, images, masks, batch_size=2, workers=1)
    with pytest.raises(FkdError, match=r"no pixel of the masks in .*valannot has a class"):
        find_masked_val(tmp_path / "val", None, CLASSES)  # before a run trains
    Image.new("RGB", (50, 40)).save(tmp_path / "valannot" / "002.png")
    with pytest.raises(FkdError, match=r"nothing could be judged by them; .*002.png: .* colours"):
        find_masked_val(tmp_path / "val", None, CLASSES)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A checkpoint of a student of maps, evaluated on views that are not square."""
    out = tmp_path_factory.mktemp("run")
    about = card(FUNCTION, 32, evaluation=CenterView((32, 48), "bilinear", 1.0))
    torch.manual_seed(0)
    save_checkpoint(
        out / "best.pt", Checkpoint(about, build_student(about).state_dict(), 1, trainer={})
    )
    return out


def test_a_program_says_maps_as_large_as_its_views(run, tmp_path):
    exported = export_student(run, "pt2", tmp_path / "student.pt2")
    assert exported.maps
    assert exported.difference < 1e-5
    choice = TeacherChoice(str(exported.path))
    teachers = load_teachers([choice], None, torch.device("cpu"))
    assert teachers.grid == (32, 48)
    views = torch.randint(256, (2, 3, 32, 48), dtype=torch.uint8)
    with torch.no_grad():
        logits = load_student(run)[1].eval()(as_seen(views))
    expected = resized(logits, (32, 48)).softmax(dim=1)
    found = teachers.probs([views], 2, 1.0).reshape(2, 32, 48, 3).permute(0, 3, 1, 2)
    assert torch.allclose(found, expected, atol=1e-4)


def test_what_is_beside_a_state_dict_says_that_there_are_maps(run, tmp_path):
    path = export_student(run, out=tmp_path / "student.pth").path
    about = json.loads(path.with_suffix(".json").read_text())
    assert about["maps"] is True
    assert about["classes"] == list(CLASSES)
    assert about["evaluation"] == {
        "resize": [32, 48],
        "center_crop": [32, 48],
        "crop_pct": 1.0,
    }
    with pytest.raises(FkdError, match="has no linear layer that could be left out"):
        export_student(run, out=tmp_path / "features.pth", head=False)


def test_what_is_of_whole_images_is_refused(run, folder, tmp_path):
    with pytest.raises(FkdError, match="--knn and --probe are of whole images, and checkpoint"):
        evaluate_features(run, folder, device="cpu")
    with pytest.raises(FkdError, match="--real names classes of whole images, and checkpoint"):
        evaluate_checkpoint(run, folder, real=tmp_path / "real.json", device="cpu")
    with pytest.raises(FkdError, match="has no images with masks, by which a student of maps"):
        evaluate_checkpoint(run, tmp_path, device="cpu")


def test_val_is_found_beside_train_and_is_never_train_itself(folder, tmp_path):
    training = list_images(folder / "train", unlabelled=True)
    images, masks = find_masked_val(None, training, CLASSES)
    assert images.root == folder / "val"
    assert len(masks) == 3
    assert find_masked_val("none", training, CLASSES) is None
    alone = tmp_path / "pets"
    for kind, split in (("images", "train"), ("masks", "trainannot")):
        (alone / kind).mkdir(parents=True)
        for path in (folder / split).iterdir():
            (alone / kind / path.name).write_bytes(path.read_bytes())
    (alone / "classes.txt").write_bytes((folder / "classes.txt").read_bytes())
    pets = list_images(alone / "images", unlabelled=True)
    assert find_masks(pets) is not None
    assert find_masked_val(None, pets, CLASSES) is None
