"""Names in two Unicode forms are one name, and two folders of one name are refused."""

from types import SimpleNamespace

import pytest

from fkd.config import TeacherChoice
from fkd.errors import ImagesError, ModelError
from fkd.evaluation import match_classes
from fkd.images import match_names
from fkd.teachers.classes import map_classes

ONE, TWO = "caf\u00e9", "cafe\u0301"  # é as one character, and as a letter with an accent


def test_names_match_in_either_form():
    assert match_names(["tea", TWO], [ONE, "tea"]) == [1, 0]
    assert match_names([ONE, "cake"], [TWO, "tea"]) == [0, None]


def test_what_is_the_same_to_the_character_needs_no_form():
    assert match_names([TWO, ONE], [ONE, TWO]) == [1, 0]


def test_names_that_fall_together_are_refused():
    with pytest.raises(ImagesError, match=r"in two Unicode forms: 'caf\\xe9' and 'cafe\\u0301'"):
        match_names([ONE, TWO], [ONE, "x"])


def test_a_teachers_list_may_be_in_another_form_than_the_folders(tmp_path):
    (tmp_path / "names.txt").write_text(f"tea\n{ONE}\nmilk\n", "utf-8")
    mapped = map_classes((TWO, "tea"), 3, TeacherChoice("t", classes_file=tmp_path / "names.txt"))
    assert mapped.columns.tolist() == [1, 0]
    assert mapped.names == (TWO, "tea")
    with pytest.raises(ModelError, match="1 of 2 class folders are not in"):
        map_classes(("x", TWO), 3, TeacherChoice("t", classes_file=tmp_path / "names.txt"))


def test_a_teachers_list_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "names.txt").write_text("tea\nmilk\n", "utf-8-sig")
    mapped = map_classes(
        ("milk", "tea"), 2, TeacherChoice("t", classes_file=tmp_path / "names.txt")
    )
    assert mapped.columns.tolist() == [1, 0]


def test_a_student_is_evaluated_on_folders_in_another_form():
    folder = SimpleNamespace(root="r", classes=(TWO, "tea"))
    assert match_classes(folder, ("tea", ONE)).tolist() == [1, 0]
    with pytest.raises(ImagesError, match="1 of 1 class folders are not among"):
        match_classes(SimpleNamespace(root="r", classes=("x",)), ("tea", ONE))


def test_two_forms_that_nobody_asks_for_are_two_names():
    names = ["\u00c5", "\u212b", "a", ONE]
    assert match_names(["a", " "], names) == [2, None]
    assert match_names(["\u212b", TWO, "x"], names) == [1, 3, None]
    with pytest.raises(ImagesError, match="two names of classes are one name"):
        match_names(["A\u030a"], names)
