"""A page about lines of labels: what they read, letter under letter, and how often that is their text."""

import matplotlib.colors
import matplotlib.image
import numpy as np
import pytest
import torch
from helpers.lines import CHARACTERS, line_config, make_line_folder

from fkd import Scheme, ShowConfig, label_images, show_store
from fkd.originals import find_images, find_labelled_texts
from fkd.pictures.line_figures import _WRONG
from fkd.statistics import line_statistics
from fkd.truth import edit_distance, read_off

WRONG_TEXT = "éab é"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store of six lines, of which the first has another text than what is drawn in it."""
    folder = make_line_folder(tmp_path_factory.mktemp("lines") / "lines", train=6)
    file = folder / "train" / "labels.txt"
    lines = file.read_text("utf-8").splitlines(keepends=True)
    file.write_text("".join([f"000.png\t{WRONG_TEXT}\n", *lines[1:]]), "utf-8")
    return label_images(line_config(folder, folder.parent / "lines.zarr"))


def test_lines_are_counted_against_their_texts(store):
    texts = find_labelled_texts(store, find_images(store, None))
    found = line_statistics(store, texts, np.ones(6, np.bool_))
    slab = store.read_images(range(6), 2)
    kept = {n: torch.from_numpy(v.reshape(12, -1)) for n, v in slab.kept.items()}
    best = store.spec.labels.restore(kept).top_class.reshape(12, 16).tolist()
    pairs = [(read_off(b, CHARACTERS), texts.texts.text(n // 2)) for n, b in enumerate(best)]
    errors = [edit_distance(*pair) for pair in pairs]
    assert errors[0] > 0
    assert (found.num_images, found.crops_per_image) == (6, 2)
    assert found.read.exact_match == sum(not e for e in errors) / 12
    assert found.read.character_error_rate == sum(errors) / sum(len(text) for _, text in pairs)
    assert sum(count for _, count in found.confused) == sum(errors)
    few = line_statistics(store, texts, np.arange(6) == 5)
    assert (few.num_images, str(few)) == (1, "exact match 100.0%, character error rate 0.0%")
    assert line_statistics(store, texts, np.zeros(6, np.bool_)) is None


def test_the_page_shows_texts_and_what_is_read(store, tmp_path, capsys):
    config = ShowConfig(store.path, tmp_path / "page", chosen=("000.png", "005.png"), crops=2)
    page = show_store(config).read_text("utf-8")
    assert "12 crops of 16 labels: exact match " in capsys.readouterr().err
    for words in (
        "Is the teacher right?", "<dt>character error rate</dt>", "under the text of its image",
        "<td>space</td>", "<td>(nothing)</td>", "share of frames", "The blank, at ",
        "Of crops of 90.0% to 90.8% of their images",
    ):  # fmt: skip
        assert words in page, words
    for words in ("those of the maps", "A small crop", "softer", "<td> </td>", "top-1 of most"):
        assert words not in page, words
    red = np.array(matplotlib.colors.to_rgb(_WRONG))
    for name, wrong in (("sample-1", True), ("sample-2", False), ("least-sure", True)):
        drawn = matplotlib.image.imread(tmp_path / f"page/{name}.png")[..., :3]
        assert (np.abs(drawn - red).max(axis=2) < 0.01).any() == wrong, name


def test_a_text_that_has_changed_is_named_and_hard_labels_are_read(store, tmp_path):
    folder = make_line_folder(tmp_path / "lines", train=2)
    hard = label_images(line_config(folder, tmp_path / "s.zarr", scheme=Scheme("hard")))
    config = ShowConfig(hard.path, tmp_path / "page", crops=1)
    assert "exact match" in show_store(config).read_text("utf-8")
    file = folder / "train" / "labels.txt"
    file.write_text("000.png\tbbbb\n" + file.read_text("utf-8").split("\n", 1)[1], "utf-8")
    page = show_store(config).read_text("utf-8")
    assert "Labels are not compared with texts: " in page
    assert "000.png has another text than when it was labelled" in page
