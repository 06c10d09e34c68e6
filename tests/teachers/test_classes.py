"""How a teacher's outputs meet the classes of a folder, and what a store is of where there are none."""

import numpy as np
import pytest
import torch
import torchvision
from helpers.folders import label_config

from fkd import FkdError, Scheme, TeacherChoice, label_images
from fkd.teachers import OutputNames, load_teachers, map_classes

CPU = torch.device("cpu")
RUN = OutputNames(("b", "a", "c"), "the run")
WORDS = OutputNames(("tench", "crane", "crane", "cock"), "a library", binding=False)
T = TeacherChoice("t")


def listed(path, *names):
    path.write_text("\n".join(names))
    return TeacherChoice("t", classes_file=path)


def columns(folder, num_outputs, choice=T, names=None):
    mapped = map_classes(folder, num_outputs, choice, names)
    return None if mapped.columns is None else mapped.columns.tolist()


def test_names_that_come_with_a_teacher_match_folders():
    assert columns(("a", "c"), 3, names=RUN) == [1, 2]
    assert columns(("b", "a", "c"), 3, names=RUN) is None
    with pytest.raises(
        FkdError, match="1 of 3 class folders are not in the run: x; give --teacher-c"
    ):
        columns(("a", "b", "x"), 3, names=RUN)


def test_a_librarys_words_match_where_all_folders_have_them():
    assert columns(("cock", "tench"), 4, names=WORDS) == [3, 0]
    assert columns(("n01", "n02", "n03", "n04"), 4, names=WORDS) is None
    with pytest.raises(FkdError, match="folder has 2 classes, teacher t has 4 outputs"):
        columns(("crane", "tench"), 4, names=WORDS)  # which of the two


@pytest.mark.parametrize("names", [None, RUN, WORDS], ids=["unnamed", "a run's", "a library's"])
def test_folders_that_are_numbers_are_the_outputs_of_these_numbers(names):
    count = 4 if names is WORDS else 3
    assert columns(("0", "2"), count, names=names) == [0, 2]
    assert columns(("0", "1", "2", "3")[:count], count, names=names) is None
    with pytest.raises(FkdError, match=f"4 is no output of teacher t .0 to {count - 1}.; give"):
        columns(("0", "4"), count, names=names)


def test_all_folders_are_in_their_order_and_numbers_in_the_order_of_text_are_warned_of(
    tmp_path, capsys
):
    folder = tuple(sorted(map(str, range(12))))  # 0 1 10 11 2 …
    assert columns(folder, 12) is None
    assert (
        "warning: class folders are numbers in the order of their text, as torchvision sorts them: "
        "class 10 is output 2 of teacher t; where it is output 10, give --teacher-classes FILE"
    ) in capsys.readouterr().err
    assert columns(tuple(map(str, range(12))), 12) is None
    assert columns(("1", "2", "3"), 3) is None
    assert capsys.readouterr().err == ""
    assert columns(folder, 12, listed(tmp_path / "names", *folder)) == list(range(12))
    assert columns(("01", "02"), 2) is None  # which are no numbers of outputs


def test_outputs_of_one_name_are_one_class(tmp_path, capsys):
    names = listed(tmp_path / "names", "cat", "dog", "cat", "bird", "dog")
    mapped = map_classes(("dog", "bird"), 5, names)
    assert mapped.columns.tolist() == [1, 4, 3]
    assert mapped.class_of.tolist() == [0, 0, 1]
    assert mapped.names == ("dog", "bird")
    assert "1 class more than once (dog): the probabilities" in capsys.readouterr().err
    alone = map_classes(("bird",), 5, names)
    assert (alone.columns.tolist(), alone.class_of) == ([3], None)
    every = map_classes(("dog", "bird"), 5, TeacherChoice("t", "default", names.classes_file, True))
    assert (every.columns, every.names) == (None, ("cat", "dog", "bird"))
    assert every.class_of.tolist() == [0, 1, 0, 2, 1]
    assert every.target_of.tolist() == [1, 2]
    one, other = (map_classes(("a",), 2, listed(tmp_path / "n", *n)) for n in ("aa", "ab"))
    assert one.outputs_hash() != other.outputs_hash()


