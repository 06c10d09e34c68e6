"""The study of accuracy: its stores say what their names say, and its scripts end in a report."""

import json
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.folders import label_config, make_image_folder
from helpers.processes import SERVER

from fkd import FkdError, LabelStore, Scheme, TeacherChoice, label_images
from fkd.config import Preprocessing
from fkd.evaluation import evaluate
from fkd.images import ImageList
from fkd.sources import list_images
from fkd.students import Checkpoint, StudentCard, save_checkpoint

FOLDER = Path(__file__).parents[2] / "benchmarks" / "accuracy"


@pytest.fixture
def study(monkeypatch):
    """The module, whose folder is no package; its names do not stay in this process."""
    monkeypatch.syspath_prepend(FOLDER)
    before = set(sys.modules)
    import study

    yield study
    for name in ("study", *(path.stem for path in FOLDER.glob("*.py"))):
        if name not in before:
            sys.modules.pop(name, None)


@pytest.fixture
def stores(study):
    import stores

    return stores


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labelled")
    images = make_image_folder(folder / "data")
    store = label_images(label_config(images, folder / "full.zarr", scheme=Scheme("full")))
    return list_images(images / "train"), store


def test_a_store_of_chosen_crops_has_their_boxes_and_labels(stores, labelled, tmp_path):
    images, source = labelled
    slots = np.random.default_rng(1).integers(6, size=(len(images), 4))
    derived = stores.derive(source, tmp_path / "drawn.zarr", images, Scheme("full"), slots)
    had, has = (store.read_crops(range(m)) for store, m in ((source, 6), (derived, 4)))
    rows = np.arange(len(images))[:, None]
    np.testing.assert_array_equal(has.box, had.box[rows, slots])
    np.testing.assert_array_equal(has.flip, had.flip[rows, slots])
    np.testing.assert_allclose(
        np.exp(has.kept["log_prob"].astype(np.float32)),
        np.exp(had.kept["log_prob"][rows, slots].astype(np.float32)), atol=2e-3,
    )  # fmt: skip
    assert derived.spec.sampler == "stored" != source.spec.sampler
    np.testing.assert_array_equal(derived.content_hashes(), source.content_hashes())


def test_a_store_that_was_half_made_is_made_anew(stores, labelled, tmp_path):
    images, source = labelled
    (tmp_path / "first2.partial" / "box").mkdir(parents=True)
    slots = np.tile(np.arange(2), (len(images), 1))
    derived = stores.derive(source, tmp_path / "first2.zarr", images, Scheme("full"), slots)
    assert derived.spec.sampler == source.spec.sampler
    assert [path.name for path in tmp_path.iterdir()] == ["first2.zarr"]


def test_a_visit_draws_different_crops_and_visits_repeat_them(stores):
    drawn = stores.drawn_visits(num_images=50, crops=6, visits=3, m=4).reshape(50, 3, 4)
    assert all(len(set(visit)) == 4 for image in drawn.tolist() for visit in image)
    counts = np.bincount(drawn.ravel(), minlength=6)
    assert len(counts) == 6
    assert counts.min() > 0.7 * counts.mean()


def test_a_label_map_is_pooled_where_the_box_lies(stores):
    """Left halves say class 0, right halves class 1; the image is twice as wide as it is high."""
    maps = torch.zeros(1, 2, 4, 4)
    maps[0, 0, :, :2], maps[0, 1, :, 2:] = 8, 8
    sizes = np.array([[100, 200]], np.uint16)
    boxes = np.array([[[0, 0, 100, 80], [0, 120, 100, 80], [10, 50, 60, 100]]], np.uint16)
    probs = stores.pooled(maps, sizes)(range(1), boxes, np.zeros((1, 3), bool))
    assert probs.shape == (1, 3, 2)
    assert probs[0, 0, 0] > 0.99
    assert probs[0, 1, 1] > 0.99
    assert probs[0, 2, 0] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("side", [5, 6])
def test_an_unusable_image_is_pooled_to_a_label_that_can_be(stores, side):
    """Its size and boxes are 0, of which roi_align once made NaN, or a segmentation fault."""
    maps = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    sizes = np.array([[0, 0], [100, 200]], np.uint16)
    boxes = np.array([[[0, 0, 0, 0]] * 2, [[0, 0, 100, 200]] * 2], np.uint16)
    probs = stores.pooled(maps, sizes)(range(2), boxes, np.zeros((2, 2), bool))
    torch.testing.assert_close(probs.sum(2), torch.ones(2, 2))


