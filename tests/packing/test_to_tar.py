"""`fkd pack --to tar`: shards that fkd and WebDataset read, whole or not there."""

import io
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest
from helpers.sources import files_of, write_tar, write_zip
from PIL import Image

from fkd import PackConfig, pack_images
from fkd.errors import ConfigError, ImagesError
from fkd.originals import find_images
from fkd.sources import list_images, list_val


def pack(images, out, **changes):
    settings = {"pixels": None, "to": "tar"} | changes
    return pack_images(PackConfig(Path(images), Path(out), **settings))


def members(path):
    with tarfile.open(path) as archive:
        return {info.name: archive.extractfile(info).read() for info in archive}


def test_shards_have_the_images_their_classes_and_the_splits(shared_folder, tmp_path):
    report = pack(shared_folder, tmp_path / "out")
    folder, val = list_images(shared_folder / "train"), list_images(shared_folder / "val")
    assert (report.packed, report.copied) == (0, len(folder) + len(val))
    assert report.bytes_before == report.bytes_after
    packed = list_images(tmp_path / "out")
    assert packed.paths == folder.paths
    assert packed.classes == folder.classes
    assert packed.targets.tolist() == folder.targets.tolist()
    assert [packed.read(n) for n in range(len(folder))] == [
        folder.read(n) for n in range(len(folder))
    ]
    assert list_val(packed).paths == val.paths
    shard = members(tmp_path / "out" / "train-00000-of-00001.tar")
    assert shard["square/003.cls"] == b"1"


def test_a_store_of_the_folder_goes_with_the_shards(shared_folder, shared_store, tmp_path):
    pack(shared_folder, tmp_path / "out")
    assert len(find_images(shared_store, tmp_path / "out")) == 18


def test_images_are_made_smaller_in_shards_as_in_a_folder(shared_folder, tmp_path):
    pack(shared_folder / "train", tmp_path / "tar", pixels=32)
    pack(shared_folder / "train", tmp_path / "folder", pixels=32, to="folder")
    shards, folder = list_images(tmp_path / "tar"), list_images(tmp_path / "folder")
    assert shards.paths == folder.paths
    for row in range(len(folder)):
        assert shards.read(row) == folder.read(row)
        with Image.open(io.BytesIO(shards.read(row))) as image:
            assert min(image.size) <= 32


@pytest.mark.parametrize("kind", ["tar", "zip", "list"])
def test_any_source_becomes_a_folder_of_the_same_files(shared_folder, tmp_path, kind):
    root = shared_folder / "train"
    if kind == "list":
        source = tmp_path / "x.csv"
        lines = [f"{root}/{key},{key.split('/')[0]}" for key, _ in files_of(root)]
        source.write_text("\n".join(["path,label", *lines]))
    elif kind == "zip":
        source = write_zip(tmp_path / "x.zip", files_of(root), zipfile.ZIP_DEFLATED)
    else:
        source = write_tar(tmp_path / "x.tar", files_of(root))
    pack(source, tmp_path / "out", to="folder")
    written = {
        f.relative_to(tmp_path / "out"): f.read_bytes() for f in (tmp_path / "out").rglob("*.jpg")
    }
    assert written == {f.relative_to(root): f.read_bytes() for f in root.rglob("*.jpg")}


def test_images_without_class_folders_get_them(tmp_path):
    files = [("1.jpg", b"x"), ("1.cls", b"cat"), ("2.jpg", b"yy"), ("2.cls", b"a/b")]
    pack(write_tar(tmp_path / "x.tar", files), tmp_path / "out", to="folder")
    assert (tmp_path / "out/cat/1.jpg").read_bytes() == b"x"
    assert (tmp_path / "out/a_b/2.jpg").read_bytes() == b"yy"


def test_a_shard_that_is_there_is_kept_and_one_that_is_missing_is_made_again(
    shared_folder, tmp_path
):
    settings = {"shard_bytes": 1_000_000}
    report = pack(shared_folder / "train", tmp_path / "whole", **settings)
    assert report.copied == 18
    shards = sorted((tmp_path / "whole").glob("*.tar"))
    before = {shard.name: shard.read_bytes() for shard in shards}
    shards[0].unlink()
    (tmp_path / "whole" / f".{shards[0].name}.part").write_bytes(b"what a kill left")
    again = pack(shared_folder / "train", tmp_path / "whole", **settings)
    assert again.copied + again.found == 18
    assert again.copied > 0
    assert {s.name: s.read_bytes() for s in (tmp_path / "whole").glob("*.tar")} == before


def test_shards_hold_about_as_much_as_is_asked_for(tmp_path):
    files = [(f"a/{n:02}.jpg", bytes(300_000)) for n in range(10)]
    pack(write_tar(tmp_path / "x.tar", files), tmp_path / "out", shard_bytes=1_000_000)
    names = sorted(path.name for path in (tmp_path / "out").glob("*.tar"))
    assert names == [f"images-{n:05}-of-00003.tar" for n in range(3)]
    sizes = [len(members(tmp_path / "out" / name)) // 2 for name in names]
    assert sizes == [4, 3, 3]


def test_images_without_classes_become_shards_without(tmp_path):
    pack(write_tar(tmp_path / "x.tar", [("1.jpg", b"x")]), tmp_path / "out", unlabelled=True)
    assert list(members(tmp_path / "out" / "images-00000-of-00001.tar")) == ["1.jpg"]
    assert not (tmp_path / "out" / "classes.txt").exists()


def test_a_class_of_val_that_train_lacks_is_refused(tmp_path):
    write_tar(tmp_path / "s" / "train-0.tar", [("1.jpg", b"x"), ("1.cls", b"cat")])
    write_tar(tmp_path / "s" / "val-0.tar", [("1.jpg", b"x"), ("1.cls", b"dog")])
    with pytest.raises(ImagesError, match=r"has a class dog, which .* lacks; pack the two apart"):
        pack(tmp_path / "s", tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "said"), [({"to": "zip"}, "--to"), ({"shard_bytes": 5}, "--shard-size")]
)
def test_settings_that_cannot_be_are_refused(tmp_path, changes, said):
    with pytest.raises(ConfigError, match=said):
        pack(tmp_path, tmp_path / "out", **changes)


@pytest.mark.parametrize("name", [" cat", "cat\u2028\n"])
def test_a_class_whose_name_would_not_come_back_is_refused(tmp_path, name):
    (tmp_path / "in" / name).mkdir(parents=True)
    (tmp_path / "in" / name / "1.jpg").write_bytes(b"x")
    with pytest.raises(ImagesError, match="begins or ends with a space"):
        pack(tmp_path / "in", tmp_path / "out")


def test_shards_of_a_source_that_has_changed_are_not_continued(shared_folder, tmp_path):
    shutil.copytree(shared_folder / "train", tmp_path / "in")
    pack(tmp_path / "in", tmp_path / "out")
    (tmp_path / "in" / "circle" / "000.jpg").unlink()
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    with pytest.raises(ImagesError, match="held other images"):
        pack(tmp_path / "in", tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert pack(tmp_path / "in", tmp_path / "out", overwrite=True).copied == 17
