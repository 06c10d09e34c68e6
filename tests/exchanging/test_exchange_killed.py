"""An import and an export that are killed at any moment go on, and the sources are as they were."""

import hashlib
import time

import numpy as np
import pytest

from fkd import ExportLabelsConfig, ImportConfig, LabelStore, export_labels, import_labels

pytestmark = pytest.mark.whole


def content_of(folder):
    """Return the bytes of all files below a folder, hashed."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def run_and_kill(start_fkd, arguments, after, begun):
    """Kill a command some seconds after its target is there, once for each, and then let it finish."""
    for seconds in after:
        command = start_fkd(*arguments)
        deadline = time.monotonic() + 120
        while not begun() and command.code is None and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(seconds)
        command.kill()
    return start_fkd(*arguments).finish()


def test_an_import(labelled, write_labels, start_fkd, tmp_path):
    labels = write_labels(tmp_path / "labels", "marginal_smoothing_k5")
    whole = import_labels(ImportConfig(labels, labelled.images, tmp_path / "whole.zarr"))
    sources = content_of(tmp_path / "labels"), content_of(labelled.images)
    out = tmp_path / "cut.zarr"
    arguments = ["import", labels, labelled.images, "--out", out]
    done = run_and_kill(start_fkd, arguments, (0.0, 0.05), out.exists)
    assert done.code == 0, done.err
    assert (content_of(tmp_path / "labels"), content_of(labelled.images)) == sources
    cut = LabelStore.open(out)
    cut.require_complete()
    mine, theirs = (store.read_images(range(24), 6) for store in (whole, cut))
    assert np.array_equal(mine.box, theirs.box)
    assert all(np.array_equal(mine.kept[name], theirs.kept[name]) for name in mine.kept)


def test_an_export(shared_store, start_fkd, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    export_labels(ExportLabelsConfig(shared_store.path, whole, kind="smoothing"))
    source = content_of(shared_store.path)
    arguments = ["export-labels", shared_store.path, cut, "--kind", "smoothing"]
    done = run_and_kill(start_fkd, arguments, (0.0, 0.03), lambda: any(cut.rglob("*.tar")))
    assert done.code == 0, done.err
    assert content_of(shared_store.path) == source
    assert not list(cut.rglob("*.part"))
    assert content_of(cut / "data") == content_of(whole / "data")
