"""Training: the run folder, the exact budget, and what it refuses."""

import copy
import json
import re
import shutil
from dataclasses import replace

import pytest
import torch
import torchvision
from helpers.folders import label_config, make_image_folder
from helpers.networks import STUDENT
from PIL import Image

from fkd import (
    FkdError,
    LabelStore,
    Preprocessing,
    Scheme,
    TeacherChoice,
    TrainConfig,
    evaluate_checkpoint,
    label_images,
    load_student,
    train_student,
)
from fkd.loader import Schedule, student_batches
from fkd.models import weights_hash
from fkd.originals import LabelledImages
from fkd.sources import list_images
from fkd.students import StudentCard
from fkd.training import Group, Learner
from fkd.training.building import build_learner
from fkd.training.course import prepare
from fkd.training.report import cautions
from fkd.views import RenderPool

TOP3 = Scheme("topk", 3)


def train(store, out, **changes):
    settings = {
        "student": "squeezenet1_1",
        "crops_per_image": 2,
        "scheme": TOP3,
        "epochs": 4,
        "batch_size": 8,
        "lr": 1.0,
        "device": "cpu",
    }
    settings |= changes
    return train_student(TrainConfig.from_recipe("fkd", store=store.path, out=out, **settings))


def metrics(run, kind):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


def test_a_run_folder_has_everything(shared_store, shared_folder, tmp_path):
    run = train(shared_store, tmp_path / "run", epochs=8)
    assert sorted(p.name for p in run.iterdir() if p.name != "tensorboard") == [
        "best.pt", "config.json", "curves.png", "last.pt", "metrics.jsonl", "previous.pt", "recipe.toml",
    ]  # fmt: skip
    config = json.loads((run / "config.json").read_text())
    assert config["total_steps"] == 18  # 8 epochs of 18 images, 8 views a step
    assert config["scheme"] == "topk3"
    assert config["store_spec"]["num_crops"] == 6
    assert metrics(run, "train")[-1]["step"] == 18
    evals = metrics(run, "eval")
    assert [line["step"] for line in evals] == [5, 9, 14, 18]
    best = [line for line in evals if line["top1"] == max(e["top1"] for e in evals)][-1]
    again = evaluate_checkpoint(run / "best.pt", shared_folder, device="cpu")
    assert (again.top1, again.top5) == (best["top1"], best["top5"])
    assert again.loss == pytest.approx(best["loss"], rel=1e-4)
    assert torch.load(run / "best.pt", weights_only=True)["step"] == best["step"]
    last = evaluate_checkpoint(run / "last.pt", shared_folder / "val", device="cpu")
    assert last.top1 == evals[-1]["top1"]
    assert last.num_images == 6
    assert last.top5 == 1.0


def test_a_run_says_what_it_works_with_and_what_came_of_it(
    shared_store, shared_folder, tmp_path, capsys
):
    run = train(shared_store, tmp_path / "a run", epochs=8, scheme=Scheme("topk", 2), ema=0.5)
    said = capsys.readouterr().err.splitlines()
    for line in (
        f"store    {shared_store.path}: 18 images, 3 classes, 6 crops an image",
        "labels   read as topk2 from the stored topk3",
        f"images   {shared_folder / 'train'}",
        "student  squeezenet1_1, 724 K parameters, begins with random weights",
        "views    32 px, bilinear",
        "device   cpu, float32",
        "input    decoded and rendered by 2 threads",
        "steps    18, 8 epochs of 18 images, 8 views a step",
        "rate     sgd, lr 1 × 8/1024 = 0.007812, cosine",
        f"val      {shared_folder / 'val'}: 6 images, 4 evaluations at 32 px, the whole of an "
        "image",
        f"run      {run}",
    ):
        assert line in said
    assert "the first step is on its way: 9 batches of images are decoded for it" in said
    evaluated = metrics(run, "eval")
    best = max(line["ema_top1"] for line in evaluated)
    epoch = [line["epoch"] for line in evaluated if line["ema_top1"] == best][-1]
    end = next(line for line in said if line.startswith("best "))
    assert end.endswith(f"moving average {best:.2%} at epoch {epoch:.4g}")
    assert said[-3:] == [
        f"next      fkd eval '{run}' {shared_folder / 'val'} --ema",
        f"          fkd export '{run}' --ema",
        f"          fkd plot '{run}'",
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"epochs": 1, "batch_size": 18},
            "warning: 1 step in all: 1 epoch of 18 images, 18 views a step; a smaller --batch-size",
        ),
        ({"crops_per_image": 1}, "on its way: 1 batch of images is decoded for it"),
        (
            {"batch_size": 36},
            "36 views a step, so a step is 2 epochs; a smaller --batch-size gives",
        ),
        ({"scheme": Scheme("topk", 3)}, "labels   read as topk3: all 3 classes"),
    ],
    ids=["one step", "one crop", "large batch", "all classes"],
)
def test_what_a_user_hardly_means_is_said(shared_store, tmp_path, capsys, changes, words):
    train(shared_store, tmp_path / "run", **changes)
    assert words in capsys.readouterr().err


