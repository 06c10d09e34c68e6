"""`fkd pack` of images with masks: the copy has masks as large as its images, where they are found."""

import re
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from helpers.masked import CLASSES, VOID, make_masked_folder, masked_config
from helpers.packed import files, pack
from PIL import Image

from fkd import label_images
from fkd.errors import ImagesError
from fkd.originals import find_images, find_labelled_masks
from fkd.sources import list_images
from fkd.truth import find_masks, masked_root


def values(path):
    with Image.open(path) as image:
        return np.array(image)


def seen_at(mask, height, width):
    """Return the value at the centre of each pixel of a smaller mask, by the formula of views."""
    rows = [(2 * i + 1) * len(mask) // (2 * height) for i in range(height)]
    columns = [(2 * i + 1) * mask.shape[1] // (2 * width) for i in range(width)]
    return mask[rows][:, columns]


@pytest.fixture(scope="module")
def camvid(tmp_path_factory):
    """Three images to train on and one to judge: one is a PNG, and one of 30 pixels stays as it is."""
    root = make_masked_folder(tmp_path_factory.mktemp("masked") / "camvid", train=3, val=1)
    with Image.open(root / "train" / "001.jpg") as image:
        image.save(root / "train" / "001.png")
    (root / "train" / "001.jpg").unlink()
    for folder in ("train", "trainannot"):
        (name,) = (root / folder).glob("002.*")
        with Image.open(name) as image:
            image.resize((40, 30), Image.Resampling.NEAREST).save(name)
    return root


def test_masks_are_as_large_as_their_images_and_a_store_of_the_copy_finds_them(camvid, tmp_path):
    report = pack(camvid, tmp_path / "out")
    before, after = files(camvid), files(tmp_path / "out")
    names = set(before) - {"train/001.png"} | {"train/001.jpg"}
    assert (report.packed, report.copied, report.bad) == (3, 1, ())
    assert set(after) == names
    assert report.bytes_before == sum(map(len, before.values())) - len(before["classes.txt"])
    assert report.bytes_after == sum(map(len, after.values())) - len(before["classes.txt"])
    for name in ("train/002.jpg", "trainannot/002.png", "classes.txt"):
        assert after[name] == before[name]
    store = label_images(masked_config(tmp_path / "out", tmp_path / "s.zarr"))
    assert (store.num_bad(), store.spec.masks) == (0, True)
    masks = find_labelled_masks(store, find_images(store, tmp_path / "out"))
    for row, key in enumerate(store.image_paths()):
        with Image.open(tmp_path / "out" / "train" / key) as image:
            width, height = image.size
        assert min(width, height) <= 32
        mask = values((camvid / "trainannot" / key).with_suffix(".png"))
        seen = values((tmp_path / "out" / "trainannot" / key).with_suffix(".png"))
        assert np.array_equal(seen, seen_at(mask, height, width))
        assert np.array_equal(masks.decode(row, (height, width)), np.where(seen == VOID, 255, seen))


@pytest.mark.parametrize(
    ("images", "masks", "named", "copied"),
    [
        ("images", "masks", "", ("images", "masks")),
        (
            "images/training",
            "annotations/training",
            "",
            ("images/training", "annotations/training"),
        ),
        ("images/train", "masks/train", "images", ("images/train", "masks/train")),
        ("train", "masks/train", "train", ("images", "masks")),
    ],
)
def test_the_copy_has_the_folders_that_fkd_finds(camvid, tmp_path, images, masks, named, copied):
    root, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(camvid / "train", root / images / "aachen")
    shutil.copytree(camvid / "trainannot", root / masks / "aachen")
    shutil.copy(camvid / "classes.txt", root)
    pack(root / named, out)
    assert masked_root(out) == out / copied[0]
    found = find_masks(list_images(out / copied[0], unlabelled=True))
    assert found.name(0) == str(out / copied[1] / "aachen" / "000.png")
    assert (found.classes, found.named_in) == (CLASSES, out / "classes.txt")


@pytest.mark.parametrize("how", [{"pixels": None}, {"bound": "longest", "pixels": 60}])
def test_what_is_not_made_smaller_is_copied_byte_for_byte(camvid, tmp_path, how):
    assert pack(camvid, tmp_path / "out", **how).copied == 4
    assert files(tmp_path / "out") == files(camvid)


def with_colours(encoded, colours):
    """Return a PNG with a palette of these colours alone; Pillow writes as few bits as these need."""
    start = encoded.index(b"PLTE")
    (length,) = struct.unpack(">I", encoded[start - 4 : start])
    chunk = b"PLTE" + colours
    sealed = struct.pack(">I", len(colours)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return encoded[: start - 4] + sealed + encoded[start + length + 8 :]


def test_a_mask_with_a_palette_keeps_its_values_and_colours(camvid, tmp_path):
    shutil.copytree(camvid, tmp_path / "data")
    file, colours = tmp_path / "data" / "trainannot" / "000.png", bytes(range(10, 130, 10))
    mask = values(file)
    mask[:, :5] = 255  # no colour of the palette
    image = Image.fromarray(mask)
    image.putpalette(bytes(768))
    image.save(file)
    file.write_bytes(with_colours(file.read_bytes(), colours))
    assert np.array_equal(values(file), mask)
    pack(tmp_path / "data", tmp_path / "out")
    with Image.open(tmp_path / "out" / "trainannot" / "000.png") as copy:
        assert copy.mode == "P"
        assert bytes(copy.getpalette())[:12] == colours
        assert np.array_equal(np.array(copy), seen_at(mask, copy.height, copy.width))


def wrong_size(mask):
    return Image.fromarray(mask[1:])


def in_colours(mask):
    return Image.fromarray(mask).convert("RGB")


def strange(mask):
    return Image.fromarray(mask + 1)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (wrong_size, r"it has \d+×\d+ pixels, its image"),
        (in_colours, "it is colours"),
        (strange, "it has the value 4"),
    ],
)
def test_a_bad_mask_is_named_and_copied_with_its_image(camvid, tmp_path, make, reason):
    shutil.copytree(camvid, tmp_path / "data")
    file = tmp_path / "data" / "trainannot" / "000.png"
    make(values(file)).save(file)
    ((name, why),) = pack(tmp_path / "data", tmp_path / "out").bad
    assert name == str(file)
    assert re.match(rf"bad mask \({reason}", why)
    before, after = files(tmp_path / "data"), files(tmp_path / "out")
    for copied in ("train/000.jpg", "trainannot/000.png"):
        assert after[copied] == before[copied]


def test_a_damaged_image_keeps_its_mask_and_one_that_is_gone_needs_none(camvid, tmp_path):
    shutil.copytree(camvid, tmp_path / "data")
    whole = (tmp_path / "data" / "train" / "000.jpg").read_bytes()
    (tmp_path / "data" / "train" / "000.jpg").write_bytes(whole[:200])
    (tmp_path / "data" / "train" / "gone.jpg").symlink_to("nowhere.jpg")
    report = pack(tmp_path / "data", tmp_path / "out")
    assert [Path(name).name for name, _ in report.bad] == ["000.jpg", "gone.jpg"]
    before, after = files(tmp_path / "data"), files(tmp_path / "out")
    for copied in ("train/000.jpg", "trainannot/000.png"):
        assert after[copied] == before[copied]


def test_what_an_earlier_run_left_undone_is_done(camvid, tmp_path):
    pack(camvid, tmp_path / "whole")
    pack(camvid, tmp_path / "out")
    (tmp_path / "out" / "trainannot" / "000.png").unlink()
    (tmp_path / "out" / "trainannot" / "001.png").write_bytes(b"")  # as a power cut leaves it
    (tmp_path / "out" / "val" / "000.jpg").unlink()
    report = pack(camvid, tmp_path / "out")
    assert (report.packed, report.found) == (3, 1)
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    assert pack(camvid, tmp_path / "out").bytes_after == report.bytes_after


def test_a_copy_without_masks_is_not_gone_on_with(camvid, tmp_path):
    shutil.copytree(camvid / "train", tmp_path / "data" / "train" / "aachen")
    pack(tmp_path / "data", tmp_path / "out")
    shutil.copytree(camvid / "trainannot", tmp_path / "data" / "trainannot" / "aachen")
    shutil.copy(camvid / "classes.txt", tmp_path / "data")
    with pytest.raises(ImagesError, match="was packed with classes, not masks; use the same"):
        pack(tmp_path / "data", tmp_path / "out")


def test_masks_that_nothing_names_are_not_left_behind_without_a_word(camvid, tmp_path, capsys):
    for folder in ("train", "trainannot"):
        shutil.copytree(camvid / folder, tmp_path / "data" / folder / "aachen")
    pack(tmp_path / "data", tmp_path / "out")
    assert f"masks of their images in {tmp_path}/data/trainannot are not" in capsys.readouterr().err


def test_what_has_no_place_in_the_copy_is_refused_before_anything_is_written(camvid, tmp_path):
    shutil.copytree(camvid, tmp_path / "data")
    with pytest.raises(ImagesError, match="lies in the image folder"):
        pack(tmp_path / "data" / "train", tmp_path / "data" / "trainannot" / "out")
    shutil.copy(camvid / "train" / "000.jpg", tmp_path / "data" / "train" / "000.bmp")
    with pytest.raises(ImagesError, match=r"000\.bmp and 000\.jpg have one mask, .*000\.png"):
        pack(tmp_path / "data", tmp_path / "out")
    (tmp_path / "data" / "train" / "000.bmp").unlink()
    (tmp_path / "data" / "valannot" / "000.png").rename(tmp_path / "data" / "valannot" / "1.png")
    (tmp_path / "data" / "trainannot" / "001.png").unlink()
    with pytest.raises(
        ImagesError, match=r"001\.png is missing: .* or copy the images alone: --unl"
    ):
        pack(tmp_path / "data", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_two_files_of_names_that_would_be_one_are_refused(camvid, tmp_path):
    root = tmp_path / "data" / "images"
    for images, masks in (("images/train", "masks/train"), ("images/val", "images/valannot")):
        shutil.copytree(camvid / "train", tmp_path / "data" / images)
        shutil.copytree(camvid / "trainannot", tmp_path / "data" / masks)
    (tmp_path / "data" / "classes.txt").write_text("sky\nroad\ncar\n-void")
    (root / "classes.txt").write_text("road\nsky\ncar\n-void")
    with pytest.raises(
        ImagesError, match=r"images/classes\.txt differs from that of .*pack the two"
    ):
        pack(root, tmp_path / "out")
    assert not (tmp_path / "out").exists()
