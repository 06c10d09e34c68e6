"""Lines of text: a teacher of frames, texts beside images, stores of them, and what is refused."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.lines import (
    CHARACTERS,
    LINE_TEACHER,
    PROBS_TEACHER,
    VIEWS,
    draw_line,
    line_config,
    make_line_folder,
)

from fkd import (
    AddTeacherConfig,
    FkdError,
    LabelStore,
    Scheme,
    TeacherChoice,
    ViewPolicy,
    add_teacher,
    label_images,
)
from fkd.checking import check_store
from fkd.copying import copy_store
from fkd.orders import CheckConfig, CopyConfig
from fkd.truth import find_texts, list_lines, read_off


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_line_folder(tmp_path_factory.mktemp("lines") / "lines")


@pytest.fixture(scope="module")
def store(place) -> LabelStore:
    return label_images(line_config(place, place.parent / "lines.zarr"))


def test_a_store_has_the_labels_of_frames(store, place):
    spec = store.spec
    assert (spec.grid, spec.texts, spec.masks, spec.unlabelled) == ((16,), True, False, True)
    assert store.class_names() == CHARACTERS
    texts = find_texts(list_lines(place / "train"))
    assert store.truth_hashes().tolist() == [texts.content_hash(n) for n in range(10)]
    slab = store.read_images(range(10), 2)
    assert slab.kept["index"].shape == (10, 2, 32)
    kept = {n: torch.from_numpy(v.reshape(20, -1)) for n, v in slab.kept.items()}
    best = spec.labels.restore(kept).top_class.reshape(20, 16).tolist()
    assert [read_off(one, CHARACTERS) for one in best[::2]] == [texts.text(n) for n in range(10)]


def test_probabilities_are_kept_alike(place, store, tmp_path):
    other = label_images(line_config(place, tmp_path / "p.zarr", teacher=PROBS_TEACHER))
    mine, theirs = (one.read_images(range(10), 2).kept for one in (store, other))
    assert np.array_equal(mine["index"], theirs["index"])
    assert np.abs(mine["code"].astype(int) - theirs["code"].astype(int)).max() <= 1


def test_without_texts_labels_are_over_the_teachers_classes(place, tmp_path):
    views = ViewPolicy()  # mirrored lines have labels, too
    plain = label_images(
        line_config(place / "train", tmp_path / "u.zarr", unlabelled=True, views=views)
    )
    assert (plain.spec.texts, plain.truth_hashes()) == (False, None)
    assert plain.class_names() == tuple("01234")


def test_a_text_that_has_changed_is_found(place, store, tmp_path):
    assert check_store(CheckConfig(store.path)).ok
    folder = shutil.copytree(place, tmp_path / "lines")
    file = folder / "train" / "labels.txt"
    lines = file.read_text("utf-8").splitlines(keepends=True)
    file.write_text("".join(["000.png\tbbbb\n", *lines[1:]]), "utf-8")
    report = check_store(CheckConfig(store.path, images=folder))
    assert not report.ok
    assert any("000.png has another text" in verdict.detail for verdict in report.verdicts)


@pytest.mark.parametrize("array", ["text_hash", "size"])
def test_a_damaged_block_is_found_and_sent_back(store, tmp_path, array):
    damaged = shutil.copytree(store.path, tmp_path / "s.zarr")
    file = next(f for f in (damaged / array / "c").rglob("*") if f.is_file())
    file.write_bytes(file.read_bytes()[:-1])
    report = check_store(CheckConfig(damaged, repair=True))
    assert report.sent_back == (0,)
    assert any(v.part == "texts" and "is damaged" in v.detail for v in report.verdicts)


def test_a_copy_keeps_texts(store, tmp_path):
    part = copy_store(CopyConfig(store.path, tmp_path / "part.zarr", num_crops=1))
    assert part.spec.texts
    assert part.truth_hashes().tolist() == store.truth_hashes().tolist()


def test_texts_of_other_characters_are_counted(tmp_path, capsys):
    folder = make_line_folder(tmp_path / "lines", train=3)
    (folder / "charset.txt").write_text("blank\na\nb\né\n", "utf-8")
    names = tmp_path / "names.txt"
    names.write_text("\n".join(CHARACTERS) + "\n", "utf-8")
    file = folder / "train" / "labels.txt"
    file.write_text("000.png\ta b\n001.png\tab\n002.png\té\n", "utf-8")
    teacher = {**vars(LINE_TEACHER), "classes_file": names}
    store = label_images(
        line_config(folder, tmp_path / "s.zarr", teacher=type(LINE_TEACHER)(**teacher))
    )
    assert store.class_names() == ("blank", "a", "b", "é")  # the blank of a charset is no output's
    assert "1 text of 3 have characters that are no classes (1 character more: ' ')" in (
        capsys.readouterr().err
    )


def test_other_characters_than_a_store_has_are_named(tmp_path):
    """So are those that a teacher which joins does not know, without a word of folders."""
    folder = make_line_folder(tmp_path / "lines", train=3)
    whole = line_config(folder, tmp_path / "s.zarr")
    label_images(whole)
    (folder / "charset.txt").write_text("blank\nb\na\n \né\n", "utf-8")
    with pytest.raises(
        FkdError, match=r"charset.txt has other classes .*: their order is another from"
    ):
        label_images(whole)
    (folder / "charset.txt").write_text("blank\na\nb\n \nx\n", "utf-8")
    with pytest.raises(
        FkdError, match=r"charset.txt has .*: 'x' is new and 'é' is gone; use the same"
    ):
        label_images(whole)
    (tmp_path / "names.txt").write_text("blank\na\nb\nx\ny\n")
    teacher = replace(LINE_TEACHER, classes_file=tmp_path / "names.txt")
    joining = AddTeacherConfig(whole.out, teacher, tmp_path / "t.zarr", device="cpu")
    with pytest.raises(
        FkdError,
        match=r"2 of 5 classes of the store are not in .*; names and lines must be spelled alike$",
    ):
        add_teacher(joining)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"views": ViewPolicy()}, "add --no-flip"),
        ({"map_stride": 4}, "--map-stride 4 is of maps, and teacher .* says lines of 16 labels"),
        ({"scheme": Scheme("samples", 4)}, "these are lines of 16 labels; choose topk3"),
        (
            {"teacher": (LINE_TEACHER, type(LINE_TEACHER)("helpers.lines:teacher", size=(16, 32)))},
            "says 16 labels and .* 8; their frames are not the same places",
        ),
    ],
)
def test_what_lines_are_not_is_refused(place, tmp_path, changes, words):
    with pytest.raises(FkdError, match=words):
        label_images(line_config(place, tmp_path / "s.zarr", **changes))
    assert not (tmp_path / "s.zarr").exists()


def test_crops_that_cut_lines_are_warned_of(place, tmp_path, capsys):
    views = ViewPolicy(flip=False)
    label_images(line_config(place, tmp_path / "s.zarr", views=views, num_crops=1))
    assert "crops may show a part of a line" in capsys.readouterr().err
    label_images(line_config(place, tmp_path / "t.zarr", views=VIEWS, num_crops=1))
    found = capsys.readouterr().err
    assert "crops may show" not in found
    assert "exact match 100.0%, character error rate 0.0% on 10 padded images of 16x64 px" in found
    joining = AddTeacherConfig(tmp_path / "t.zarr", LINE_TEACHER, tmp_path / "u.zarr", device="cpu")
    add_teacher(joining)
    assert "exact match 100.0%" in capsys.readouterr().err  # texts are read for the look


def test_folders_of_classes_beside_texts_are_warned_of(tmp_path, capsys):
    (tmp_path / "set" / "cat").mkdir(parents=True)
    draw_line("a").save(tmp_path / "set" / "cat" / "0.png")
    (tmp_path / "set" / "labels.txt").write_text("cat/0.png\tcat\n")
    squeezed = TeacherChoice("squeezenet1_1", weights="none", size=32)
    store = label_images(
        line_config(
            tmp_path / "set", tmp_path / "s.zarr", teacher=squeezed, views=ViewPolicy(), num_crops=1
        )
    )
    assert store.spec.unlabelled
    assert "their folders are not taken for classes" in capsys.readouterr().err


def test_a_longer_line_is_padded_to_its_height(tmp_path):
    folder = make_line_folder(tmp_path / "lines", train=1, val=0)
    draw_line("ab", width=40).save(folder / "train" / "000.png")
    (folder / "train" / "labels.txt").write_text("000.png\tab\n")
    store = label_images(line_config(folder, tmp_path / "s.zarr", scheme=Scheme("hard")))
    best = store.read_images(range(1), 1).kept["index"][0, 0].tolist()
    assert read_off(best, CHARACTERS) == "ab"
    assert best[11:] == [0] * 5
