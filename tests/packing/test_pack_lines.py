"""`fkd pack` of lines with texts: labels.txt has the names of the copies, charset.txt goes along."""

from functools import partial

import pytest
from helpers import packed
from helpers.lines import CHARACTERS, draw_line, line_config, make_line_folder
from PIL import Image

from fkd import label_images
from fkd.errors import ImagesError
from fkd.originals import find_images, find_labelled_texts
from fkd.truth import find_texts, lined_root, list_lines

pack = partial(packed.pack, pixels=8)


@pytest.fixture
def lines(tmp_path):
    """Four lines to train on and two to judge: one is too small to be made smaller."""
    root = make_line_folder(tmp_path / "lines", train=4, val=2)
    draw_line("ab").resize((32, 8)).save(root / "train" / "003.png")
    return root


def texts_of(root):
    """Return the text of each image that is listed, by its key, with the characters."""
    found = find_texts(list_lines(root))
    assert len(found) == len(found.written)
    return dict(found.written), found.characters


def test_texts_go_along_by_the_names_of_the_copies(lines, tmp_path):
    report = pack(lines, tmp_path / "out")
    assert (report.packed, report.copied) == (5, 1)
    for split in ("train", "val"):
        texts, characters = texts_of(tmp_path / "out" / split)
        was, _ = texts_of(lines / split)
        assert list(texts.values()) == list(was.values())
        assert characters == CHARACTERS
    texts, _ = texts_of(tmp_path / "out" / "train")
    assert list(texts) == ["000.png.jpg", "001.png.jpg", "002.png.jpg", "003.png"]
    with Image.open(tmp_path / "out" / "train" / "000.png.jpg") as image:
        assert image.size == (32, 8)
    store = label_images(line_config(tmp_path / "out", tmp_path / "s.zarr"))
    assert (store.num_bad(), store.spec.texts) == (0, True)
    labelled = find_labelled_texts(store, find_images(store, tmp_path / "out"))
    assert (
        labelled.rows(range(4)).tolist()
        == find_texts(list_lines(lines / "train")).rows(range(4)).tolist()
    )
    assert [labelled.texts.text(row) for row in range(4)] == list(texts.values())


def test_a_split_that_is_named_takes_the_characters_from_above(lines, tmp_path):
    pack(lines / "val", tmp_path / "out", pixels=None)
    assert lined_root(tmp_path / "out") == tmp_path / "out"
    assert texts_of(tmp_path / "out") == texts_of(lines / "val")
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert names == {"000.png", "001.png", "labels.txt", "charset.txt", "pack.json"}


def test_a_split_keeps_characters_of_its_own(lines, tmp_path):
    own = "\n".join([*CHARACTERS, "x"])
    (lines / "val" / "charset.txt").write_text(own, "utf-8")
    pack(lines, tmp_path / "out")
    assert texts_of(tmp_path / "out" / "train")[1] == CHARACTERS
    assert texts_of(tmp_path / "out" / "val")[1] == (*CHARACTERS, "x")


def test_a_line_that_is_damaged_keeps_its_text_and_one_that_is_gone_does_not(lines, tmp_path):
    train = lines / "train"
    (train / "000.png").write_bytes((train / "000.png").read_bytes()[:40])
    (train / "001.png").unlink()
    (train / "001.png").symlink_to("nowhere.png")
    report = pack(lines, tmp_path / "out")
    assert sorted(reason for _, reason in report.bad) == ["damaged", "missing"]
    assert list(texts_of(tmp_path / "out" / "train")[0]) == ["000.png", "002.png.jpg", "003.png"]


def test_lines_that_were_added_are_copied_when_it_goes_on(lines, tmp_path):
    pack(lines, tmp_path / "out")
    draw_line("b").save(lines / "train" / "new.png")
    with (lines / "train" / "labels.txt").open("a") as file:
        file.write("new.png\tb\n")
    report = pack(lines, tmp_path / "out")
    assert (report.packed, report.found) == (1, 6)
    assert texts_of(tmp_path / "out" / "train")[0]["new.png.jpg"] == "b"


def test_texts_of_images_that_are_not_there_are_refused(lines, tmp_path):
    (lines / "val" / "001.png").unlink()
    with pytest.raises(
        ImagesError, match=r"1 of 2 images that .*labels\.txt names is missing: 001"
    ):
        pack(lines, tmp_path / "out")
    assert not (tmp_path / "out").exists()