def test_label_maps_have_the_teachers_logits_as_their_mean(stores, labelled, tmp_path):
    images, _ = labelled
    for name in ("resnet18", "mobilenet_v2"):
        choice = TeacherChoice(name, "none", size=64)
        teacher = stores.load_teacher(choice, images)
        maps = stores.label_maps(images, choice, 64)
        assert maps.shape == (len(images), 3, 2, 2)
        said = stores.once_per_image(images, teacher)
        torch.testing.assert_close(maps.mean(dim=(2, 3)).softmax(1), said, atol=1e-4, rtol=1e-3)
    choice = TeacherChoice("convnext_tiny", "none", size=64)
    with pytest.raises(FkdError, match="teacher convnext_tiny does not end in a mean over places"):
        stores.label_maps(images, choice, 64)


def test_one_label_an_image_is_what_the_teacher_says_of_all_of_it(stores, labelled, tmp_path):
    images, source = labelled
    choice = label_config(images.root, tmp_path / "x").teachers[0]
    teacher = stores.load_teacher(choice, images)
    probs = stores.once_per_image(images, teacher)
    assert probs.shape == (len(images), 3)
    some = ImageList(
        images.root, images.paths[3:5], images.targets[3:5], images.num_bytes[3:5], images.classes
    )
    torch.testing.assert_close(stores.once_per_image(some, teacher), probs[3:5])
    every = np.tile(np.arange(6), (len(images), 1))
    relabel = stores.repeated(probs)
    store = stores.derive(source, tmp_path / "one.zarr", images, Scheme("full"), every, relabel)
    kept = torch.from_numpy(store.read_crops(range(6)).kept["log_prob"]).float().exp()
    torch.testing.assert_close(kept, probs[:, None].expand(-1, 6, -1), atol=2e-3, rtol=0)


def test_a_study_is_not_continued_with_other_settings(study, tmp_path):
    from about import About

    About(tmp_path).settle(given=[18, 45_140], size=96)
    About(tmp_path).settle(size=96, epochs=4)
    with pytest.raises(FkdError, match="begun with size 96, not 128; choose another --out"):
        About(tmp_path).settle(size=128)
    assert About(tmp_path).said["epochs"] == 4
    About(tmp_path).settle(plan={"lr": 1.0, "stored": 4})
    with pytest.raises(FkdError, match="begun with stored 4, not 5; choose another --out"):
        About(tmp_path).settle(plan={"lr": 1.0, "stored": 5})
    for content in ("{}", "[]", '{"given"'):
        (tmp_path / "about.json").write_text(content)
        with pytest.raises(FkdError, match=r"about.json is damaged .* choose another --out"):
            About(tmp_path)


def test_a_class_with_fewer_images_than_asked_for_is_refused(study, shared_folder, tmp_path):
    from choices import choose_images

    with pytest.raises(FkdError, match=r"class \w+ has 6 images, fewer than --per-class 7"):
        choose_images(shared_folder, 7, tmp_path)
    chosen = choose_images(shared_folder, 6, tmp_path)
    assert len(list_images(chosen / "train")) == 18


def test_one_training_serves_all_tables_and_names_of_a_reading(study):
    from tables import planned_trials
    from trials import Plan

    keys = {(t.table, t.name): t.key for t in planned_trials(Plan(epochs=100, stored=100))}
    assert keys["schemes", "MR, K = 1"] == keys["schemes", "hard"]
    assert keys["schemes", "MS, K = 1"] == keys["schemes", "smoothing"]
    assert keys["schemes", "MR, K = 5"] == keys["methods", "FKD, topk5"] == keys["mixing", "FKD"]
    assert len(set(keys.values())) == len(keys) - 13


@pytest.mark.parametrize("content", ["", "{}", '{"about": {}}', "[1]"])
def test_a_report_of_what_is_no_study_is_refused(study, tmp_path, content):
    from outcomes import read

    (tmp_path / "about.json").write_text(content)
    for path in (tmp_path / "about.json", tmp_path, tmp_path / "missing"):
        with pytest.raises(FkdError, match=f"{path} holds no study of run.py"):
            read(path)


