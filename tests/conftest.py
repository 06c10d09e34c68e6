"""Shared fixtures: a small image folder, a labelled store, and the command line in a process."""

import contextlib
import os
import shutil

import pytest
import torch
from helpers import buckets
from helpers.folders import label_config, make_image_folder, map_config, vector_config
from helpers.processes import Forked

from fkd import LabelStore, label_images
from fkd.config import Target

torch.set_num_threads(1)  # networks here are tiny, and pytest runs in as many processes as cores


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Keep indexes of the tests' archives away from the user's."""
    before = os.environ.get("FKD_CACHE")
    os.environ["FKD_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    os.environ.pop("FKD_CACHE")
    if before is not None:
        os.environ["FKD_CACHE"] = before


@pytest.fixture
def image_folder(tmp_path):
    return make_image_folder(tmp_path / "data")


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory):
    """An image folder that no test may change."""
    return make_image_folder(tmp_path_factory.mktemp("shared") / "data")


@pytest.fixture(scope="session")
def shared_store(shared_folder) -> LabelStore:
    """A complete store of `shared_folder` (18 images, 6 crops, topk3) that no test may change."""
    return label_images(label_config(shared_folder, shared_folder.parent / "labels.zarr"))


@pytest.fixture(scope="session")
def vector_store(shared_folder) -> LabelStore:
    """A store of `shared_folder` that no test may change: labels, vectors `features`, maps `map`."""
    targets = (Target("features"), Target("0", "f16", name="map"))
    return label_images(vector_config(shared_folder, "vectors.zarr", targets=targets))


@pytest.fixture(scope="session")
def bare_store(shared_folder) -> LabelStore:
    """A store of `shared_folder` that no test may change: a vector of each view, `output`, no labels."""
    return label_images(vector_config(shared_folder, "bare.zarr", scheme="int8"))


@pytest.fixture(scope="session")
def map_store(shared_folder) -> LabelStore:
    """A store of `shared_folder` that no test may change: a map of 8 x 4 labels of each view, topk3."""
    return label_images(map_config(shared_folder, "maps.zarr"))


@pytest.fixture
def run_fkd(tmp_path):
    """Run `fkd …` in a process, by default in tmp_path."""

    def run(*args, cwd=tmp_path):
        return Forked(args, cwd).finish()

    return run


@pytest.fixture
def start_fkd(tmp_path):
    """Start `fkd …` in a process, by default in tmp_path; whatever becomes of the test, it ends."""
    with contextlib.ExitStack() as at_work:

        def start(*args, cwd=tmp_path, **more):
            return at_work.enter_context(Forked(args, cwd, **more))

        yield start


@pytest.fixture(scope="session")
def bucket_server(tmp_path_factory):
    """A server of buckets for all tests of a process, which take folders of their own in its bucket."""
    if not buckets.has_rclone():
        pytest.skip("rclone is not installed")
    pytest.importorskip("obstore")
    with buckets.served(tmp_path_factory.mktemp("buckets")) as bucket:
        yield bucket


@pytest.fixture
def bucket(bucket_server, monkeypatch, tmp_path):
    """A bucket that this process may read and write, and a cache that has nothing of it yet."""
    for name, value in bucket_server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FKD_CACHE", str(tmp_path / "cache"))
    bucket_server.reset()
    yield bucket_server
    bucket_server.reset()
    shutil.rmtree(bucket_server.root)
    bucket_server.root.mkdir()
