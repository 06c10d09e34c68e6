"""An address or a file in the place of an image folder is called what it is, with what to do."""

from pathlib import Path

import pytest
from helpers.folders import label_config
from PIL import Image

from fkd import label_images
from fkd.checking import check_store
from fkd.errors import FkdError, ImagesError
from fkd.orders import CheckConfig, PackConfig
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
        ("x.tar", "is no whole tar archive .*restore it"),
        ("x.TAR.GZ", "is a compressed archive; decompress it"),
        ("x.zip", "is no whole zip archive .*restore it"),
        ("x.7z", "an archive of a kind that fkd does not read; unpack it"),
        ("x.h5", "a data file of a kind that fkd does not read; write its images"),
        ("x.json", "no list that fkd reads; write one as .csv"),
        ("x.jsonl", r"x\.jsonl, line 1: no JSON object"),
        ("x.csv", "no column is named path"),
        ("x.png", "one image; name the folder"),
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


def test_a_folder_of_other_files_says_what_they_are(tmp_path):
    for number in range(3):
        (tmp_path / f"{number:05}.tfrecord").write_bytes(b"x")
    (tmp_path / "names.txt").write_text("x")
    with pytest.raises(
        ImagesError, match=r"files in \.tfrecord \(3\), a data file: write its images"
    ):
        list_images(tmp_path)


def test_shards_of_two_kinds_are_not_one_data_set(tmp_path):
    for name in ("a.tar", "b.zip"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ImagesError, match=r"holds \.tar and \.zip files; name those"):
        list_images(tmp_path)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("x-{0..3}.tar", "no file has a name as"),
        ("*.png", "not shards of one kind"),
        ("{0..9}-{0..99999}.tar", "stands for too many files"),
    ],
)
def test_a_pattern_that_names_no_shards_is_refused(tmp_path, pattern, said):
    (tmp_path / "1.png").write_bytes(b"x")
    with pytest.raises(ImagesError, match=said):
        list_images(tmp_path / pattern)


def test_every_command_says_so(shared_store, tmp_path):
    address = Path("s3://bucket/images")
    for work in (
        lambda: label_images(label_config(address, tmp_path / "s.zarr")),
        lambda: pack_images(PackConfig(address, tmp_path / "out", "shortest", 8)),
        lambda: check_store(CheckConfig(store=shared_store.path, images=address)),
    ):
        with pytest.raises(FkdError, match="s3://bucket/images is an address"):
            work()
    assert not list(tmp_path.iterdir())