def test_a_student_that_fails_leaves_word_and_lets_the_others_go_on(study, tmp_path, monkeypatch):
    import learners
    from trials import Trial

    def fail(*_):
        raise ValueError("no such layer")

    monkeypatch.setattr(learners, "learn", fail)
    monkeypatch.setattr(learners, "config_of", lambda *_, **__: None)
    plan = study.Plan(epochs=4, stored=4)
    of = study.Study(tmp_path, TeacherChoice("resnet18"), tmp_path, plan, 64, 1)
    said = learners.train_one(of, tmp_path / "runs" / "one", Trial("methods", "FKD"), 3, 1)
    assert said.startswith("methods, FKD, seed 3: no such layer")
    assert "Traceback" in (tmp_path / "logs" / "one.log").read_text()
    assert not (tmp_path / "runs").exists()


def test_a_student_that_cannot_be_built_is_refused(study, shared_folder):
    from choices import try_student

    try_student("thin_resnet:thin_resnet", shared_folder)
    with pytest.raises(FkdError, match="student 'nosuch' is not a torchvision"):
        try_student("nosuch", shared_folder)


def test_a_teacher_that_cannot_be_tuned_is_refused_before_it_is(study, labelled, tmp_path):
    from choices import choose_teacher
    from teacher import Tuning

    images = labelled[0].root.parent
    for name, said in (("convnext_tiny", "has no label maps"), (str(tmp_path), "cannot be cut to")):
        with pytest.raises(FkdError, match=said):
            choose_teacher(
                TeacherChoice(name, "none", size=64), images, tmp_path, Tuning(1.0), maps=True
            )
    assert not (tmp_path / "teacher").exists()


@pytest.mark.parametrize(("layers", "parameters"), [(20, 269_722), (56, 853_018)])
def test_a_resnet_of_cifar_has_the_parameters_of_its_paper(study, layers, parameters):
    import cifar_resnet

    model = getattr(cifar_resnet, f"resnet{layers}")(10)
    assert sum(each.numel() for each in model.parameters()) == parameters
    convolutions = [part for part in model.modules() if isinstance(part, torch.nn.Conv2d)]
    assert len(convolutions) == layers - 1
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 10)


def test_a_teacher_that_a_function_builds_is_tuned_and_labels(study, labelled, tmp_path):
    import cifar_resnet
    from teacher import Tuning, prepare

    images, _ = labelled
    given = cifar_resnet.resnet20(3)
    file = tmp_path / "resnet20.th"
    torch.save({"state_dict": {f"module.{k}": v for k, v in given.state_dict().items()}}, file)
    choice = TeacherChoice("cifar_resnet:resnet20", str(file), size=32, mean=(0.5, 0.4, 0.3))
    how_far = Tuning(1.0, scale=(0.5, 1.0))
    tuned = prepare(choice, images.root.parent, tmp_path / "teacher", how_far)
    base = LabelStore.open(tmp_path / "teacher" / "base.zarr")
    assert (base.spec.views.scale, base.spec.views.seed) == ((0.5, 1.0), 1)
    begun = torch.load(tmp_path / "teacher" / "first.pt")
    ended = torch.load(tmp_path / "teacher" / "run" / "last.pt")
    torch.testing.assert_close(begun["student"]["linear.weight"], given.linear.weight.detach())
    assert not torch.equal(ended["student"]["linear.weight"], begun["student"]["linear.weight"])
    teacher = study.load_teacher(tuned, images)
    assert (teacher.preprocessing.size, teacher.preprocessing.mean) == (32, (0.5, 0.4, 0.3))
    assert teacher.probs(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), 2, 1.0).shape == (2, 3)
    assert prepare(choice, images.root.parent, tmp_path / "teacher", how_far) == tuned


def test_rows_wait_for_the_students_that_label_for_them(study, tmp_path):
    from learners import first_ready
    from tables import planned_trials
    from trials import Plan

    of = {t.name: t for t in planned_trials(Plan(epochs=8, stored=8)) if t.table == "losses"}
    second, third = of["second generation"], of["third generation"]
    together = of["the three generations together"]
    todo = [(tmp_path / trial.run(0), trial, 0) for trial in (together, third, second)]
    assert first_ready(todo) is None
    for name, place in (("plain supervised", 2), ("second generation", 1), ("third generation", 0)):
        run = tmp_path / of[name].run(0)
        run.mkdir()
        (run / "trial.json").touch()
        assert first_ready(todo[: place + 1]) == place
    assert first_ready([(tmp_path / third.run(1), third, 1)]) is None


