"""Tar and zip archives as sources: a folder that was packed, shards of samples, ILSVRC's archives."""

import io
import os
import resource
import subprocess
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


def test_numbers_that_are_folders_are_names_in_the_folders_order(tmp_path):
    files = [(f"{name}/{n}.jpg", IMAGE) for name in ("01", "2", "10") for n in range(2)]
    for key, content in files:
        (tmp_path / "folder" / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / key).write_bytes(content)
    images = list_images(write_tar(tmp_path / "x.tar", files))
    folder = list_images(tmp_path / "folder")
    assert images.classes == folder.classes == ("01", "10", "2")
    assert images.targets.tolist() == folder.targets.tolist()


@pytest.mark.parametrize("kind", ["gnu", "posix"])
def test_a_sparse_image_is_refused(tmp_path, kind):
    with (tmp_path / "a.jpg").open("wb") as file:
        file.write(IMAGE)
        file.truncate(2**20)
    path = tmp_path / "x.tar"
    tar = ["tar", "--sparse", "--format", kind, "-cf", path, "-C", tmp_path, "a.jpg"]
    subprocess.run(tar, check=True)
    assert "a.jpg is a sparse file, which fkd does not follow" in refusal(path)


def test_a_zero_byte_in_a_name_shifts_no_classes(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        member = tarfile.TarInfo("x")
        member.pax_headers = {"path": "c/a\0b.jpg"}
        archive.addfile(member)
    assert "has a zero byte" in refusal(tmp_path / "x.tar")
    label = ("a.json", b'{"label": "x\\u0000y"}')
    assert "a class has a zero byte in its name" in refusal(
        write_tar(tmp_path / "y.tar", [("a.jpg", IMAGE), label])
    )


def test_headers_of_a_stranger_never_show_a_traceback(tmp_path):
    path = write_tar(tmp_path / "x.tar", [*SAMPLE, ("b.jpg", IMAGE), ("b.cls", b"1")])
    with tarfile.open(path, "a", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("c.jpg")
        member.pax_headers = {"GNU.sparse.map": "1,x", "GNU.sparse.size": "7"}
        archive.addfile(member)
    assert "is no whole tar archive" in refusal(path)
    nested = tarfile.TarInfo("g")
    nested.type, nested.size = tarfile.XGLTYPE, 0
    path.write_bytes(nested.tobuf() * 3000 + bytes(1024))
    assert "is no whole tar archive" in refusal(path)


def test_a_name_whose_small_letters_are_longer_keeps_its_class(tmp_path):
    path = write_tar(tmp_path / "x.tar", [("İ.jpg", IMAGE), ("İ.cls", b"1")])
    assert list_images(path).classes == ("1",)


def test_a_cls_goes_before_the_metadata_beside_it(tmp_path):
    json = b'{"label": "tench"}'
    files = [*SAMPLE, ("a.json", json), ("b.json", json), ("b.jpg", IMAGE), ("b.cls", b"1")]
    assert list_images(write_tar(tmp_path / "x.tar", files)).classes == ("1",)


def test_a_class_without_a_name_is_none(tmp_path):
    path = write_tar(tmp_path / "x.tar", [*SAMPLE, ("b.jpg", IMAGE), ("b.cls", b"\n")])
    assert "sample b has an image and no class" in refusal(path)


def test_a_line_without_a_name_does_not_shift_the_classes(tmp_path):
    (tmp_path / "classes.txt").write_text("zero\n\ntwo\n\n")
    path = write_tar(tmp_path / "x.tar", [("a.jpg", IMAGE), ("a.cls", b"2")])
    assert "classes.txt, line 2: it names no class" in refusal(path)


@pytest.mark.parametrize(
    ("folders", "said"),
    [
        (["train1/c", "train2/c", "val/c"], "holds train1 and train2, and each may be the split"),
        (["val/c", "test/c"], "holds the splits test, val, and none named train"),
        (["val/c", "train"], "holds the splits train, val, and none named train with class"),
    ],
)
def test_a_split_that_is_not_one_folder_is_not_guessed(tmp_path, folders, said):
    files = [(f"{folder}/1.jpg", IMAGE) for folder in folders]
    assert said in refusal(write_tar(tmp_path / "x.tar", files))


def test_images_without_classes_are_those_of_the_split_too(tmp_path):
    files = [(f"{split}/c/1.jpg", IMAGE) for split in ("train", "val")]
    path = write_tar(tmp_path / "x.tar", files)
    assert list(list_images(path, unlabelled=True).paths) == ["c/1.jpg"]


def test_images_of_kinds_that_are_not_read_are_named(tmp_path, capsys):
    list_images(write_tar(tmp_path / "x.tar", [("c/1.jpg", IMAGE), ("c/2.heic", IMAGE)]))
    assert "1 .heic in" in capsys.readouterr().err


def test_a_zip_whose_utf_8_has_no_flag_keeps_its_names(tmp_path):
    path = write_zip(tmp_path / "x.zip", [("né/ü.jpg", IMAGE)])
    content = bytearray(path.read_bytes())
    for sign, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(sign) + flags + 1] &= ~8
    path.write_bytes(content)
    assert list(list_images(path).paths) == ["né/ü.jpg"]


def test_images_of_more_shards_than_may_be_open_are_read(tmp_path, monkeypatch):
    for number in range(40):
        write_tar(tmp_path / f"{number}.tar", [(f"c/{number}.jpg", IMAGE)])
    monkeypatch.setattr(resource, "getrlimit", lambda which: (32, 32))
    images = list_images(tmp_path)
    before = len(os.listdir("/dev/fd"))
    assert all(images.read(n) == IMAGE for n in range(40))
    assert len(os.listdir("/dev/fd")) == before + 8


def test_a_directory_of_a_zip_that_lost_members_hides_no_images(tmp_path):
    path = write_zip(tmp_path / "x.zip", [("c/a.jpg", IMAGE), ("c/b.jpg", IMAGE)])
    content = bytearray(path.read_bytes())
    end, second = content.rindex(b"PK\5\6"), content.rindex(b"PK\1\2")
    content[end + 12 : end + 16] = (second - content.index(b"PK\1\2")).to_bytes(4, "little")
    del content[second:end]
    path.write_bytes(content)
    assert "its directory has 1 members and says 2" in refusal(path)


def test_a_name_that_is_damaged_in_the_directory_of_a_zip_hides_no_image(tmp_path):
    path = write_zip(tmp_path / "x.zip", [("c/a.jpg", IMAGE), ("c/b.jpg", IMAGE)])
    content = path.read_bytes()
    first = content.rindex(b"b.jpg")
    path.write_bytes(content[:first] + b".a.jp" + content[first + 5 :])
    assert "is not where its directory says" in refusal(path)
