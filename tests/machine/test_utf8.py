"""Text files that Windows wrote in UTF-16 are refused by their name, whatever fkd reads from them."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from helpers.sources import write_tar
from PIL import Image

from fkd.config import Part, TeacherChoice
from fkd.errors import FkdError
from fkd.exchanging import check_import
from fkd.images import ImageList, Keys, read_titles, take_part
from fkd.orders import ImportConfig
from fkd.sources import list_images
from fkd.teachers import map_classes
from fkd.truth import find_masks

NAMES = ("ant", "bee")


def of_masks(file):
    for folder in ("images", "masks"):
        (file.parent / folder).mkdir()
        Image.new("L", (4, 4)).save(file.parent / folder / "a.png")
    return find_masks(list_images(file.parent / "images", unlabelled=True))


def of_shards(file):
    list_images(write_tar(file.parent / "x.tar", [("a.jpg", b"\xff\xd8\xff"), ("a.cls", b"1")]))


def of_an_import(file):
    folder = file.parent / "images" / "ant"
    folder.mkdir(parents=True)
    Image.new("L", (4, 4)).save(folder / "a.jpg")
    (file.parent / "labels").mkdir()
    config = ImportConfig(file.parent / "labels", folder.parent, file.parent / "x.zarr")
    check_import(replace(config, classes_file=file))


def of_a_part(file, where):
    keys = Keys.of(f"{name}/a.jpg" for name in NAMES)
    images = ImageList(file.parent, keys, np.arange(2), np.ones(2), NAMES)
    take_part(Part(**{where: file if where == "classes" else str(file)}), images)


def of_a_teacher(file):
    map_classes(NAMES, 2, TeacherChoice("t", classes_file=file))


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("classes.txt", of_masks),
        ("classes.txt", of_shards),
        ("outputs.txt", of_an_import),
        ("outputs.txt", of_a_teacher),
        ("part.txt", partial(of_a_part, where="subset")),
        ("part.txt", partial(of_a_part, where="classes")),
        ("titles.txt", lambda file: read_titles(file, NAMES)),
        ("list.csv", list_images),
    ],
)
def test_utf16_is_refused_by_the_name_of_the_file(tmp_path, name, read):
    (tmp_path / name).write_text("ant\nbee\n", "utf-16")
    with pytest.raises(FkdError, match=f"{name} is in UTF-16; save it in UTF-8 .iconv"):
        read(tmp_path / name)