def test_students_of_several_rows_answer_as_one(study, shared_folder, tmp_path):
    import cifar_resnet
    from generations import Together
    from learners import train_one
    from trials import Trial

    images = list_images(shared_folder / "train")
    seen = Preprocessing(size=32)
    card = StudentCard("cifar_resnet:resnet20", images.classes, seen)
    models = [cifar_resnet.resnet20(len(images.classes)).eval() for _ in range(2)]
    for name, model in zip("ab", models, strict=True):
        (tmp_path / "runs" / f"{name}_seed0").mkdir(parents=True)
        checkpoint = Checkpoint(card, model.state_dict(), 1)
        save_checkpoint(tmp_path / "runs" / f"{name}_seed0" / "last.pt", checkpoint)
    views = torch.rand(4, 3, 32, 32)
    said = [model(views).softmax(dim=1) for model in models]
    torch.testing.assert_close(Together(models)(views).exp(), (said[0] + said[1]) / 2)
    of = study.Study(
        shared_folder, TeacherChoice("x:y"), tmp_path, study.Plan(epochs=4, stored=4), 64, 1
    )
    trial = Trial("losses", "both", "generations", together=("a", "b"))
    (tmp_path / "logs").mkdir()
    assert train_one(of, tmp_path / "runs" / trial.run(0), trial, 0, 1) is None
    noted = json.loads((tmp_path / "runs" / trial.run(0) / "trial.json").read_text())
    val = list_images(shared_folder / "val")
    assert noted["top1"] == evaluate(Together(models), card, val, 8, 1).top1


def test_each_loss_is_one_that_can_be_asked_for_and_has_a_folder_of_its_own(study, tmp_path):
    from learners import config_of
    from tables import planned_trials
    from trials import Plan

    rates = (("WTTM, full", 4.0),)
    plan = Plan(epochs=8, stored=8, student_size=32, micro_batch=64, lr=2.0, rates=rates)
    of = study.Study(tmp_path, TeacherChoice("resnet18"), tmp_path, plan, 64, 1)
    trials = [trial for trial in planned_trials(plan) if trial.table.startswith("losses")]
    assert len({trial.run(0) for trial in trials}) == len(trials)
    assert max(len(trial.run(0)) for trial in trials) < 200
    configs = {t.name: config_of(of, t, tmp_path / "run", seed=0) for t in trials if not t.together}
    assert len(configs["two peers and truth, no store"].students) == 2
    assert configs["WTTM, full"].optim.lr == 2.0
    assert configs["WTTM, at a rate of 4, full"].optim.lr == 4.0
    assert Plan(**json.loads(json.dumps(vars(plan)))) == plan
    assert configs["DIST + truth, topk5"].terms_at(0)[1].term.to == "truth"
    assert configs["KL, T = 4, topk5"].store == tmp_path / "topk5.zarr"
    standardised = configs["KL of standardised logits, T = 2, + truth, topk5-smooth"]
    assert standardised.store == tmp_path / "topk5-coarse-std.zarr"


def test_online_a_teacher_looks_at_the_crops_of_the_store_in_its_own_size(
    study, labelled, tmp_path
):
    from types import SimpleNamespace

    from online import train_online

    images, store = labelled
    teacher = study.load_teacher(label_config(images.root, tmp_path / "x").teachers[0], images)
    said = []

    def probs(views, *more):
        said.append(teacher.probs(views, *more).clone())
        return said[-1]

    settings = {"student": "thin_resnet:thin_resnet", "size": 16, "val": "none", "epochs": 2}
    settings |= {"scheme": Scheme("full"), "crops_per_image": 2, "batch_size": 6, "workers": 1}
    config = study.TrainConfig.from_recipe(
        "fkd", store=store.path, images=images.root, out=tmp_path / "run", **settings
    )
    train_online(
        config, SimpleNamespace(probs=probs, preprocessing=teacher.preprocessing, grid=()), images
    )
    had = torch.from_numpy(store.read_crops(range(6)).kept["log_prob"]).float().exp()
    apart = (torch.cat(said)[:, None] - had.flatten(0, 1)).abs().amax(dim=2)
    assert float(apart.amin(dim=1).max()) < 2e-3
    assert len(set(apart.argmin(dim=1).tolist())) == len(apart) == 2 * len(images)


