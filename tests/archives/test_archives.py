"""Tar and zip archives as sources: a folder that was packed, shards of samples, ILSVRC's archives."""

import io
import os
import tarfile
import zipfile

import pytest
from helpers.folders import CLASSES
from helpers.sources import ContainerContract, files_of, write_tar, write_zip

from fkd.errors import ImagesError
from fkd.sources import list_images


class TestTarOfAFolder(ContainerContract):
    def make(self, root, where):
        with tarfile.open(where / "x.tar", "w") as archive:
            archive.add(root, arcname=".")
        return where / "x.tar"


class TestTarWithSplits(ContainerContract):
    def make(self, root, where):
        with tarfile.open(where / "x.tar", "w", format=tarfile.GNU_FORMAT) as archive:
            archive.add(root.parent, arcname="set/of/images")
        return where / "x.tar"


class TestShardsOfSamples(ContainerContract):
    """As WebDataset has them: a class beside each image, and numbers for classes."""

    classes = ("0", "1", "2")

    def make(self, root, where):
        files = files_of(root)
        for shard in range(3):
            part = [
                entry
                for key, content in files[shard::3]
                for entry in (
                    (key, content),
                    (key[:-4] + ".cls", b"%d\n" % CLASSES.index(key.split("/")[0])),
                    (key[:-4] + ".txt", b"a caption"),
                )
            ]
            write_tar(where / f"set-train-{shard:03}.tar", part)
            write_tar(where / f"set-validation-{shard:03}.tar", part[:3])
        return where


class TestShardsOfSamplesWithNames(ContainerContract):
    def make(self, root, where):
        files = [
            entry
            for key, content in files_of(root)
            for entry in (
                (key[:-4] + ".json", b'{"label": "%s", "width": 3}' % key.split("/")[0].encode()),
                (f"./{key}", content),
            )
        ]
        write_tar(where / "only.tar", files)
        return where / "only.tar"


class TestShardsWithAFileOfClasses(ContainerContract):
    def make(self, root, where):
        TestShardsOfSamples().make(root, where)
        (where / "classes.txt").write_text("circle\nsquare\ntriangle\n")
        return where


class TestTarOfTars(ContainerContract):
    """As ILSVRC2012_img_train.tar is: an archive for each class."""

    def make(self, root, where):
        inner = []
        for folder in sorted(root.iterdir()):
            content = io.BytesIO()
            with tarfile.open(fileobj=content, mode="w") as archive:
                for file in sorted(folder.iterdir()):
                    archive.add(file, arcname=file.name)
            inner.append((f"{folder.name}.tar", content.getvalue()))
        return write_tar(where / "ILSVRC2012_img_train.tar", inner)


class TestZip(ContainerContract):
    def make(self, root, where):
        return write_zip(where / "x.zip", files_of(root))


class TestDeflatedZip(ContainerContract):
    def make(self, root, where):
        files = [(f"data/{key}", content) for key, content in files_of(root)]
        extras = [("__MACOSX/data/circle/._000.jpg", b"x"), ("data/circle/.DS_Store", b"x")]
        return write_zip(where / "x.zip", [*extras, *files], zipfile.ZIP_DEFLATED)


class TestArchivesWithoutClasses(ContainerContract):
    labelled = False

    def make(self, root, where):
        files = files_of(root)
        write_zip(where / "a.zip", files[::2])
        write_zip(where / "b.zip", files[1::2])
        return where


# -- what is refused ------------------------------------------------------------------------------

IMAGE = b"\xff\xd8\xff rest of an image"
SAMPLE = [("a.jpg", IMAGE), ("a.cls", b"1")]


def refusal(path, **how):
    with pytest.raises(ImagesError) as caught:
        list_images(path, **how)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kept", [700, 1100, 1536])
def test_a_shard_that_was_cut_short_is_refused(tmp_path, kept):
    path = write_tar(tmp_path / "x.tar", [*SAMPLE, ("b.jpg", IMAGE * 20), ("b.cls", b"1")])
    os.truncate(path, kept)
    assert refusal(path).startswith(f"{path} is no whole tar archive (")
    assert refusal(path).endswith("it was cut short, damaged, or is being written; restore it")


def test_a_shard_without_an_end_mark_is_cut_short(tmp_path):
    path = write_tar(tmp_path / "x.tar", SAMPLE)
    os.truncate(path, 2048)
    assert "has no end mark" in refusal(path)


def test_a_header_that_is_damaged_hides_no_images(tmp_path):
    path = write_tar(tmp_path / "x.tar", [*SAMPLE, ("b.jpg", IMAGE), ("b.cls", b"1")])
    content = bytearray(path.read_bytes())
    content[2048:2056] = b"\xff" * 8
    path.write_bytes(content)
    assert "byte 2,048" in refusal(path)


