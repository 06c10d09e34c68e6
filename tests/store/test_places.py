"""A store in a zip or in a bucket is what it is in a folder, for every command."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.processes import Forked, refused, train_arguments
from helpers.stores import make_store, read_all

from fkd import LabelStore, StudentLoader
from fkd.cli import main
from fkd.config import TrainConfig, Url
from fkd.copying import carry_store
from fkd.errors import BlockError, ConfigError, StoreError
from fkd.files import Pieces
from fkd.info import info_lines
from fkd.showing.page import default_folder

PLACE = "s3://labels/x.zarr"
ZIPPED = "s3://labels/x.zarr.zip"


@pytest.fixture
def places(shared_store, tmp_path, bucket):
    """The shared store in a zip, in a bucket, and in a zip in a bucket."""
    made = [tmp_path / "x.zarr.zip", Url(PLACE), Url(ZIPPED)]
    for place in made:
        carry_store(shared_store.path, place)
    bucket.reset()
    return made


def same(one, other):
    for name in ("box", "flip", "size", "target"):
        assert np.array_equal(getattr(one, name), getattr(other, name))
    for name in one.kept:
        assert np.array_equal(one.kept[name], other.kept[name])


def test_labels_and_what_info_says_are_the_same(shared_store, places):
    for place in places:
        store = LabelStore.open(place)
        assert store.path == place
        same(read_all(store), read_all(shared_store))
        lines = info_lines(place)
        assert lines[0] == ("store", str(place))
        assert lines[1:] == info_lines(shared_store.path)[1:]


def test_maps_are_read_from_afar_as_here(map_store, bucket):
    carry_store(map_store.path, Url(PLACE))
    bucket.reset()
    store = LabelStore.open(Url(PLACE))
    same(store.read_images(range(5, 9), 2), map_store.read_images(range(5, 9), 2))
    same(read_all(store), read_all(map_store))


def test_a_loader_gives_the_same_batches(shared_store, places):
    settings = {"crops_per_image": 2, "scheme": "topk3", "batch_size": 12, "device": "cpu"}
    settings |= {"epochs": 2, "workers": 1}
    expected = list(StudentLoader(shared_store.path, **settings))
    for place in (places[0], str(places[1])):
        batches = list(StudentLoader(place, **settings))
        assert len(batches) == len(expected)
        for one, other in zip(batches, expected, strict=True):
            assert torch.equal(one.images, other.images)
            assert torch.equal(one.labels.value, other.labels.value)


def test_check_finds_the_same(shared_store, places):
    expected = CliRunner().invoke(main, ["check", str(shared_store.path)])
    assert expected.exit_code == 0
    for place in places:
        found = CliRunner().invoke(main, ["check", str(place)])
        assert found.exit_code == 0, found.output
        lines = found.stdout.replace(str(place), str(shared_store.path))
        assert lines == expected.stdout


def test_a_run_from_a_bucket_learns_the_same_and_goes_on(shared_store, places, bucket, tmp_path):
    (tmp_path / "tiny_student.py").write_text(_STUDENT)
    runs = []
    for number, place in enumerate((shared_store.path, places[0], places[1])):
        args = train_arguments(shared_store, tmp_path / f"run{number}")
        args[1] = place
        args[args.index("--epochs") + 1] = 4
        args[args.index("--eval-every") + 1] = 2
        env = bucket.environment() | {"FKD_CACHE": str(tmp_path / "cache")}
        done = Forked(args, tmp_path, env=env).finish()
        assert done.code == 0, done.err
        runs.append(_losses(tmp_path / f"run{number}"))
    assert runs[0] == runs[1] == runs[2]
    config = json.loads((tmp_path / "run2/config.json").read_text())
    assert config["store"] == PLACE
    said = done.out + done.err
    kept = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert bucket.environment()[name] not in said
        assert bucket.environment()[name].encode() not in kept


_STUDENT = """
import torch
def make(classes):
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 5, 4), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 49, classes)
    )