def test_the_table_of_losses_compares_with_today_and_with_full_labels(study):
    from loss_table import loss_lines
    from outcomes import Outcome
    from tables import planned_trials
    from trials import Plan

    plan = Plan(epochs=8, stored=8)
    about = {"plan": vars(plan)}
    key = {t.name: t.key for t in planned_trials(plan) if t.table == "losses"}
    found = {"CE, topk5": [0.5, 0.52], "mse, full": [0.55], "mse, topk5-smooth": [0.4, 0.42]}
    top1 = {key[name]: dict(enumerate(values)) for name, values in found.items()}
    outcome = Outcome("x", about, top1, {})
    lines = list(loss_lines(outcome.rows("losses")))[2:]
    assert lines == [
        "| CE, topk5 | 51.0 ± 1.4 (2) | – | – |",
        "| mse, full | 55.0 (1) | +4.0 | – |",
        "| mse, topk5-smooth | 41.0 ± 1.4 (2) | -10.0 ± 1.4 | -14.0 |",
    ]


def test_rates_are_chosen_on_images_held_out_and_told(study, shared_folder, tmp_path):
    import rates
    from about import About
    from loss_table import rate_lines
    from trials import Plan

    images = shared_folder / "train"
    label_images(label_config(images, tmp_path / "full.zarr", scheme=Scheme("full")))
    plan = Plan(epochs=2, stored=6, batch_size=8, lr=1.0, warmup_epochs=0.0)
    About(tmp_path).note(given=[18, 1], teacher="x", plan=vars(plan))
    held = tmp_path / "held"
    make_image_folder(held, train_per_class=1)
    words = [tmp_path, held / "train", "--row", "mse, full", "--lr", 1, "--lr", 0.5]
    for _ in range(2):
        done = CliRunner().invoke(rates.main, [str(word) for word in words])
        assert done.exit_code == 0, done.stderr
    found = About(tmp_path).said["held"]["mse, full"]
    assert list(found) == ["1", "0.5"]
    assert all(3 * top1 == pytest.approx(round(3 * top1)) for top1 in found.values())  # of 3 images
    configs = [json.loads(f.read_text()) for f in tmp_path.glob("rates/*/config.json")]
    assert sorted(c["lr"] for c in configs) == [0.5, 1.0]
    assert all(c["val"] == str(held / "train") for c in configs)
    told = list(rate_lines({"mse, full": {"1": 0.251, "0.5": 0.5}, "CE, topk5": {"1": 0.4}}))[2:]
    assert told == ["| mse, full | 50.0 | 25.1 |", "| CE, topk5 | – | 40.0 |"]


def test_a_study_tells_the_command_that_makes_it(study):
    from run import command, main

    words = ["few/", "--tune-on-all", "--scale", "0.4", "1.0", "--lr", "1.5"]
    words += ["--rate", "mse, full", "4.0", "--rate", "WTTM, full", "2.0"]
    of_the_machine = [
        "--seeds",
        "1",
        "--row",
        "mse, full",
        "--teacher-weights",
        "/some/where/w.pth",
    ]
    with main.make_context("run.py", [*words, *of_the_machine]):
        told = shlex.split(command())
    assert told[:2] == ["python", "benchmarks/accuracy/run.py"]
    assert told[2] == "few/"
    assert sorted(told[3:]) == sorted([*words[1:], "--teacher-weights", "w.pth"])
    assert " ".join(words[-6:]) in " ".join(told)


def test_a_row_that_no_table_has_is_refused(study):
    from run import chosen_rows
    from tables import planned_trials
    from trials import Plan

    trials = planned_trials(Plan(epochs=8, stored=8))
    assert {t.name for t in chosen_rows(trials, ["mse, full"])} == {"mse, full"}
    with pytest.raises(FkdError, match="no row is named 'mse'; these tables have plain supervised"):
        chosen_rows(trials, ["mse"])


