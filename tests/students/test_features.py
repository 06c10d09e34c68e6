"""Features are judged without a head: by neighbours, and by a linear probe."""

import re
import shutil

import pytest
import torch
from click.testing import CliRunner
from helpers.folders import make_image_folder
from helpers.processes import refused

from fkd import FkdError, Scheme, TrainConfig, evaluate_checkpoint, train_student
from fkd.cli import main
from fkd.evaluation import NeighbourAccuracy, evaluate_features, gather_features, judge
from fkd.probing import knn_top1, linear_probe
from fkd.sources import list_images
from fkd.students import load_student


@pytest.fixture(scope="module")
def run(shared_store, tmp_path_factory):
    return train_student(
        TrainConfig.from_recipe(
            "fkd", store=shared_store.path, out=tmp_path_factory.mktemp("runs") / "run",
            student="fkd.models:thin_resnet", epochs=2, crops_per_image=2, scheme=Scheme("topk", 3),
            batch_size=12, device="cpu",
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """More images than a run has for its evaluations, in classes of other names."""
    root = make_image_folder(tmp_path_factory.mktemp("folder"), val_per_class=8, seed=3)
    for split in ("train", "val"):
        for number, kind in enumerate(sorted((root / split).iterdir())):
            kind.rename(root / split / f"kind {number}")
    return root


def features(run, images, layer="features"):
    card, model = load_student(run)
    return gather_features(model, card, list_images(images), 5, 2, layer=layer)


def printed(*args):
    result = CliRunner().invoke(main, ["eval", *map(str, args), "--device", "cpu"])
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


def test_features_are_what_goes_into_the_last_linear_layer(run, folder):
    _, model = load_student(run)
    seen = features(run, folder / "val")
    assert seen.vectors.shape == (24, model[-1].in_features)
    assert seen.classes.tolist() == [0] * 8 + [1] * 8 + [2] * 8
    # The pooling before it is a mean, so a map of the layer before that gives the same.
    pooled = features(run, folder / "val", layer=str(len(model) - 4))
    assert torch.allclose(pooled.vectors, seen.vectors, atol=1e-5)
    logits = features(run, folder / "val", layer=str(len(model) - 1))
    assert torch.allclose(model[-1](seen.vectors), logits.vectors, atol=1e-5)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_top1_and_neighbours_in_one_pass(run, shared_folder):
    said, _ = printed(run, shared_folder, "--knn", "--k", 4)
    top1, knn = said.splitlines()
    accuracy = evaluate_checkpoint(run, shared_folder, device="cpu")
    assert f"top-1 {accuracy.top1:.2%}  top-5 100.00%  loss {accuracy.loss:.4f}" in top1
    seen = features(run, shared_folder / "val")
    expected = knn_top1(seen.vectors, seen.classes, k=4)
    assert knn == f"kNN {expected:.2%}  (6 images, 0 unusable, k = 4 among the others)"


def test_other_classes_than_the_students(run, folder):
    said, noted = printed(run, folder, "--knn", "--probe", "--k", 3, "--bank", folder)
    assert "top-1 is left out: the class folders of" in noted
    seen, bank = features(run, folder / "val"), features(run, folder / "train")
    knn = knn_top1(seen.vectors, seen.classes, (bank.vectors, bank.classes), k=3)
    probe = linear_probe(bank.vectors, bank.classes, seen.vectors, seen.classes)
    of, counts = f"18 images of {folder}", "24 images, 0 unusable"
    assert said.splitlines() == [
        f"kNN {knn:.2%}  ({counts}, k = 3 among {of})",
        f"linear probe {probe.top1:.2%}  ({counts}, L2 {probe.l2:g}, trained on {of})",
    ]


def test_a_bank_may_have_more_classes_and_images_that_are_broken(run, folder, tmp_path):
    """Classes are matched by name; unusable images are missed in the one, left out of the other."""
    bank, val = tmp_path / "bank", tmp_path / "seen"
    shutil.copytree(folder / "train" / "kind 0", bank / "a class that sorts first")
    for kind in ("kind 1", "kind 2"):
        shutil.copytree(folder / "val" / kind, bank / kind)
        shutil.copytree(folder / "val" / kind, val / kind)
    settings = {"device": "cpu", "bank": bank, "k": 1}
    assert evaluate_features(run, val, **settings).knn == 1  # each finds itself
    (val / "kind 1" / "000.jpg").write_bytes(b"no image")
    (bank / "kind 2" / "000.jpg").write_bytes(b"no image")
    (val / "kind 2" / "000.jpg").unlink()
    found = evaluate_features(run, val, **settings)
    assert found.knn == pytest.approx(14 / 15)
    assert (found.num_images, found.num_unusable, found.bank_images) == (15, 1, 21)


def test_a_student_without_a_head_that_learned_is_judged_by_its_neighbours(
    run, shared_folder, folder, tmp_path
):
    content = torch.load(run / "best.pt", weights_only=True)
    content["student_card"]["learned_classes"] = False
    torch.save(content, tmp_path / "vectors.pt")
    card, model = load_student(tmp_path / "vectors.pt")
    judged = judge(model, card, list_images(folder / "val"), 8, 2)
    seen = features(run, folder / "val")
    assert judged == NeighbourAccuracy(knn_top1(seen.vectors, seen.classes), 24, 0)
    assert judged.score == judged.knn
    few = judge(model, card, list_images(shared_folder / "val"), 8, 2)  # fewer than 20 others
    seen = features(run, shared_folder / "val")
    assert few.knn == knn_top1(seen.vectors, seen.classes, k=5)
    with pytest.raises(FkdError, match="name no classes; evaluate its features with --knn"):
        evaluate_checkpoint(tmp_path / "vectors.pt", shared_folder, device="cpu")
    said, noted = printed(tmp_path / "vectors.pt", shared_folder, "--knn")
    assert said == f"kNN {few.knn:.2%}  (6 images, 0 unusable, k = 5 among the others)\n"
    assert "top-1 is left out: no loss was on the student's outputs" in noted


def test_what_has_no_features_to_judge(run, shared_folder, folder, tmp_path):
    flat = tmp_path / "flat"
    shutil.copytree(folder / "val" / "kind 0", flat)
    val = folder / "val"
    for more, words in (
        ([val, "--bank", folder], "--bank is of --knn and --probe; give one of them"),
        ([val, "--k", 3], "--k counts the neighbours of --knn"),
        ([val, "--probe", "--bank", folder, "--k", 3], "--k counts the neighbours of --knn"),
        ([val, "--layer", "0"], "--layer is of --knn and --probe"),
        ([val, "--knn", "--real", flat], "--real is of top-1"),
        ([val, "--probe"], "--probe trains a linear classifier on other images; name them with"),
        ([val, "--knn", "--k", 0], "--k is 0, and there are 23 images"),
        ([val, "--knn", "--k", 24], "--k is 24, and there are 23 images to be neighbours"),
        ([val, "--knn", "--k", 19, "--bank", folder], "--k is 19, and there are 18 images to be"),
        ([val, "--knn", "--bank", val], "has the images that are evaluated"),
        (
            [val, "--probe", "--bank", shared_folder],
            "3 of the 3 classes of .* are not among its class",
        ),
        ([val, "--knn", "--bank", tmp_path / "none"], "does not exist"),
        ([flat, "--knn"], "holds images but no class folders"),
        (
            [val, "--knn", "--layer", "4.frist"],
            "the student has no layer 4.frist; it has features, 4.first",
        ),
    ):
        assert re.search(words, refused("eval", run, *more, alone=False))


def test_a_student_without_a_linear_layer_has_a_layer_named(run, folder, tmp_path):
    content = torch.load(run / "best.pt", weights_only=True)
    from fkd.students import StudentCard, build_student

    card = StudentCard("squeezenet1_1", ("a", "b"), load_student(run)[0].preprocessing)
    content |= {"student": build_student(card).state_dict()}
    content["student_card"] |= {"name": card.name, "classes": card.classes}
    torch.save(content, tmp_path / "squeezenet.pt")
    given = ("eval", tmp_path / "squeezenet.pt", folder, "--knn")
    line = refused(*given, alone=False)
    assert "the student has no linear layer" in line
    assert "name a layer: classifier, features.0" in line
    assert printed(*given[1:], "--layer", "classifier")[0].startswith("kNN ")