def test_their_probabilities_are_added_at_the_temperature(shared_folder, tmp_path):
    """Three outputs of one name in the place of one: its odds are the sum of theirs."""
    names = tmp_path / "names"
    names.write_text("circle\nsquare\ntriangle\ncircle\nsquare")
    torch.manual_seed(0)
    model = torchvision.models.squeezenet1_1(num_classes=5)
    torch.save(model.state_dict(), tmp_path / "w.pth")
    choice = TeacherChoice("squeezenet1_1", str(tmp_path / "w.pth"), names, size=32)
    classes = ("circle", "square", "triangle")
    teacher = load_teachers([choice], classes, CPU).teachers[0]
    views = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    each = (teacher.outputs(views, 4) / 3).softmax(dim=1)
    expected = torch.stack([each[:, 0] + each[:, 3], each[:, 1] + each[:, 4], each[:, 2]], dim=1)
    assert torch.allclose(teacher.probs(views, 4, 3.0), expected)
    store = label_images(
        label_config(shared_folder, tmp_path / "s.zarr", teacher=choice, scheme=Scheme("full"))
    )
    assert store.class_names() == classes
    names.write_text("circle\nsquare\ntriangle\ncircle\ntriangle")
    with pytest.raises(FkdError, match="other settings: --teacher-classes"):
        label_images(
            label_config(shared_folder, tmp_path / "s.zarr", teacher=choice, scheme=Scheme("full"))
        )


def test_without_folder_classes_all_outputs_are_kept(tmp_path):
    for names, expected in (
        (None, ("0", "1", "2", "3")),
        (WORDS, ("tench", "crane (1)", "crane (2)", "cock")),
        (OutputNames(("a", "b", "d", "c"), "r"), ("a", "b", "d", "c")),
    ):
        mapped = map_classes(None, 4, T, names)
        assert (mapped.columns, mapped.names, mapped.class_of) == (None, expected, None)
        assert mapped.target_of.shape == (0,)
        assert mapped.target_of.dtype == np.int64
    mapped = map_classes(None, 4, listed(tmp_path / "names", "x", "y", "x", "z"), WORDS)
    assert mapped.names == ("x", "y", "z")
    assert mapped.columns[mapped.class_of == 0].tolist() == [0, 2]


def test_one_teacher_names_the_classes_for_all(tmp_path):
    for name, count in (("three", 3), ("four", 4)):
        (tmp_path / f"{name}.txt").write_text("\n".join("dcba"[:count]))
    plain = TeacherChoice("squeezenet1_1", "none", size=32)

    def weights(count, file=None):
        model, path = torchvision.models.squeezenet1_1(num_classes=count), tmp_path / f"{count}.pth"
        torch.save(model.state_dict(), path)
        return TeacherChoice("squeezenet1_1", str(path), file, size=32)

    assert load_teachers([plain], None, CPU).classes.names == tuple(map(str, range(1000)))
    both = load_teachers([weights(3), weights(3, tmp_path / "three.txt")], None, CPU)
    assert [t.class_map.names for t in both.teachers] == [("d", "c", "b")] * 2
    assert both.classes.target_of.shape == (0,)
    (tmp_path / "others.txt").write_text("d\nc\nx")
    named = weights(3, tmp_path / "three.txt")
    for pair, words in (
        ([weights(3), weights(4)], r"3 classes \(0, 1, 2\), squeezenet1_1 has 4 outputs"),
        (
            [weights(3), weights(4, tmp_path / "four.txt")],
            r"4 classes \(d, c, b …\).* has 3 outputs",
        ),
        ([named, weights(4, tmp_path / "four.txt")], r"3 classes \(d, c, b\).* has 4 outputs"),
        ([named, weights(3, tmp_path / "others.txt")], r"3 classes \(d, c, b\).* has 3 outputs"),
    ):
        with pytest.raises(FkdError, match="label other classes: the store would have " + words):
            load_teachers(pair, None, CPU)