@pytest.mark.whole
def test_from_images_to_the_report(study, shared_folder, tmp_path, monkeypatch):
    import clock
    import learners
    import report
    import run

    def invoked(command, *arguments):
        return CliRunner().invoke(command, [str(word) for word in arguments])

    monkeypatch.setattr(learners, "get_context", lambda _: SERVER)  # whose processes begin at once
    monkeypatch.setattr(clock, "_ROUNDS", 1)
    study, few = tmp_path / "study", ["--epochs", 4, "--stored", 4, "--batch-size", 4]
    few += ["--per-class", 4, "--tune", 4, "--teacher-weights", "none", "--clock-steps", 1]
    few += ["--lr", 2, "--size", 32, "--seeds", 1, "--jobs", 2, "--out", study]
    some = ["--table", "methods", "--table", "crops an image"]
    done = invoked(run.main, shared_folder, *few, *some)
    assert done.exit_code == 0, done.stderr
    trials = {f.parent.name: f.read_bytes() for f in (study / "runs").glob("*/trial.json")}
    assert len(trials) == 7 + 3  # m = 1 and m = 4, dealt, are in the first table too
    store = LabelStore.open(study / "full.zarr")
    assert (store.spec.num_images, store.spec.num_crops) == (12, 4)
    tuned_on = LabelStore.open(study / "teacher" / "base.zarr").read_crops(range(4))
    assert (tuned_on.box != store.read_crops(range(4)).box).any(axis=2).all()
    about = json.loads((study / "about.json").read_text())
    assert about["views_per_s"]["labelling"] > 0
    assert about["map_size"] == 3 * 32
    assert set(about["kl"]) == {"image", "map"}
    # Labels in the store are float16, so the same training is not the same to the last bit.
    stored, online, plain = (
        torch.load(study / "runs" / f"full_full_crops_per_image=1{how}_seed0" / "last.pt")[
            "student"
        ]
        for how in ("", "_online", "_hard_weight=1.0")
    )
    apart = [
        max(float((stored[name] - other[name]).abs().max()) for name in stored)
        for other in (online, plain)
    ]
    assert apart[0] < 0.05 * apart[1], apart
    again = invoked(run.main, shared_folder, *few, *some)
    assert again.exit_code == 0, again.stderr
    assert {f.parent.name: f.read_bytes() for f in study.glob("runs/*/trial.json")} == trials

    other = invoked(run.main, shared_folder, *few, "--map-size", 64, "--table", "schemes")
    assert (other.exit_code, other.stderr.count("error:")) == (2, 1)
    assert "was begun with map_size 96, not 64" in other.stderr

    done = invoked(report.main, study, "--docs", tmp_path / "docs")
    assert done.exit_code == 0, done.stderr
    text = (tmp_path / "docs" / "results.md").read_text("utf-8")
    top1 = json.loads(next(v for k, v in trials.items() if "online" in k))["top1"]
    assert f"{100 * top1:.1f}"[:3] in text
    for name in ("plain supervised", "online distillation", "label map, RoI-align", "m = 2"):
        assert f"| {name} | " in text
    assert f"{about['agreement']['map']:.1%}, KL {about['kl']['map']:.2f}" in text
    assert str(tmp_path) not in text
    plot = tmp_path / "docs" / "results" / "study-methods.png"
    assert plot.stat().st_size > 5000

    plot.unlink()
    published = plot.with_name("study.json")
    done = invoked(report.main, published, "--docs", tmp_path / "docs")
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "docs" / "results.md").read_text("utf-8") == text
    assert plot.exists()

    plot.with_name("study.toml").write_text('"crops an image" = """\nFour is\nenough.\n"""\n')
    done = invoked(report.main, published, "--docs", tmp_path / "docs")
    assert done.exit_code == 0, done.stderr
    remarked = (tmp_path / "docs" / "results.md").read_text("utf-8")
    assert remarked.replace("Four is enough.\n", "", 1).split() == text.split()
    assert remarked.index("Four is enough.") > remarked.index("## Crops an image")

    again, older = published.with_name("again.json"), json.loads(published.read_text("utf-8"))
    del older["about"]["kl"]
    again.write_text(json.dumps(older))
    done = invoked(report.main, published, again, "--docs", tmp_path / "docs")
    assert done.exit_code == 0, done.stderr
    both = (tmp_path / "docs" / "results.md").read_text("utf-8")
    for table in both.split("\n## ")[1:]:
        assert table.count("**study: 4 images a class") == table.count("**again: 4 images") == 1
    done = invoked(report.main, published, study, "--docs", tmp_path / "docs")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "two of these studies have one name (study, study)" in done.stderr