def test_archives_that_were_appended_hide_no_images(tmp_path):
    one, two = (
        write_tar(tmp_path / f"{n}.tar", [(f"{n}.jpg", IMAGE), (f"{n}.cls", b"1")]) for n in "ab"
    )
    both = tmp_path / "both.tar"
    both.write_bytes(one.read_bytes() + two.read_bytes())
    assert "more follows after its end mark" in refusal(both)


def test_a_compressed_archive_is_called_so(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a.jpg"))
    assert "is compressed, and an image in the middle of it cannot be read" in refusal(
        tmp_path / "x.tar"
    )


@pytest.mark.parametrize("name", ["../x.jpg", "/etc/x.jpg", "a/../../x.jpg"])
@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_names_that_lead_out_of_an_archive_are_refused(tmp_path, name, write):
    path = write(
        tmp_path / f"x{'.tar' if write is write_tar else '.zip'}", [*SAMPLE, (name, IMAGE)]
    )
    assert "leads out of the archive" in refusal(path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_are_refused_and_not_left_out(tmp_path, kind):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        link = tarfile.TarInfo("c/a.jpg")
        link.type, link.linkname = kind, "/etc/passwd"
        archive.addfile(link)
    assert "c/a.jpg is a link to /etc/passwd, which fkd does not follow" in refusal(
        tmp_path / "x.tar"
    )


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([*SAMPLE, ("b.jpg", IMAGE)], "sample b has an image and no class; add b.cls"),
        ([*SAMPLE, ("b.cls", b"1")], "sample b has a class and no image"),
        ([*SAMPLE, *SAMPLE], "two images are named a.jpg, in"),
        ([("a.jpg", IMAGE), ("a.cls", b"-1")], "which means none"),
        ([("a.jpg", IMAGE)], "a.jpg lies in no class folder and has no a.cls beside it"),
        ([("a.txt", b"1")], "holds no image in its archives"),
    ],
)
def test_samples_that_are_not_whole_are_named(tmp_path, files, said):
    assert said in refusal(write_tar(tmp_path / "x.tar", files))


def test_two_shards_may_not_use_one_name(tmp_path):
    write_tar(tmp_path / "s" / "1.tar", SAMPLE)
    write_tar(tmp_path / "s" / "2.tar", SAMPLE)
    said = refusal(tmp_path / "s")
    assert "1.tar" in said
    assert "2.tar" in said


def test_a_second_image_of_a_sample_is_no_image_of_the_data_set(tmp_path):
    path = write_tar(tmp_path / "x.tar", [*SAMPLE, ("a.mask.png", IMAGE)])
    images = list_images(path)
    assert list(images.paths) == ["a.jpg"]
    assert images.left_out == {".mask.png": 1}


def test_a_zip_that_is_damaged_is_refused(tmp_path):
    path = write_zip(tmp_path / "x.zip", [("c/a.jpg", IMAGE)])
    os.truncate(path, path.stat().st_size - 30)
    assert "is no whole zip archive" in refusal(path)


def test_a_member_that_claims_more_than_its_archive_holds_is_refused(tmp_path):
    path = write_zip(tmp_path / "x.zip", [("c/a.jpg", IMAGE)])
    content = path.read_bytes()
    size = len(IMAGE).to_bytes(4, "little")
    path.write_bytes(content.replace(size, (2**30).to_bytes(4, "little")))
    assert "is no whole zip archive" in refusal(path)


def test_a_bomb_in_a_zip_takes_no_more_memory_than_it_says(tmp_path):
    path = write_zip(
        tmp_path / "x.zip", [("c/a.jpg", bytes(2**24)), ("c/b.jpg", IMAGE)], zipfile.ZIP_DEFLATED
    )
    content = path.read_bytes()
    path.write_bytes(content.replace((2**24).to_bytes(4, "little"), (100).to_bytes(4, "little")))
    images = list_images(path)
    with pytest.raises(ImagesError, match="does not hold what its header says"):
        images.read(0)


def test_an_encrypted_member_is_refused(tmp_path):
    path = write_zip(tmp_path / "x.zip", [("c/a.jpg", IMAGE)])
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    assert "c/a.jpg is encrypted" in refusal(path)


def test_files_of_other_splits_alone_are_not_taken(tmp_path):
    write_tar(tmp_path / "test-0.tar", SAMPLE)
    write_tar(tmp_path / "val-0.tar", [("b.jpg", IMAGE), ("b.cls", b"2")])
    assert "files of several splits (test, val) and none named train" in refusal(tmp_path)
    assert list(list_images(tmp_path, split="val").paths) == ["b.jpg"]
    assert list(list_images(tmp_path / "test-*.tar").paths) == ["a.jpg"]


def test_a_folder_in_an_archive_that_may_be_a_split_or_a_class_is_refused(tmp_path):
    files = [("train/cat/1.jpg", IMAGE), ("bus/1.jpg", IMAGE), ("bus/2.jpg", IMAGE)]
    assert "can be read in two ways: train in it is a split, or a class like bus" in refusal(
        write_tar(tmp_path / "x.tar", files)
    )