def test_a_large_student_on_few_images_is_told_of_a_recipe(shared_store):
    settings = {"store": shared_store.path, "crops_per_image": 2, "scheme": TOP3, "device": "cpu"}
    config = TrainConfig(student="resnet18", batch_size=18, **settings)
    course = prepare(config, Group())
    cpu = torch.device("cpu")
    (said,) = cautions(course, build_learner(course, cpu, Learner))
    assert said.startswith("resnet18 is trained as on ImageNet: 300 steps, 300 epochs of 18 images")
    assert "--recipe small" in said
    short = replace(course, config=replace(config, epochs=30))
    assert cautions(short, build_learner(course, cpu, Learner)) == []


def test_the_checkpoint_is_plain_and_whole(shared_store, tmp_path):
    run = train(shared_store, tmp_path / "run")
    content = torch.load(run / "last.pt", weights_only=True)
    assert content["step"] == 9
    assert "momentum_buffer" in content["optimizer"]["state"][0]
    card, model = load_student(run / "last.pt")
    assert card.classes == ("circle", "square", "triangle")
    assert card.preprocessing.size == 32
    assert not model.training


def test_the_same_seed_gives_the_same_run(shared_store, tmp_path):
    a, b, c = (
        train(shared_store, tmp_path / name, seed=seed)
        for name, seed in (("a", 5), ("b", 5), ("c", 6))
    )
    losses = [metrics(run, "train")[-1]["loss"] for run in (a, b, c)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0] != pytest.approx(losses[2], rel=1e-4)


def test_hard_weight_one_does_not_look_at_the_teacher(shared_store, tmp_path):
    losses = [
        metrics(
            train(shared_store, tmp_path / str(scheme), hard_weight=1.0, scheme=scheme), "train"
        )
        for scheme in (TOP3, Scheme("hard"))
    ]
    assert losses[0][-1]["loss"] == pytest.approx(losses[1][-1]["loss"], rel=1e-4)


def test_a_student_learns_what_the_store_says(tmp_path):
    """A teacher that always says the same is soon imitated, down to the entropy of what it says."""
    folder = make_image_folder(tmp_path / "data")
    teacher = torchvision.models.resnet18(num_classes=3)
    torch.nn.init.zeros_(teacher.fc.weight)
    teacher.fc.bias.data = torch.tensor([3.0, 0.0, -3.0])
    torch.save(teacher.state_dict(), tmp_path / "teacher.pt")
    choice = TeacherChoice("resnet18", str(tmp_path / "teacher.pt"), size=32)
    store = label_images(label_config(folder, tmp_path / "s.zarr", teacher=choice))
    settings = {"student": STUDENT, "batch_size": 18, "epochs": 30, "eval_every": 30, "lr": 2.0}
    run = train(store, tmp_path / "run", **settings)
    losses = [line["loss"] for line in metrics(run, "train")]
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("size", [1, 5, 24])
def test_micro_batches_add_up_to_the_batch(shared_store, shared_folder, size):
    """A student without batch norm or dropout takes the same step, whatever goes through at a time."""
    images = list_images(shared_folder / "train")
    card = StudentCard("linear", shared_store.class_names(), Preprocessing(size=32))
    schedule = Schedule(
        num_images=18, num_crops=6, crops_per_image=2, batch_size=24, epochs=2, seed=0
    )
    torch.manual_seed(0)
    start = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 3))
    with RenderPool(1) as pool:
        batch = next(student_batches(pool, shared_store, images, schedule))
        results = []
        for at_a_time in (None, size):
            student = copy.deepcopy(start)
            config = TrainConfig(batch_size=24, scheme=TOP3, micro_batch=at_a_time)
            stored, cpu = shared_store.spec.labels, torch.device("cpu")
            learner = Learner(config, card, stored, student, cpu, Group())
            loss = float(learner.step(batch, 0, lr=0.1, terms=config.terms_at(0)))
            results.append((loss, student[1].weight.detach()))
    (loss, weight), (other_loss, other_weight) = results
    assert other_loss == pytest.approx(loss, rel=1e-4)
    assert torch.allclose(other_weight, weight, atol=1e-5)
    assert not torch.allclose(weight, start[1].weight, atol=1e-3)


