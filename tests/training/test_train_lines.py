"""Students that learn to read lines: from texts, the store and each other; what they are judged by."""

import pytest
import torch
from helpers.lines import SHORT, STUDENT, draw_line, line_config, make_line_folder
from helpers.processes import refused

from fkd import (
    FkdError,
    LabelStore,
    StudentLoader,
    Term,
    TrainConfig,
    evaluate_checkpoint,
    export_student,
    label_images,
    load_student,
    rehearse,
    train_student,
)
from fkd.config import LoaderConfig
from fkd.evaluation import LineAccuracy
from fkd.feeding import CenterViewLoader
from fkd.models import crnn, svtr
from fkd.publishing.baseline import baseline_rows
from fkd.runs import read_metrics
from fkd.students import read_checkpoint
from fkd.training import check_inputs
from fkd.training.outcome import accuracy_words


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_line_folder(tmp_path_factory.mktemp("lines") / "lines", train=16, val=6)


@pytest.fixture(scope="module")
def store(place) -> LabelStore:
    return label_images(line_config(place, place.parent / "lines.zarr"))


def config(store, out, **changes):
    settings = {
        "student": STUDENT, "crops_per_image": 2, "scheme": "topk2", "epochs": 80, "batch_size": 16,
        "optimizer": "adamw", "lr": 1.0, "device": "cpu", "workers": 1, "log": "none",
        "loss": (Term("truth", "ctc"), Term(by="kl")), "eval_every": 40,
    }  # fmt: skip
    return TrainConfig.of(store=store.path, out=out, **(settings | changes))


@pytest.fixture(scope="module")
def run(store, tmp_path_factory):
    return train_student(config(store, tmp_path_factory.mktemp("runs") / "run"))


def test_a_student_learns_to_read(run, place):
    found = evaluate_checkpoint(run, place, device="cpu")
    assert isinstance(found, LineAccuracy)
    assert found.exact_match >= 0.5
    assert found.character_error_rate < 0.5
    assert found.score == found.exact_match
    logged = [m for m in read_metrics(run) if "exact_match" in m]
    assert logged[-1]["exact_match"] == found.exact_match
    assert "character_error_rate" in logged[-1]


@pytest.mark.parametrize("format", ["pt2", "onnx"])
def test_an_export_says_frames(run, tmp_path, format):
    exported = export_student(run, format, tmp_path / f"student.{format}")
    assert exported.lines
    if format == "pt2":
        program = torch.export.load(exported.path).module()
        assert program(torch.rand(2, 3, 16, 64)).shape == (2, 16, 5)


def test_a_checkpoint_says_that_it_is_of_lines(run):
    card = read_checkpoint(run / "best.pt").card
    assert (card.lines, card.maps) == (True, False)
    assert card.center_view.fit == "pad"
    _, model = load_student(run)
    assert model(torch.zeros(1, 3, 16, 64)).shape == (1, 16, 5)
    assert card.judged_by == "exact match"


def test_two_students_learn_from_each_other_by_the_shipped_recipe(store):
    students = [{"name": n, "model": m} for n, m in (("Student", STUDENT), ("Teacher", SHORT))]
    small = {
        "store": store.path, "epochs": 2, "batch_size": 8, "crops_per_image": 2, "scheme": "topk2",
        "val": "none", "device": "cpu", "log": "none", "student": students,
    }  # fmt: skip
    assert rehearse(TrainConfig.from_recipe("paddleocr-rec", **small)).total_steps == 4


def test_a_folder_without_texts_is_refused_by_what_it_lacks(run, tmp_path):
    draw_line("a").save(tmp_path / "a.png")
    assert "no images with texts" in refused("eval", run, tmp_path, alone=False)
    (tmp_path / "labels.txt").write_text("a.png\t\n")
    assert "labels.txt: no text has a character" in refused("eval", run, tmp_path, alone=False)


def test_the_recipe_of_lines_is_of_any_store_of_texts(store, place, tmp_path):
    small = {"epochs": 1, "device": "cpu", "workers": 1, "log": "none", "batch_size": 8}
    config = TrainConfig.from_recipe("lines", store=store.path, out=tmp_path / "run", **small)
    assert config.scheme is None  # the store keeps two classes of each frame, and both are read
    run = train_student(config)
    (last,) = [line for line in read_metrics(run) if line["kind"] == "eval"]
    assert accuracy_words(last).startswith(
        f"exact match {last['exact_match']:.2%}, character error"
    )
    assert baseline_rows(run)[-1][1].endswith("%, its best")


