"""What is exported, FKD's loader reads as the store has it; imported again, it is the same store."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.fkd_labels import recovered
from helpers.folders import label_config
from helpers.processes import refused

from fkd import (
    ExportLabelsConfig,
    ImportConfig,
    LabelStore,
    Scheme,
    export_labels,
    import_labels,
    label_images,
)


@pytest.fixture(scope="module")
def stores(labelled, tmp_path_factory):
    """Label the twelve classes once for each scheme that is asked for."""
    folder, made = tmp_path_factory.mktemp("stores"), {}

    def store(scheme) -> LabelStore:
        if scheme not in made:
            config = label_config(labelled.images, folder / f"{scheme}.zarr", num_crops=4)
            made[scheme] = label_images(replace(config, scheme=Scheme.parse(scheme)))
        return made[scheme]

    return store


def loaded(folder, key):
    """Read the file of an image as FKD's trainer finds it, whose images are at …/train/CLASS/NAME."""
    path = "/".join(["/data/train", *key.split("/")])
    name = "/".join(path.split("/")[-3:]).split(".")[0] + ".tar"
    return torch.load(folder / name)


def pillow_edges(coords, height, width):
    """Return the edges that Pillow crops at, of the numbers that FKD's loader gives it."""
    top, left, tall, wide = (float(c) for c in coords)
    edges = (left * width, top * height, left * width + wide * width, top * height + tall * height)
    return [round(edge) for edge in edges]


@pytest.mark.parametrize(
    ("scheme", "kind"),
    [
        ("topk5", None), ("topk10", None), ("topk10", "marginal_smoothing_k5"), ("smooth", None),
        ("hard", None), ("full", None), ("full", "smoothing"), ("topk5-coarse", None),
    ],
)  # fmt: skip
def test_the_loader_of_fkd_reads_what_the_store_has(scheme, kind, stores, labelled, tmp_path):
    store = stores(scheme)
    report = export_labels(ExportLabelsConfig(store.path, tmp_path / "out", kind=kind))
    assert report.folder == tmp_path / "out" / "data"
    assert (report.written, report.found, report.unlabelled) == (24, 0, 0)
    assert report.sorted_ids
    slab = store.read_images(range(24), 4)
    for row, key in enumerate(labelled.keys):
        coords, flip, labels = loaded(report.folder, key)
        height, width = labelled.sizes[row]
        edges = [pillow_edges(c, height, width) for c in coords]
        top, left, tall, wide = slab.box[row].astype(int).T
        assert edges == np.stack([left, top, left + wide, top + tall], axis=1).tolist()
        assert flip.tolist() == slab.flip[row].tolist()
        said = recovered(report.kind, labels, 12)
        kept = {name: torch.from_numpy(values[row]) for name, values in slab.kept.items()}
        wanted = {"ori": "full", "smoothing": "smooth", "hard": "hard"}.get(report.kind)
        wanted = wanted or f"topk{report.kind.rpartition('k')[2]}-smooth"
        own = store.spec.labels.restore(kept, Scheme.parse(wanted)).dense()
        torch.testing.assert_close(said, own, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("scheme", ["topk5", "topk10", "smooth", "hard", "full"])
def test_imported_again_it_is_the_same(scheme, stores, labelled, tmp_path):
    store = stores(scheme)
    report = export_labels(ExportLabelsConfig(store.path, tmp_path / "out"))
    config = ImportConfig(report.folder, labelled.images, tmp_path / "again.zarr")
    again = import_labels(config)
    mine, theirs = store.read_images(range(24), 4), again.read_images(range(24), 4)
    assert np.array_equal(mine.box, theirs.box)
    assert np.array_equal(mine.flip, theirs.flip)
    assert np.array_equal(store.content_hashes(), again.content_hashes())
    assert again.class_names() == store.class_names()
    for name, values in mine.kept.items():
        if name == "log_prob":  # f4 between two f2
            np.testing.assert_allclose(values, theirs.kept[name], atol=4e-3)
        else:
            assert np.array_equal(values, theirs.kept[name]), name


@pytest.mark.parametrize("sharpness", [0.0, 3.0, 8.0, 14.0])
def test_a_small_residual_survives_float32(sharpness):
    from fkd.exchanging.fkd_files import labels_as, scheme_of
    from fkd.labels import quantize, restore

    classes, topk5 = 1000, Scheme("topk", 5)
    logits = torch.zeros(1, classes)
    logits[0, :6] = torch.tensor([sharpness, 0.4, 0.3, 0.2, 0.1, 0.0])
    kept = quantize(logits.softmax(1), topk5)
    labels = restore(kept, topk5, topk5.whole, classes)
    written = labels_as("marginal_smoothing_k5", labels, "f4")
    assert scheme_of("marginal_smoothing_k5") == topk5
    left = (1 - written[:, 1].astype(np.float64).sum(axis=1)) / (classes - 5)
    assert left[0] == pytest.approx(float(labels.tail[0]), rel=0.01)


def test_float16_never_says_more_than_there_is(stores, labelled, tmp_path):
    store = stores("topk5")
    config = ExportLabelsConfig(store.path, tmp_path / "out", dtype="f2")
    report = export_labels(config)
    assert report.moved == 0  # the images are small
    for key in labelled.keys:
        coords, _, labels = loaded(report.folder, key)
        assert coords.dtype == labels.dtype == torch.float16
        assert (labels[:, 1].double().sum(dim=1) <= 1).all()


def test_an_export_goes_on_where_it_was(stores, tmp_path):
    store = stores("hard")
    config = ExportLabelsConfig(store.path, tmp_path / "out")
    export_labels(config)
    files = sorted((tmp_path / "out" / "data").rglob("*.tar"))
    contents = [file.read_bytes() for file in files]
    files[3].unlink()
    files[7].write_bytes(b"")
    stamp = files[0].stat().st_mtime_ns
    report = export_labels(config)
    assert (report.written, report.found) == (2, 22)
    assert [file.read_bytes() for file in files] == contents
    assert files[0].stat().st_mtime_ns == stamp
    settings = json.loads((tmp_path / "out" / "fkd-export.json").read_text())
    assert settings["store"] == store.digest()


def test_what_cannot_be_exported_is_refused_before_anything_is_written(
    stores, shared_store, tmp_path
):
    out = tmp_path / "out"
    for arguments, words in {
        (
            shared_store.path,
            out,
        ): "keeps topk3, which none of FKD's kinds of labels is; choose --kind",
        (shared_store.path, out, "--kind", "ori"): "--kind ori asks for more than",
        (stores("hard").path, out, "--kind", "smoothing"): "it can be read as hard",
        (tmp_path / "none", out): "does not exist",
        (stores("hard").path, shared_store.path): "holds no fkd-export.json",
    }.items():
        assert words in refused("export-labels", *arguments)
    assert not out.exists()
    export_labels(ExportLabelsConfig(stores("hard").path, out))
    line = refused("export-labels", stores("topk5").path, out)
    assert "holds an export with store sha256:" in line


def test_ids_beyond_what_float16_counts_are_refused():
    from fkd.exchanging.fkd_files import num_ids

    assert num_ids("f2") == 2049
    assert float(np.float16(2048)) == 2048
    assert float(np.float16(2049)) != 2049
    assert num_ids("f4") == 2**24 + 1
    assert math.isclose(float(np.float32(2**24)), 2**24, rel_tol=0)
