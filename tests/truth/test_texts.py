"""Texts of lines: labels.txt and charset.txt are read, or refused by a line that names what is wrong."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.lines import CHARACTERS, draw_line, make_line_folder

from fkd.errors import FkdError
from fkd.truth import (
    ReadLines,
    aligned,
    edit_distance,
    find_texts,
    lined_root,
    list_lines,
    read_off,
    require_blank,
    require_named,
)


@pytest.fixture
def place(tmp_path):
    return make_line_folder(tmp_path / "lines", train=3, val=2)


def texts_of(folder):
    return find_texts(list_lines(folder))


def test_the_images_that_labels_name_are_the_data_set(place):
    train = place / "train"
    draw_line("a").save(train / "more.png")
    (train / "labels.txt").write_text("./002.png\ta\tb\r\n\r\n000.png\t\n", "utf-8")
    assert lined_root(place) == train
    assert lined_root(place, "val") == place / "val"
    texts = texts_of(train)
    assert list(texts.keys) == ["000.png", "002.png"]
    assert [texts.text(n) for n in range(2)] == ["", "a\tb"]
    assert texts.classes == CHARACTERS


def test_a_list_of_classes_is_none_of_texts(place):
    (place / "train" / "labels.txt").write_text("cat\ndog\n")
    assert lined_root(place) is None
    assert lined_root(place, split=None) is None


def test_characters_are_numbers_of_classes(place):
    (place / "train" / "labels.txt").write_text("000.png\ta éb\n001.png\tax\n002.png\t\n", "utf-8")
    texts = texts_of(place / "train").matched(CHARACTERS, "the classes")
    assert [texts.encoded(n) for n in range(3)] == [[1, 3, 4, 2], None, []]
    assert texts.num_strange == 1
    assert "'x'" in texts.strange_words
    assert texts.rows([2, 0, 1]).tolist() == [[0] * 4, [1, 3, 4, 2], [-1] * 4]


def test_repeats_are_read_once_and_blanks_not_at_all():
    assert read_off([0, 1, 1, 0, 1, 2, 2, 0], CHARACTERS) == "aab"
    assert read_off([0, 0], CHARACTERS) == ""


@pytest.mark.parametrize(
    ("said", "written", "distance"),
    [("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("aab", "ab", 1), ("ab", "ab", 0)],
)
def test_an_edit_distance_is_levenshteins(said, written, distance):
    assert edit_distance(said, written) == distance


@pytest.mark.parametrize(
    ("labels", "charset", "words"),
    [
        ("000.png\ta\n001.png b\n", None, "labels.txt, line 2: no path below its folder, a tab"),
        ("000.png\ta\n../x.png\tb\n", None, "line 2: no path below its folder"),
        ("000.png\ta\n000.png\tb\n", None, r"line 2: 000.png has two texts"),
        ("000.png\ta\n", "blank\na\nbc\n", r"charset.txt: line 3 is no single character"),
        ("000.png\ta\n", "blank\na\na\n", r"charset.txt: a line is there twice"),
        ("000.png\ta\n", "", r"charset.txt: it lists no character"),
        ("000.png\ta\n", "blank\na\n\0\n", r"charset.txt: line 3 is no single character"),
        ("000.png\ta\nlost.png\tb\n", None, r"1 of 2 images that .* names is missing: lost.png;"),
        ("x.png\ta\ny.png\tb\n", None, r"2 of 2 images that .* names are missing: x.png …;"),
        ("000.png\tx\n", None, r"no text is of the classes alone \(1 character more: 'x'\)"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(place, labels, charset, words):
    (place / "train" / "labels.txt").write_text(labels, "utf-8")
    if charset is not None:
        (place / "charset.txt").write_text(charset, "utf-8")

    def read():
        texts = texts_of(place / "train")
        require_named(texts)
        require_blank(texts)
        texts.matched(CHARACTERS, "the classes")

    with pytest.raises(FkdError, match=words):
        read()


def test_images_that_are_gone_hinder_no_texts_of_others(place):
    texts = replace(texts_of(place / "train"), keys=("gone.png", "000.png"))
    assert len(texts) == 1
    assert texts.matched(CHARACTERS, "the classes").num_strange == 0
    with pytest.raises(FkdError, match=r"no text is of the classes alone"):
        texts.matched(("blank", "x"), "the classes")
    with pytest.raises(FkdError, match=r"labels.txt has no line of gone.png"):
        texts.text(0)


def test_texts_that_are_no_utf8_are_refused_by_their_name(place):
    (place / "train" / "labels.txt").write_bytes("000.png\té\n".encode("latin-1"))
    with pytest.raises(FkdError, match=r"labels.txt cannot be read .* in UTF-8"):
        list_lines(lined_root(place))
    for encoding in ("utf-16", "utf-16-be"):
        mark = "\ufeff" if encoding == "utf-16-be" else ""
        (place / "train" / "labels.txt").write_bytes(f"{mark}000.png\té\n".encode(encoding))
        with pytest.raises(FkdError, match=r"labels.txt is in UTF-16; save it in UTF-8"):
            list_lines(lined_root(place))


def test_names_of_images_are_known_in_another_unicode_form(place):
    composed, apart = "\xe9.png", "e\u0301.png"
    train = place / "train"
    (train / "000.png").rename(train / apart)
    (train / "labels.txt").write_text(f"{composed}\ta\n001.png\tb\n", "utf-8")
    texts = texts_of(train)
    require_named(texts)
    assert [texts.text(n) for n in range(2)] == ["b", "a"]
    (train / "labels.txt").write_text(f"{composed}\ta\n{apart}\tb\n", "utf-8")  # each its own
    with pytest.raises(FkdError, match=r"1 of 2 images that .* is missing"):
        require_named(texts_of(train))
    (train / "002.png").rename(train / composed)
    assert sorted(texts_of(train).written.values()) == ["a", "b"]


def test_classes_that_nobody_named_are_no_characters(place):
    texts = texts_of(place / "train")
    with pytest.raises(FkdError, match=r"the classes have no names; label with --teacher-classes"):
        texts.matched(("0", "1", "2"), "the classes")
    (place / "charset.txt").unlink()
    with pytest.raises(FkdError, match=r"the classes have no names; say in charset.txt"):
        texts_of(place / "train").matched(("0", "1", "2"), "the classes")


def test_texts_are_aligned_with_as_few_differences_as_can_be():
    rng = np.random.default_rng(0)
    assert aligned("", "") == []
    assert aligned("a1c", "abcd") == [("a", "a"), ("1", "b"), ("c", "c"), ("", "d")]
    for _ in range(50):
        said, written = ("".join(rng.choice(list("ab c"), rng.integers(0, 9))) for _ in range(2))
        pairs = aligned(said, written)
        assert ["".join(side) for side in zip(*pairs, strict=True)] in ([said, written], [])
        assert sum(one != other for one, other in pairs) == edit_distance(said, written)


def test_what_cannot_be_read_is_wrong_though_its_text_is_empty():
    read = ReadLines()
    read.add("", "")
    read.add(None, "")
    read.add(None, "abc")
    read.add("abd", "abc")
    assert (read.exact_match, read.character_error_rate) == (0.25, 4 / 6)
