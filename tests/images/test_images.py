"""The ordered list of images, its identity, and decoding."""

import os
import shutil
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from fkd.errors import DecodeError, ImagesError
from fkd.images import changed_image, decode, fingerprint, inspect, read_file
from fkd.sources import dataset_root, list_images, val_folder


def tree(root, *files):
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(file.encode())
    return root


def test_the_list_is_sorted_and_knows_classes(tmp_path):
    root = tree(
        tmp_path, "b/2.jpg", "b/10.PNG", "a/deep/x.webp", "a/z.jpeg", "b/notes.txt", ".git/x.jpg",
        "a/.hidden.jpg",
    )  # fmt: skip
    images = list_images(root)
    assert images.classes == ("a", "b")
    assert images.paths == ["a/deep/x.webp", "a/z.jpeg", "b/10.PNG", "b/2.jpg"]
    assert images.targets.tolist() == [0, 0, 1, 1]
    assert images.num_bytes.tolist() == [len(p) for p in images.paths]


def test_what_is_left_out_is_counted_and_said_where_it_looks_like_an_image(tmp_path, capsys):
    root = tree(
        tmp_path, "a/1.jpg", "a/2.AVIF", "a/deep/3.avif", "a/4.jfif", "b/5.png", "b/6.txt", "b/README",
        "b/.DS_Store",
    )  # fmt: skip
    images = list_images(root)
    assert images.left_out == {".avif": 2, ".jfif": 1, ".txt": 1, "no ending": 1}
    said = capsys.readouterr().err
    assert said.startswith(f"left out  2 .avif, 1 .jfif in {root}: ")
    assert said.count("\n") == 1


def test_annotations_are_left_out_without_a_word(tmp_path, capsys):
    assert list_images(tree(tmp_path, "a/1.jpg", "a/1.xml")).left_out == {".xml": 1}
    assert list_images(tree(tmp_path / "deep", "a/1.jpg")).left_out == {}
    assert capsys.readouterr().err == ""


def test_a_class_folder_of_other_files_says_which(tmp_path):
    files = ["a/1.jpg", "b/1.heic", "b/2.heic", *(f"b/x.{n}" for n in "123456")]
    with pytest.raises(ImagesError, match=r"but 2 \.heic, .*, 2 other files; add images"):
        list_images(tree(tmp_path, *files))


def test_train_and_val_are_found(tmp_path):
    tree(tmp_path, "d/train/a/1.jpg", "d/val/a/1.jpg", "e/a/1.jpg")
    assert dataset_root(tmp_path / "d") == tmp_path / "d" / "train"
    assert dataset_root(tmp_path / "e") == tmp_path / "e"
    assert val_folder(tmp_path / "d" / "train") == tmp_path / "d" / "val"
    assert val_folder(tmp_path / "e") is None


def test_a_change_of_the_images_is_named(tmp_path):
    images = list_images(tree(tmp_path, "a/1.jpg", "a/2.jpg", "b/3.jpg"))
    mark = fingerprint(images.paths, images.num_bytes)
    changes = {
        "a/0.jpg is new": lambda: tree(tmp_path, "a/0.jpg"),
        "b/3.jpg has 1 bytes, 7 when": lambda: (tmp_path / "b/3.jpg").write_bytes(b"x"),
        "a/2.jpg is missing": lambda: (tmp_path / "a/2.jpg").unlink(),
        "b/4.jpg is new": lambda: tree(tmp_path, "b/4.jpg"),
    }
    assert changed_image(images.paths, images.num_bytes, list_images(tmp_path)) is None
    for words, change in changes.items():
        change()
        now = list_images(tmp_path)
        assert words in changed_image(images.paths, images.num_bytes, now)
        assert fingerprint(now.paths, now.num_bytes) != mark
        for file in tmp_path.rglob("*.jpg"):
            file.unlink()
        tree(tmp_path, "a/1.jpg", "a/2.jpg", "b/3.jpg")


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "P", "RGBA", "LA", "1"])
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "gif", "bmp", "tiff"])
def test_every_kind_decodes_as_pillow_does(tmp_path, mode, suffix):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 31, 3), np.uint8))
    path = tmp_path / f"x.{suffix}"
    try:
        image.convert(mode).save(path)
    except (OSError, ValueError):
        pytest.skip("the format has no such mode")
    pixels = decode(str(path))
    assert pixels.shape == (3, 20, 31)
    with Image.open(path) as reopened:
        expected = np.array(reopened.convert("RGB")).transpose(2, 0, 1)
    assert np.array_equal(pixels.numpy(), expected)


def test_sixteen_bits_are_scaled(tmp_path):
    values = np.array([[0, 255, 256, 65_535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "x.png")
    assert decode(str(tmp_path / "x.png"))[0].tolist() == [[0, 0, 1, 255]]


def bomb(path, width, height):
    """Write a tiny PNG that claims to be huge."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_unusable_files_have_a_reason(tmp_path):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8))
    image.save(tmp_path / "half.jpg")
    image.save(tmp_path / "half.png")
    for name in ("half.jpg", "half.png"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("no image")
    bomb(tmp_path / "bomb.png", 60_000, 60_000)
    bomb(tmp_path / "wide.png", 70_000, 10)
    for name, reason in {
        "half.jpg": "damaged",
        "half.png": "damaged",
        "empty.jpg": "empty",
        "text.jpg": "damaged",
        "none.jpg": "missing",
        "bomb.png": "too large",
        "wide.png": "too large",
    }.items():
        with pytest.raises(DecodeError, match=reason) as caught:
            look(str(tmp_path / name))
        assert caught.value.reason == reason


def look(path):
    look_inside(path)
    decode(path)


def look_inside(path):
    inspect(path, read_file(path))


def test_an_unreadable_folder_is_no_image_folder(tmp_path):
    with pytest.raises(ImagesError, match="does not exist"):
        list_images(tmp_path / "none")


def test_a_pipe_is_no_image(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "c").mkdir()
    shutil.move(tmp_path / "a.png", tmp_path / "c")
    os.mkfifo(tmp_path / "c" / "pipe.jpg")
    assert list_images(tmp_path).paths == ["c/a.png"]


def test_a_link_that_leads_back_is_named(tmp_path):
    (tmp_path / "c" / "deep").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(tmp_path / "c" / "a.png")
    (tmp_path / "c" / "deep" / "loop").symlink_to(tmp_path / "c")
    with pytest.raises(ImagesError, match="the link c/deep/loop leads back to a folder"):
        list_images(tmp_path)


def test_formats_that_are_no_photos_are_damaged_files(tmp_path):
    """A .jpg may hold anything; decoders of rare formats raise what they like, or start programs."""
    for number, kind in enumerate(("EPS", "DDS", "ICNS")):
        path = tmp_path / f"{number}.jpg"
        Image.new("RGB", (64, 64)).save(path, kind)
        for look in (decode, look_inside):
            with pytest.raises(DecodeError) as caught:
                look(str(path))
            assert caught.value.reason == "damaged"


def test_a_file_of_more_than_four_gigabytes_is_the_one_that_was_labelled(tmp_path):
    (tmp_path / "c").mkdir()
    with (tmp_path / "c" / "huge.jpg").open("wb") as file:
        file.truncate(5 * 2**30)
    images = list_images(tmp_path)
    assert changed_image(images.paths, np.minimum(images.num_bytes, 2**32 - 1), images) is None