def test_micro_batches_work_in_a_run(shared_store, tmp_path):
    run = train(shared_store, tmp_path / "run", micro_batch=3, student=STUDENT)
    assert metrics(run, "train")[-1]["step"] == 9


def test_without_val_the_loss_decides_which_is_best(tmp_path):
    folder = make_image_folder(tmp_path / "data", val_per_class=0)
    shutil.rmtree(folder / "val")
    store = label_images(label_config(folder, tmp_path / "s.zarr"))
    run = train(store, tmp_path / "run")
    assert (run / "best.pt").exists()
    assert metrics(run, "eval") == []


def test_another_val_folder_is_matched_by_name(shared_store, tmp_path):
    other = make_image_folder(tmp_path / "other", seed=9)
    shutil.rmtree(other / "val" / "circle")
    run = train(shared_store, tmp_path / "run", val=other / "val")
    assert metrics(run, "eval")[-1]["num_images"] == 4
    (other / "val" / "square").rename(other / "val" / "cube")
    with pytest.raises(FkdError, match="among the student's classes: cube"):
        train(shared_store, tmp_path / "run2", val=other / "val")
    assert not (tmp_path / "run2").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "square/002.jpg").unlink(), r"square/002\.jpg is missing"),
        (
            lambda folder: shutil.copy(folder / "circle/000.jpg", folder / "circle/0000.jpg"),
            r"circle/0000\.jpg is new",
        ),
        (
            lambda folder: Image.new("RGB", (20, 20)).save(folder / "circle/004.jpg"),
            r"circle/004\.jpg has \d+ bytes",
        ),
        (lambda folder: (folder / "square").rename(folder / "cube"), r"cube/000\.jpg is new"),
    ],
    ids=["removed", "added", "replaced", "class renamed"],
)
def test_other_images_than_the_labelled_are_refused(
    image_folder, shared_store, tmp_path, change, words
):
    change(image_folder / "train")
    with pytest.raises(FkdError, match=words):
        train(shared_store, tmp_path / "run", images=image_folder)
    assert not (tmp_path / "run").exists()


def test_an_image_that_was_replaced_in_its_own_size_is_found(tmp_path):
    folder = make_image_folder(tmp_path / "data")
    store = label_images(label_config(folder, tmp_path / "s.zarr"))
    file = folder / "train" / "circle" / "003.jpg"
    size = file.stat().st_size
    Image.new("RGB", (20, 20)).save(file)
    with file.open("ab") as tail:
        tail.write(b"\0" * (size - file.stat().st_size))
    with pytest.raises(FkdError, match=r"003\.jpg is not the file that was labelled"):
        train(store, tmp_path / "run")
    # A store of format 1 has no hashes; the height and width remain.
    files = LabelledImages(list_images(folder / "train"), None)
    with pytest.raises(FkdError, match=r"003\.jpg has 20×20 pixels"):
        files.decode(3, store.sizes()[3])


def test_moved_images_are_found_where_the_user_says(tmp_path):
    folder = make_image_folder(tmp_path / "data")
    store = label_images(label_config(folder, tmp_path / "s.zarr"))
    folder.rename(tmp_path / "moved")
    with pytest.raises(FkdError, match="say where they are with --images"):
        train(store, tmp_path / "run")
    train(store, tmp_path / "run", images=tmp_path / "moved")


def test_a_run_folder_in_use_is_left_alone(shared_store, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    with pytest.raises(FkdError, match="not empty"):
        train(shared_store, tmp_path / "run")
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["thesis.txt"]


def test_a_loss_that_is_not_finite_stops_the_run(shared_store, tmp_path):
    with pytest.raises(FkdError, match=r"the loss is (nan|inf) at step \d+ \(lr") as caught:
        train(
            shared_store, tmp_path / "run", lr=1e3, momentum=0.99, weight_decay=10.0,
            epochs=100, warmup_epochs=20, eval_every=0.5,
        )  # fmt: skip
    stopped_at = int(re.search(r"step (\d+)", str(caught.value))[1])
    kept = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    assert kept["step"] == stopped_at - 1
    assert metrics(tmp_path / "run", "eval")[-1]["step"] == stopped_at - 1
    assert LabelStore.open(shared_store.path).pending_blocks() == []


def test_a_finished_student_can_teach(shared_store, shared_folder, tmp_path):
    run = train(shared_store, tmp_path / "run")
    choice = TeacherChoice("squeezenet1_1", str(run / "last.pt"), size=32)
    store = label_images(label_config(shared_folder, tmp_path / "next.zarr", teacher=choice))
    assert store.spec.teachers[0].weights_hash == weights_hash(load_student(run / "last.pt")[1])
