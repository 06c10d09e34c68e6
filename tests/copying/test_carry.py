"""A store is carried between folders, zips and buckets, byte for byte, and an ended run goes on."""

import os
import shutil
import signal
import zipfile

import numpy as np
import pytest
import zarr
from helpers.processes import SERVER
from helpers.stores import block_files, make_store, read_all

from fkd import LabelStore
from fkd.config import Url
from fkd.copying import carry_store
from fkd.errors import StoreError

PLACE = "s3://labels/x.zarr"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    store, _ = make_store(tmp_path_factory.mktemp("source") / "x.zarr")
    return store.path


def contents(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def grown(path):
    store, _ = make_store(path)
    LabelStore.open(path, writable=True).add_crops(store.spec.num_crops + 4)
    return path


def test_there_and_back_nothing_changes(source, tmp_path):
    report = carry_store(source, tmp_path / "x.zarr.zip")
    whole = contents(source)
    assert report.num_objects == report.sent_objects == len(whole)
    assert report.num_bytes == sum(map(len, whole.values()))
    carry_store(tmp_path / "x.zarr.zip", tmp_path / "back.zarr")
    assert contents(tmp_path / "back.zarr") == whole
    assert not list(tmp_path.glob(".*"))


def test_through_a_bucket_nothing_changes(source, tmp_path, bucket):
    carry_store(source, PLACE)
    assert contents(bucket.root / "x.zarr") == contents(source)
    carry_store(PLACE, Url("s3://labels/zips/x.zarr.zip"))
    carry_store(source, tmp_path / "x.zip")
    assert (bucket.root / "zips/x.zarr.zip").read_bytes() == (tmp_path / "x.zip").read_bytes()
    carry_store("s3://labels/zips/x.zarr.zip", tmp_path / "back.zarr")
    assert contents(tmp_path / "back.zarr") == contents(source)


def test_a_zip_has_the_same_bytes_again_and_zarr_reads_it(source, tmp_path):
    for name in ("a.zip", "b.zip"):
        carry_store(source, tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        names = archive.namelist()
        assert names[0] == "zarr.json"
        assert sorted(names) == sorted(contents(source))
        shards = [name.split("/")[0] for name in names if name.startswith(("slot", "code", "box"))]
        big = shards[-9:]
        assert big == sorted(big, key=big.index)  # array by array, at the end
        assert not archive.testzip()
    there = zarr.storage.ZipStore(tmp_path / "a.zip", mode="r")
    group = zarr.open_group(there, mode="r")
    assert np.array_equal(group["slot"][:], zarr.open_group(source, mode="r")["slot"][:])


def test_all_segments_and_what_is_finished_of_them_is_carried(tmp_path, bucket):
    path = grown(tmp_path / "x.zarr")
    report = carry_store(path, PLACE)
    assert report.pending_blocks == 3
    assert contents(bucket.root / "x.zarr") == contents(path)
    carry_store(PLACE, tmp_path / "back.zarr")
    assert contents(tmp_path / "back.zarr") == contents(path)
    assert len(LabelStore.open(tmp_path / "back.zarr", writable=True).pending_blocks()) == 3


def test_files_of_unfinished_blocks_are_left_out(source, tmp_path):
    shutil.copytree(source, tmp_path / "x.zarr")
    (tmp_path / "x.zarr/done/c/1/0").unlink()
    report = carry_store(tmp_path / "x.zarr", tmp_path / "y.zarr")
    assert report.pending_blocks == 1
    assert not block_files(tmp_path / "y.zarr")
    assert LabelStore.open(tmp_path / "y.zarr").done_blocks() == [0, 2]


@pytest.mark.parametrize("out", ["y.zarr", "y.zip", PLACE])
def test_a_damaged_block_is_named_and_leaves_no_store(source, tmp_path, bucket, out):
    shutil.copytree(source, tmp_path / "x.zarr")
    blocks = block_files(tmp_path / "x.zarr")
    other = tmp_path / "x.zarr/size/c/0/0"
    blocks["size"].write_bytes(other.read_bytes())  # sound by its checksum, and of another block
    place = out if out == PLACE else tmp_path / out
    with pytest.raises(StoreError, match=r"block 1: .* not those that were sealed"):
        carry_store(tmp_path / "x.zarr", place)
    with pytest.raises(StoreError):
        LabelStore.open(place)
    assert not (tmp_path / "y.zip").exists()


def test_what_is_there_already_is_left_alone(source, tmp_path, bucket):
    other, _ = make_store(tmp_path / "other.zarr", n=5)
    for place in (tmp_path / "y.zarr", tmp_path / "y.zip", PLACE, "s3://labels/y.zip"):
        carry_store(other.path, place)
        with pytest.raises(StoreError, match="already; give another name, or --overwrite"):
            carry_store(source, place)
        assert LabelStore.open(place).spec == other.spec
        carry_store(source, place, overwrite=True)
        assert LabelStore.open(place).spec.num_images == 11
    assert contents(bucket.root / "x.zarr") == contents(source)
    assert contents(tmp_path / "y.zarr") == contents(source)


def test_other_peoples_files_are_never_overwritten(source, tmp_path, bucket):
    (tmp_path / "y.zarr").mkdir()
    (tmp_path / "y.zarr/thesis.tex").write_text("…")
    (tmp_path / "y.zip").write_text("no zip")
    (bucket.root / "x.zarr").mkdir()
    (bucket.root / "x.zarr/thesis.tex").write_text("…")
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as photos:
        photos.writestr("beach.jpg", "…")
    for place in (tmp_path / "y.zarr", tmp_path / "y.zip", tmp_path / "photos.zip", PLACE):
        with pytest.raises(StoreError, match="left alone"):
            carry_store(source, place, overwrite=True)
    assert zipfile.ZipFile(tmp_path / "photos.zip").namelist() == ["beach.jpg"]
    assert (tmp_path / "y.zarr/thesis.tex").exists()
    assert (bucket.root / "x.zarr/thesis.tex").exists()


@pytest.mark.parametrize("out", ["https://example.invalid/y.zip", "hf://datasets/a/b/y.zip"])
def test_what_is_read_alone_is_refused_before_any_request(source, out):
    with pytest.raises(StoreError, match=f"^{out} cannot be written to; copy to an s3://"):
        carry_store(source, out)


def test_a_copy_into_itself_is_refused(source):
    for place in (source, source / "copy.zarr", source.parent):
        with pytest.raises(StoreError, match="give the copy another place"):
            carry_store(source, place)


def test_the_web_cannot_be_written_to(source):
    for place in ("https://host/x.zarr", "hf://datasets/org/set/x.zarr.zip"):
        with pytest.raises(StoreError, match="cannot be written"):
            carry_store(source, place)


@pytest.mark.parametrize("to_bucket", [False, True])
def test_a_killed_copy_goes_on(source, tmp_path, bucket, to_bucket):
    place = PLACE if to_bucket else tmp_path / "y.zarr"
    process = SERVER.Process(target=_carry_and_die, args=(bucket.environment(), source, place))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    with pytest.raises(StoreError):
        LabelStore.open(place)
    before = contents(source)
    report = carry_store(source, place)
    assert 0 < report.sent_objects < report.num_objects
    assert (
        read_all(LabelStore.open(place)).kept.keys()
        == read_all(LabelStore.open(source)).kept.keys()
    )
    folder = bucket.root / "x.zarr" if to_bucket else place
    assert contents(folder) == contents(source) == before


def _carry_and_die(environment, source, place):
    os.environ.update(environment)
    from fkd.copying import targets

    kind = targets.Bucket if str(place).startswith("s3") else targets.Aside
    put, left = kind.put, [12]

    def dying(self, key, content):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        put(self, key, content)

    kind.put = dying
    carry_store(source, place)


def test_nothing_secret_is_said_or_kept(source, tmp_path, bucket, capsys):
    carry_store(source, PLACE)
    bucket.fault = lambda *_: "403"
    with pytest.raises(StoreError, match="access denied") as refused:
        carry_store(PLACE, tmp_path / "back.zarr")
    said = str(refused.value) + "".join(capsys.readouterr())
    kept = b"".join(contents(tmp_path).values()) + b"".join(contents(bucket.root).values())
    for secret in (
        bucket.environment()[f"AWS_{name}"] for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY")
    ):
        assert secret not in said
        assert secret.encode() not in kept
