"""A part of the images: shares, lists and classes, chosen by keys alone."""

import re
from pathlib import Path

import numpy as np
import pytest

from fkd.config import Part
from fkd.errors import ConfigError
from fkd.images import ImageList, Keys, in_part, take_part

CLASSES = ("ant", "bee", "café")
SIZES = (40, 10, 3)


def images(prefix=""):
    paths = [
        f"{name}/{prefix}{name}_{n}.JPEG"
        for name, size in zip(CLASSES, SIZES, strict=True)
        for n in range(size)
    ]
    targets = np.repeat(np.arange(3), SIZES)
    return ImageList(Path("/data"), Keys.of(paths), targets, np.arange(len(paths)), CLASSES)


def chosen(part, of=None):
    return list(take_part(part, of or images()).paths)


@pytest.mark.parametrize(
    ("share", "counts"), [("10%", [4, 1, 1]), (0.25, [10, 3, 1]), ("1", [40, 10, 3])]
)
def test_a_share_is_of_each_class(share, counts):
    """A quarter of 10 is 3, for halves are rounded up; and no class is left out."""
    taken = take_part(Part(share), images())
    assert np.bincount(taken.targets).tolist() == counts
    assert taken.classes == CLASSES
    assert list(taken.paths) == [path for path in images().paths if path in set(taken.paths)]


def test_a_share_is_drawn_by_keys_alone():
    whole = images()
    expected = set(chosen(Part("0.2")))
    mixed = whole.take(np.random.default_rng(0).permutation(len(whole)))
    assert set(chosen(Part("20%"), mixed)) == expected
    # In a store classes may have other numbers.
    again = in_part(Part("0.2"), whole.paths, 7 - whole.targets, "abcdefgh", "a store")
    assert {whole.paths[n] for n in np.flatnonzero(again)} == expected
    assert expected < set(chosen(Part("0.5")))
    # This is what stores and runs were made with: another draw would be another part.
    pinned = ["ant/ant_24.JPEG", "ant/ant_33.JPEG", "bee/bee_8.JPEG", "café/café_1.JPEG"]
    assert chosen(Part("0.05")) == pinned


def test_images_without_classes_are_one_class():
    whole = images()
    for targets in (None, np.full(53, -1)):
        assert in_part(Part("10%"), whole.paths, targets, (), "x").sum() == 5


def test_listed_images_are_known_by_key_path_or_name(tmp_path):
    file = tmp_path / "1percent.txt"
    file.write_text("\nbee_3.JPEG\nant/ant_7.JPEG \r\ntrain/café/café_0.JPEG\nbee_3.JPEG\n")
    assert chosen(Part(file)) == ["ant/ant_7.JPEG", "bee/bee_3.JPEG", "café/café_0.JPEG"]
    classes = tmp_path / "classes"
    classes.write_text("cafe\u0301\nbee\n", "utf-8")
    taken = take_part(Part(str(file), classes), images())
    assert list(taken.paths) == ["bee/bee_3.JPEG", "café/café_0.JPEG"]
    assert (taken.classes, taken.targets.tolist()) == (("bee", "café"), [0, 1])


@pytest.mark.parametrize(
    ("subset", "classes", "words"),
    [
        ("ant/ant_1.JPEG\n\nant/x.JPEG", None, "line 3: ant/x.JPEG is no image of /data; give one key"),
        ("0.JPEG", None, "line 1: 0.JPEG is the name of 3 images (ant/0.JPEG, bee/0.JPEG, café/0.JPEG)"),
        ("\n\n", None, "is empty"),
        (None, "bee\nwasp", "--classes classes, line 2: wasp is no class of /data"),
        ("ant/ant_1.JPEG", "bee", "--subset list --classes classes leaves no image of /data"),
        (None, "", "--classes classes is empty"),
    ],
)  # fmt: skip
def test_what_is_no_part_is_refused_with_its_line(tmp_path, monkeypatch, subset, classes, words):
    monkeypatch.chdir(tmp_path)
    for name, text in (("list", subset), ("classes", classes)):
        if text is not None:
            Path(name).write_text(text)
    part = Part(None if subset is None else "list", None if classes is None else Path("classes"))
    of = images()
    if subset == "0.JPEG":
        keys = Keys.of(f"{name}/0.JPEG" for name in CLASSES)
        of = ImageList(of.root, keys, np.arange(3), np.ones(3), CLASSES)
    with pytest.raises(ConfigError, match=re.escape(words)):
        take_part(part, of)


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (lambda: Part("10"), "--subset 10 is no share of the images: a share is above 0 and at most 1"),
        (lambda: Part("0%"), "--subset 0% is no share of the images"),
        (lambda: Part(-0.5), "--subset -0.5 is no share of the images"),
        (lambda: Part(True), "subset is True; it must be text"),
        (lambda: take_part(Part("no/file"), images()), "--subset no/file: no such file; give a text"),
        (lambda: in_part(Part(None, "x"), ["a"], None, (), "b"), "the images of b have no classes"),
    ],
)  # fmt: skip
def test_shares_and_files_are_told_apart(part, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        part()
    assert (Part("1e-1").share, Part(np.float32(0.5)).share, Part("./10%").listed) == (
        0.1, 0.5, Path("10%")
    )  # fmt: skip