def test_loaders_give_texts(store, place):
    settings = LoaderConfig.of(
        store=store.path, batch_size=8, crops_per_image=2, scheme="topk2", device="cpu", epochs=1
    )
    loader = StudentLoader(
        store.path,
        batch_size=8,
        crops_per_image=2,
        scheme="topk2",
        device="cpu",
        epochs=1,
        texts=True,
    )
    batch = next(iter(loader))
    loader.close()
    assert batch.texts.dtype == torch.int64
    assert batch.truth is batch.texts
    assert batch.labels.grid == (16,)
    longer = type(batch).concatenate([batch.take(slice(0, 2)), batch])
    assert longer.texts.shape[0] == 10
    val = CenterViewLoader.beside(settings, None, torch.device("cpu"))
    _, texts = next(iter(val))
    assert texts.dtype == torch.int64


def test_a_text_that_has_changed_ends_a_run(tmp_path):
    folder = make_line_folder(tmp_path / "lines", train=4, val=0)
    own = label_images(line_config(folder, tmp_path / "s.zarr"))
    file = folder / "train" / "labels.txt"
    file.write_text(file.read_text("utf-8").replace("\t", "\tab"), "utf-8")
    with pytest.raises(FkdError, match=r"000.png has another text than when it was labelled"):
        train_student(config(own, tmp_path / "run", batch_size=4, epochs=1))


def test_texts_of_more_characters_than_frames_are_warned_of(tmp_path, capsys):
    folder = make_line_folder(tmp_path / "lines", train=4, val=0)
    texts = ("abababab", "aababab", "aabababa", "")  # the third needs nine frames, the second eight
    rows = [f"{number:03}.png\t{text}\n" for number, text in enumerate(texts)]
    (folder / "train" / "labels.txt").write_text("".join(rows), "utf-8")
    own = label_images(line_config(folder, tmp_path / "s.zarr"))
    train_student(config(own, tmp_path / "run", student=SHORT, batch_size=4, epochs=1))
    said = capsys.readouterr().err
    assert f"1 of 4 texts need more than the 8 frames of student {SHORT}" in said
    (tmp_path / "two.txt").write_text("002.png\n003.png\n")
    two = {"student": SHORT, "batch_size": 2, "epochs": 1, "subset": tmp_path / "two.txt"}
    train_student(config(own, tmp_path / "part", **two))
    said = capsys.readouterr().err
    assert "1 of 2 texts need more than" in said
    assert f"2 texts in {folder / 'train' / 'labels.txt'}" in said
    (folder / "train" / "000.png").unlink()
    (folder / "train" / "labels.txt").write_text("".join(rows[1:]), "utf-8")
    fewer = {"student": SHORT, "batch_size": 2, "epochs": 1, "drop_missing": True}
    rehearse(config(own, tmp_path / "other", **fewer))
    assert "1 of 3 texts need more than" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"loss": "kl", "hard_weight": 0.5}, "which have a text; give the loss in terms"),
        ({"loss": Term("truth")}, "holds lines of 16 labels, whose loss to truth is by ctc"),
        ({"loss": Term(by="nkd")}, "holds lines of 16 labels; take kl"),
        ({"mixup": 1.0}, "have a label at each position"),
        ({"min_confidence": 0.5}, "lines.zarr holds lines of 16 labels; leave them out"),
        ({"val": "nowhere"}, "nowhere"),
    ],
)
def test_what_lines_are_not_trained_by_is_refused(store, tmp_path, changes, words):
    with pytest.raises(FkdError, match=words):
        check_inputs(config(store, tmp_path / "run", **changes))


def test_a_student_of_one_label_is_refused(store, tmp_path):
    with pytest.raises(FkdError, match=r"says no line of labels.*fkd.models:crnn"):
        train_student(config(store, tmp_path / "run", student="squeezenet1_1"))


@pytest.mark.parametrize("build", [crnn, svtr])
def test_small_recognisers_say_eighths_of_a_line(build):
    model = build(7)
    assert model(torch.randn(2, 3, 48, 320)).shape == (2, 40, 7)
    body = sum(p.numel() for name, p in model.named_parameters() if not name.startswith("head"))
    assert 500_000 < body < 520_000
