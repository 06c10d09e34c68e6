"""The same images in every kind of source, and what all sources promise."""

import io
import os
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from fkd.errors import DecodeError
from fkd.images import Keys, fingerprint
from fkd.loader import Schedule, student_batches
from fkd.originals import find_images
from fkd.sources import list_images
from fkd.views import RenderPool


def add_bytes(archive, name, content):
    """Add a file to an open tar archive."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def write_tar(path, files):
    """Write a tar archive of (name, content)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in files:
            add_bytes(archive, name, content)
    return path


def write_zip(path, files, compression=zipfile.ZIP_STORED):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return path


def files_of(root):
    """Return (key, content) of the images of a class folder, in a shuffled order."""
    images = list_images(root)
    found = [(key, Path(images.name(n)).read_bytes()) for n, key in enumerate(images.paths)]
    np.random.default_rng(0).shuffle(found)
    return found


def batch_tensors(store, images, first_step=0):
    """Return the views and class ids that a training reads from step `first_step` on."""
    schedule = Schedule(len(images), store.spec.num_crops, 2, 12, 3, seed=1, stagger=1)
    with RenderPool(2) as pool:
        batches = student_batches(pool, store, images, schedule, first_step=first_step)
        return [(batch.views.clone(), batch.targets.clone()) for batch in batches]


class SourceContract:
    """What a source must do; a subclass says in `make` how the images of a class folder become one.

    `classes` are the names that the source gives the classes, None where they are the folders' own.
    """

    classes = None
    labelled = True

    def make(self, root, where):
        """Write the images below `root`, a class folder each, into `where`, and return the source."""
        raise NotImplementedError

    @pytest.fixture
    def root(self, shared_folder):
        return shared_folder / "train"

    @pytest.fixture
    def source(self, root, tmp_path):
        (tmp_path / "source").mkdir()
        return self.make(root, tmp_path / "source")

    def listed(self, source):
        return list_images(source, unlabelled=not self.labelled)

    def test_it_lists_keys_sizes_and_classes_as_the_folder_does(self, root, source):
        folder, images = list_images(root), self.listed(source)
        assert isinstance(images.paths, Keys)
        assert images.paths == folder.paths
        assert images.num_bytes.tolist() == folder.num_bytes.tolist()
        assert fingerprint(images.paths, images.num_bytes) == fingerprint(
            folder.paths, folder.num_bytes
        )
        if self.labelled:
            assert images.classes == (self.classes or folder.classes)
            assert images.targets.tolist() == folder.targets.tolist()
        else:
            assert images.unlabelled
            assert set(images.targets.tolist()) == {-1}

    def test_threads_read_the_bytes_of_any_image(self, root, source):
        folder, images = list_images(root), self.listed(source)
        order = np.random.default_rng(1).integers(0, len(images), 200).tolist()
        with ThreadPoolExecutor(4) as pool:
            for row, content in zip(order, pool.map(images.read, order), strict=True):
                assert content == folder.read(row)
                assert isinstance(content, bytearray)

    def test_it_is_the_same_when_it_is_listed_again(self, source):
        first, again = self.listed(source), self.listed(source)
        assert first.paths == again.paths
        assert first.targets.tolist() == again.targets.tolist()
        assert [again.read(n) for n in range(len(again))] == [
            first.read(n) for n in range(len(first))
        ]

    def test_a_part_keeps_names_classes_and_bytes(self, source):
        images, rows = self.listed(source), np.array([7, 2, 11])
        part = images.take(rows)
        assert list(part.paths) == [images.paths[n] for n in rows]
        assert [part.read(n) for n in range(3)] == [images.read(n) for n in rows]
        assert [part.name(n) for n in range(3)] == [images.name(n) for n in rows]
        assert part.targets.tolist() == images.targets[rows].tolist()

    def test_an_image_is_named_by_its_place_and_key(self, source):
        images = self.listed(source)
        assert images.paths[4] in images.name(4)

    def test_training_reads_from_it_what_it_reads_from_the_folder(self, root, source, shared_store):
        if not self.labelled:
            pytest.skip("the store's images have classes")
        folder, images = find_images(shared_store, root), find_images(shared_store, source)
        whole = batch_tensors(shared_store, folder)
        for begun, others in ((0, whole), (2, whole[2:])):
            mine = batch_tensors(shared_store, images, begun)
            assert len(mine) == len(others)
            for (views, targets), (other_views, other_targets) in zip(mine, others, strict=True):
                assert torch.equal(views, other_views)
                assert torch.equal(targets, other_targets)


class ContainerContract(SourceContract):
    """What a source must do whose images lie in the middle of files."""

    def test_a_file_that_was_cut_short_since_is_an_unusable_image(self, source):
        images = self.listed(source)
        for file in [source] if source.is_file() else sorted(source.rglob("*.*")):
            os.truncate(file, 40)
        with pytest.raises(DecodeError, match=r": unreadable \(.*"):
            images.read(len(images) - 1)
