"""An address or a file in the place of an image folder is called what it is, with what to do."""

from pathlib import Path

import pytest
from helpers.folders import label_config
from PIL import Image

from fkd import label_images
from fkd.checking import check_store
from fkd.config import CheckConfig, PackConfig
from fkd.errors import ImagesError
from fkd.packing import pack_images
from fkd.sources import dataset_root, list_images

ADDRESSES = (
    "s3://bucket/train",
    "gs://b/x",
    "https://host/x.tar",
    "hf://datasets/a/b",
    "file:///a",
)


@pytest.mark.parametrize("address", ADDRESSES)
def test_addresses_are_not_looked_for_on_the_disk(address):
    scheme, rest = address.split("://")
    for look in (dataset_root, list_images):
        with pytest.raises(ImagesError) as caught:
            look(Path(address))
        assert str(caught.value).startswith(
            f"{scheme}://{rest.lstrip('/')} is an address, and fkd reads"
        )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("x.tar", "is not a folder but an archive, .*unpack it"),
        ("x.TAR.GZ", "is not a folder but an archive, .*unpack it"),
        ("x.zip", "is not a folder but an archive, .*unpack it"),
        ("x.parquet", "a data file, .*write its images as files"),
        ("x.jsonl", "a list, .*link its images"),
        ("x.png", "one image, .*name the folder"),
        ("x.else", "is not a folder"),
    ],
)
def test_files_are_called_what_they_are(tmp_path, name, said):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ImagesError, match=said):
        list_images(tmp_path / name)


def test_a_folder_may_be_called_as_an_archive_is(tmp_path):
    (tmp_path / "x.tar" / "a").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "x.tar" / "a" / "1.png")
    assert len(list_images(dataset_root(tmp_path / "x.tar"))) == 1


def test_a_folder_of_shards_is_no_image_folder(tmp_path):
    for number in range(3):
        (tmp_path / f"{number:05}.tar").write_bytes(b"x")
    (tmp_path / "names.txt").write_text("x")
    with pytest.raises(ImagesError, match=r"files in \.tar \(3\), which fkd does not read: unpack"):
        list_images(tmp_path)


def test_every_command_says_so(shared_store, tmp_path):
    address = Path("s3://bucket/images")
    for work in (
        lambda: label_images(label_config(address, tmp_path / "s.zarr")),
        lambda: pack_images(PackConfig(address, tmp_path / "out", "shortest", 8)),
        lambda: check_store(CheckConfig(store=shared_store.path, images=address)),
    ):
        with pytest.raises(ImagesError, match="s3://bucket/images is an address"):
            work()
    assert not list(tmp_path.iterdir())
