"""A page about stored vectors: views and their neighbours, how alike they are."""

import re
import shutil

import numpy as np
import pytest
import torch
from helpers.stores import change_attributes
from helpers.vectors import kept
from torch.nn import functional

from fkd import CardConfig, ShowConfig, show_store, store_card
from fkd.errors import StoreError
from fkd.info import info_lines
from fkd.pictures.viewer import CropViewer
from fkd.probing import knn_top1
from fkd.sources import list_images
from fkd.statistics import label_statistics, vector_statistics


@pytest.mark.parametrize(("which", "name"), [("vector_store", "map"), ("bare_store", "output")])
def test_neighbours_are_those_of_the_restored_vectors(request, which, name):
    store = request.getfixturevalue(which)
    first = {array: torch.from_numpy(values[:, 0]) for array, values in kept(store).items()}
    said = store.vectors(name).restore(first).reshape(18, 3, -1).mean(2)  # a map's channels
    cosines = functional.cosine_similarity(said[:, None], said[None], dim=2)
    pairs = cosines[~torch.eye(18, dtype=torch.bool)]
    found = vector_statistics(store, name, num_asked=3, num_nearest=4)
    assert found.images.tolist() == list(range(18))
    assert found.spread.cosine == pytest.approx(float(pairs.mean()), abs=1e-5)
    assert found.cosines.mean == pytest.approx(float(pairs.mean()), abs=1e-5)
    assert found.cosines.count == 18 * 17 / 2
    cosines.fill_diagonal_(-2)
    for row, others, similarity in zip(found.asked, found.nearest, found.similarity, strict=True):
        assert others.tolist() == cosines[row].topk(4).indices.tolist()
        assert np.allclose(similarity, cosines[row].topk(4).values, atol=1e-5)
    classes = torch.from_numpy(store.targets())
    assert (found.voters, found.knn) == (5, knn_top1(said, classes, k=5))


def page_of(store, folder, **settings):
    config = ShowConfig(store.path, folder / "page", samples=2, crops=2, **settings)
    return re.sub(r"data:image/png;base64,[^\"]*", "", show_store(config).read_text())


def test_a_store_of_labels_and_vectors_shows_both(vector_store, tmp_path):
    page = page_of(vector_store, tmp_path)
    files = {file.name for file in (tmp_path / "page").iterdir()}
    for name in ("features", "map"):
        assert f"Neighbours by {name}" in page
        assert {f"neighbours-{name}.png", f"vectors-{name}.png"} <= files
    assert "How sure the teacher is" in page
    assert "a map of 3 × 8 × 8, 384 bytes a view, kept as f16" in page
    (tmp_path / "page/neighbours-other.png").write_bytes(b"of an earlier page")
    page_of(vector_store, tmp_path)
    assert not (tmp_path / "page/neighbours-other.png").exists()


def test_a_sample_without_labels_has_no_place_for_their_bars(
    vector_store, bare_store, shared_folder
):
    """Its figure has a head, the image and two crops; of labels each crop has bars beside it."""
    images = list_images(shared_folder / "train")
    for store, places in ((vector_store, 6), (bare_store, 4)):
        viewer = CropViewer(store, images, store.class_names(), ("svg",))
        drawn = viewer.sample(0, 2, 1).files["svg"].decode()
        assert len(re.findall(r'id="axes_\d+"', drawn)) == places


def test_a_store_without_labels_says_nothing_of_them(bare_store, tmp_path, capsys):
    page = page_of(bare_store, tmp_path)
    assert "Neighbours by output" in page
    for word in (
        "top-1",
        "entropy",
        "likely",
        "temperature",
        "bold is the class of the image",
    ):
        assert word not in page, word
    assert "output: kNN" in capsys.readouterr().err
    lines = info_lines(bare_store.path)
    assert (
        "vectors",
        "output: what the teacher returns, 3 numbers, 5 bytes a view, kept as int8",
    ) in lines
    assert not {"scheme", "reads as", "fidelity"} & {name for name, _ in lines}
    per_crop = dict(lines)["per crop"]
    assert "vector output" in per_crop
    assert "ids" not in per_crop


def test_its_card_names_vectors_and_code_that_reads_them(bare_store, vector_store):
    card = store_card(CardConfig(bare_store.path))
    assert "in vectors (output)" in card
    assert 'batch.vectors["output"]' in card
    assert "--compress" not in card
    assert "soft-labels" not in card
    assert "Vectors of helpers.networks:teacher for 18 images" in card
    both = store_card(CardConfig(vector_store.path))
    assert "over 3 classes and in vectors (features, map)" in both
    assert "soft_cross_entropy" in both


def test_what_asks_for_labels_refuses_in_a_line(bare_store, vector_store, tmp_path):
    with pytest.raises(StoreError, match="keeps vectors and no labels"):
        label_statistics(bare_store)
    for one, other in ((bare_store, vector_store), (vector_store, bare_store)):
        with pytest.raises(StoreError, match="keeps vectors and no labels"):
            page_of(one, tmp_path, against=other.path)


def test_vectors_are_shown_where_the_images_are_gone(bare_store, tmp_path):
    store = shutil.copytree(bare_store.path, tmp_path / "a.zarr")
    change_attributes(store, sign=True, images_root=str(tmp_path / "gone"))
    page = show_store(ShowConfig(store, tmp_path / "page")).read_text()
    assert "Neighbours by output" in page
    assert not list((tmp_path / "page").glob("neighbours-*"))