"""


def _losses(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["kind"] in ("train", "eval")]


def test_a_pass_costs_its_chunks_and_comes_once(tmp_path, bucket, monkeypatch):
    store, _ = make_store(tmp_path / "x.zarr", n=1024, m=64, block=512)
    assert store.spec.chunk_crops == 32
    expected = read_all(store)
    carry_store(store.path, PLACE)
    whole = sum(path.stat().st_size for path in store.path.rglob("*") if path.is_file())
    pieces = Pieces(tmp_path / "pieces", 2**30, 4096)
    monkeypatch.setattr(Pieces, "usual", lambda: pieces)
    bucket.reset()
    far = LabelStore.open(PLACE)
    same(far.read_crops(range(4)), store.read_crops(range(4)))
    first = bucket.bytes_sent("x.zarr")
    assert first < 0.75 * whole
    bucket.requests.clear()
    same(far.read_crops(range(4, 32)), store.read_crops(range(4, 32)))  # in the same chunks
    assert not bucket.requests
    same(read_all(far), expected)
    assert first + bucket.bytes_sent("x.zarr") <= whole + 4096
    bucket.requests.clear()
    same(read_all(LabelStore.open(PLACE)), expected)
    assert [method for method, path, _ in bucket.requests if "list-type" not in path] == []


def test_a_block_is_compared_with_its_seal_once_all_of_it_is_near(tmp_path, bucket):
    store, _ = make_store(tmp_path / "x.zarr")
    carry_store(store.path, PLACE)
    folder = bucket.root / "x.zarr"
    shutil.copy(folder / "size/c/0/0", folder / "size/c/1/0")  # sound, and of another block
    far = LabelStore.open(PLACE)
    with pytest.raises(BlockError, match="block 1"):
        far.read_crops(range(store.spec.num_crops))
    found = CliRunner().invoke(main, ["check", PLACE])
    assert found.exit_code == 1
    assert "block 1" in found.stdout


def test_a_damaged_chunk_far_away_is_named(tmp_path, bucket):
    store, _ = make_store(tmp_path / "x.zarr")
    carry_store(store.path, PLACE)
    shard = bucket.root / "x.zarr/code/c/1/0/0"
    content = bytearray(shard.read_bytes())
    content[30] ^= 255
    shard.write_bytes(content)
    with pytest.raises(BlockError, match="block 1"):
        LabelStore.open(PLACE).read_crops(range(2))
    shard.write_bytes(content[:40])
    with pytest.raises(BlockError, match="block 1"):
        LabelStore.open(PLACE).read_crops(range(2))
    shard.unlink()
    with pytest.raises(BlockError, match=r"block 1.*is missing"):
        LabelStore.open(PLACE).read_crops(range(2))


def test_what_can_be_read_alone_is_never_written(places, shared_folder, tmp_path):
    for place in places:
        with pytest.raises(StoreError, match="can be read alone; copy it to a folder"):
            LabelStore.open(place, writable=True)
        assert "--repair" in refused("check", "--repair", place)
    teacher = ["--teacher", "resnet18", "--teacher-weights", "default"]
    line = refused("label", shared_folder, *teacher, "--out", tmp_path / "new.zarr.zip")
    assert "make the archive from it with `fkd copy`" in line
    assert "a path on this machine" in refused("label", shared_folder, *teacher, "--out", PLACE)


def test_places_without_a_store_are_told_in_a_line(bucket, tmp_path):
    (tmp_path / "no.zip").write_bytes(b"PK")
    for place, says in (
        (tmp_path / "no.zip", "is no whole zip archive"),
        (tmp_path / "none.zip", "does not exist"),
        ("s3://labels/none.zarr", "there is no label store at s3://labels/none.zarr"),
        ("s3://labels/none.zip", "s3://labels/none.zip does not exist"),
        ("s3://key:hush@labels/x.zarr", "leave them out"),
        ("ftp://host/x.zarr", "no address that fkd reads"),
    ):
        for command in ("info", "check", "train"):
            line = refused(command, place)
            assert says in line
            assert "hush" not in line


def test_the_page_of_a_store_is_named_after_it():
    for place in (
        Path("x/labels.zarr"),
        Path("labels.zarr.zip"),
        Url("s3://bucket/x/labels.zarr.zip"),
    ):
        assert default_folder(place) == Path("labels-show")


def test_an_address_stays_whole_in_a_configuration():
    config = TrainConfig.of(store=PLACE)
    assert config.store == Url(PLACE)
    assert json.loads(json.dumps(config.settings()))["store"] == PLACE
    assert TrainConfig.of(store=config.settings()["store"]).store == config.store
    with pytest.raises(ConfigError, match="makes one slash of two"):
        TrainConfig.of(store=Path(PLACE))
