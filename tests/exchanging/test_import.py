"""Labels of FKD become a store: the same boxes, flips and ids, and values as near as codes are."""

import pickle
import shutil

import numpy as np
import pytest
import torch
from helpers.fkd_labels import KINDS, fractions, label_arrays, recovered, write_file
from helpers.processes import refused

from fkd import (
    CheckConfig,
    ImportConfig,
    LabelStore,
    PackConfig,
    Scheme,
    StudentLoader,
    check_store,
    import_labels,
    pack_images,
)
from fkd.errors import FkdError
from fkd.exchanging.fkd_files import boxes_in
from fkd.exchanging.fkd_folder import FkdLabels
from fkd.exchanging.joint import LabelFileError, Traits
from fkd.info import info_lines
from fkd.labels import divergence
from fkd.sources import list_images

TOPK5 = "marginal_smoothing_k5"


def imported(labels, labelled, tmp_path, **settings):
    config = ImportConfig(labels, labelled.images, tmp_path / "labels.zarr", size=32, **settings)
    return import_labels(config)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_becomes_what_its_loader_reads(kind, labelled, write_labels, tmp_path):
    store = imported(write_labels(tmp_path, kind), labelled, tmp_path)
    store.require_complete()
    slab = store.read_images(range(24), 6)
    assert list(store.image_paths()) == labelled.keys
    assert np.array_equal(slab.box, labelled.box)
    assert np.array_equal(slab.flip, labelled.flip)
    assert slab.size.tolist() == [list(size) for size in labelled.sizes]
    assert slab.target.tolist() == [number // 2 for number in range(24)]
    kept = {name: torch.from_numpy(v.reshape(144, -1)) for name, v in slab.kept.items()}
    labels = store.spec.labels.restore(kept)
    forms = [torch.from_numpy(label_arrays(kind, probs)) for probs in labelled.probs]
    said = torch.cat([recovered(kind, form, 12) for form in forms])
    if kind == "hard":
        assert torch.equal(labels.dense(), said)
        return
    kl = divergence(said, labels)
    assert float(kl.max()) < 0.01
    assert store.fidelity().kl == pytest.approx(float(kl.mean()), rel=0.05, abs=1e-6)
    assert torch.equal(labels.top_class, labelled.probs.reshape(144, 12).argmax(1))


@pytest.mark.parametrize(
    "how", [{"tensors": True}, {"legacy": True}, {"legacy": True, "tensors": True}], ids=str
)
def test_every_way_to_pickle_them_is_read_alike(how, labelled, write_labels, tmp_path):
    one = imported(write_labels(tmp_path / "a", "marginal_smoothing_k5"), labelled, tmp_path / "1")
    labels = write_labels(tmp_path / "b", "marginal_smoothing_k5", **how)
    other = imported(labels, labelled, tmp_path / "2")
    mine, theirs = (store.read_images(range(24), 6) for store in (one, other))
    assert np.array_equal(mine.box, theirs.box)
    assert all(np.array_equal(mine.kept[name], theirs.kept[name]) for name in mine.kept)


@pytest.mark.parametrize("kind", ["marginal_smoothing_k5", "ori"])
def test_float16_moves_no_box_of_small_images(kind, labelled, write_labels, tmp_path):
    store = imported(write_labels(tmp_path, kind, half=True), labelled, tmp_path)
    assert np.array_equal(store.read_images(range(24), 6).box, labelled.box)
    assert store.fidelity().kl < 0.001


def test_a_box_that_float16_moves_out_of_its_image_is_moved_back():
    height, width = 3001, 2003
    top, left = np.arange(0, 3001, 3), np.arange(0, 2002, 2)
    box = np.stack([top, left, height - top, width - left], axis=1).astype(np.uint16)
    exact, moved = boxes_in(fractions(box, height, width), height, width)
    assert np.array_equal(exact, box)
    assert moved == 0
    rounded, moved = boxes_in(fractions(box, height, width).astype(np.float16), height, width)
    assert moved > 0
    ends = rounded[:, :2].astype(int) + rounded[:, 2:]
    assert (ends <= (height, width)).all()
    assert (rounded[:, 2:] > 0).all()
    assert np.abs(rounded.astype(int) - box).max() <= 2


def test_edges_are_rounded_as_pillow_rounds_them():
    # Of 10 pixels, 2.5 to 7.5: halves go to even ones, 2 and 8, so 5 pixels become 6.
    box, _ = boxes_in(np.array([[0.25, 0.25, 0.5, 0.5]], np.float32), 10, 10)
    assert box.tolist() == [[2, 2, 6, 6]]


def test_where_boxes_are_more_than_labels_the_labels_count(labelled, tmp_path):
    for number, key in enumerate(labelled.keys):
        labels = label_arrays("marginal_smoothing_k5", labelled.probs[number])[:4]
        coords = fractions(labelled.box[number], *labelled.sizes[number])
        path = tmp_path / "labels" / "train" / f"{key.split('.')[0]}.tar"
        write_file(path, coords, labelled.flip[number], labels)
    store = imported(tmp_path / "labels", labelled, tmp_path)
    assert store.spec.num_crops == 4
    assert np.array_equal(store.read_images(range(24), 4).box, labelled.box[:, :4])


@pytest.mark.parametrize("scheme", ["topk3", "topk5-coarse", "smooth", "hard"])
def test_less_may_be_kept(scheme, labelled, write_labels, tmp_path):
    labels = write_labels(tmp_path, "marginal_smoothing_k10")
    store = imported(labels, labelled, tmp_path, scheme=scheme, num_crops=3)
    assert str(store.spec.scheme) == scheme
    assert store.spec.num_crops == 3
    best = store.read_images(range(24), 3).kept["index"][..., 0]
    assert np.array_equal(best, labelled.probs[:, :3].argmax(2))


def test_full_labels_alone_tell_the_deviation_of_their_logits(labelled, write_labels, tmp_path):
    few = write_labels(tmp_path / "few", "marginal_smoothing_k10")
    scheme = "topk3-std"
    with pytest.raises(FkdError, match="do not tell the deviation of the teacher's logits"):
        imported(few, labelled, tmp_path, scheme=scheme)
    store = imported(write_labels(tmp_path / "all", "ori"), labelled, tmp_path, scheme=scheme)
    found = 2.0 ** (store.read_images(range(24), 6).kept["deviation"][..., 0] / 16 - 8)
    assert found == pytest.approx(labelled.probs.log().std(2).numpy(), rel=0.03)


def test_a_list_of_classes_says_what_ids_are(labelled, write_labels, tmp_path):
    names = [f"n{number:02}" for number in reversed(range(12))] + ["another"]
    (tmp_path / "classes.txt").write_text("\n".join(names))
    labels = write_labels(tmp_path, "hard")
    store = imported(labels, labelled, tmp_path, classes_file=tmp_path / "classes.txt")
    assert list(store.class_names()) == names
    assert store.targets().tolist() == [11 - number // 2 for number in range(24)]


def test_what_was_imported_is_checked_shown_and_trained_on(labelled, write_labels, tmp_path):
    store = imported(write_labels(tmp_path, TOPK5), labelled, tmp_path)
    report = check_store(CheckConfig(store.path, deep=True, device="cpu"))
    assert report.ok, report.verdicts
    assert dict(info_lines(store.path))["teacher"] == "unknown, weights unknown…"
    loader = StudentLoader(
        store.path, crops_per_image=2, batch_size=4, scheme="topk5-smooth", device="cpu"
    )
    views, labels = next(iter(loader))
    assert views.shape == (4, 3, 32, 32)
    assert torch.allclose(labels.dense().sum(1), torch.ones(4))


def test_smaller_copies_of_the_images_have_the_same_views(labelled, write_labels, tmp_path):
    pack_images(PackConfig(labelled.images, tmp_path / "small", pixels=16))
    labels = write_labels(tmp_path / "labels", "marginal_smoothing_k5")
    out = tmp_path / "labels.zarr"
    store = import_labels(ImportConfig(labels, tmp_path / "small", out, size=16))
    slab = store.read_images(range(24), 6)
    assert slab.size.min(axis=1).tolist() == [16] * 24
    shares = slab.box / np.tile(slab.size, 2)[:, None]
    wanted = labelled.box / np.tile(np.array(labelled.sizes), 2)[:, None]
    assert np.abs(shares - wanted).max() <= 1 / 16


# -- what is refused ------------------------------------------------------------------------------


class Evil:
    def __reduce__(self):
        return print, ("it ran",)


COORDS, FLIP = np.full((6, 4), 0.2, np.float32), np.zeros(6, bool)
PAIRS = np.stack([np.tile(np.arange(5), (6, 1)), np.full((6, 5), 0.1)], 1).astype(np.float32)


def with_id(value):
    """Return labels of which one id is another."""
    pairs = PAIRS.copy()
    pairs[3, 0, 2] = value
    return pairs


def flipped(content):
    """Flip a bit in the middle of a pickle."""
    middle = content.index(b"latin1")
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


# What becomes of a label file, by its path.
DAMAGES = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:900]),
    "checksum": lambda path: path.write_bytes(flipped(path.read_bytes())),
    "pickle": lambda path: path.write_bytes(pickle.dumps([1, 2, 3])),
    "code": lambda path: torch.save([COORDS, FLIP, Evil()], path),
    "old code": lambda path: torch.save(
        [COORDS, FLIP, Evil()], path, _use_new_zipfile_serialization=False
    ),
    "two arrays": lambda path: torch.save([COORDS, FLIP], path),
    "boxes": lambda path: write_file(path, COORDS[:, :3], FLIP, PAIRS),
    "flips": lambda path: write_file(path, COORDS, FLIP[:5], PAIRS),
    "outside": lambda path: write_file(path, COORDS + 0.7, FLIP, PAIRS),
    "no number": lambda path: write_file(path, COORDS * np.nan, FLIP, PAIRS),
    "id": lambda path: write_file(path, COORDS, FLIP, with_id(12)),
    "half id": lambda path: write_file(path, COORDS, FLIP, with_id(7.5)),
    "twice": lambda path: write_file(path, COORDS, FLIP, with_id(1)),
    "sum": lambda path: write_file(path, COORDS, FLIP, PAIRS * np.float32([[[1], [3]]])),
    "kind": lambda path: write_file(path, COORDS, FLIP, np.arange(6)),
    "crops": lambda path: write_file(path, COORDS[:5], FLIP[:5], PAIRS[:5]),
}

WORDS = {
    "missing": "missing (no such file)",
    "empty": "empty (no bytes)",
    "cut off": "damaged (it is cut off)",
    "checksum": "damaged (",
    "pickle": "it is no file of torch.save",
    "code": "'print', which no label needs",
    "old code": "'print', which no label needs",
    "two arrays": "it holds 2 arrays, not boxes, flips and labels",
    "boxes": "its boxes are float32 [6, 3], not floats [M, 4]",
    "flips": "its flips are bool [5], not bool [6]",
    "outside": "the box of crop 0 leaves its image",
    "no number": "the box of crop 0 leaves its image",
    "id": "it has the class id 12, of 12 classes",
    "half id": "a class id is 7.5",
    "twice": "a label names a class twice",
    "sum": "the label of crop 0 is no distribution (it sums to 1.5)",
    "kind": "its labels are hard, those of the set marginal_smoothing_k5",
    "crops": "it has 5 crops, not 6; --crops 5 takes fewer of all",
}


@pytest.fixture(scope="module")
def good_labels(write_labels, tmp_path_factory):
    """Labels of which each test damages a copy of one file."""
    return write_labels(tmp_path_factory.mktemp("good"), "marginal_smoothing_k5")


@pytest.mark.parametrize("what", WORDS)
def test_a_file_that_is_none_is_named(what, good_labels, labelled, capfd):
    path = good_labels / "n07" / "n07_14.tar"
    good = path.read_bytes()
    DAMAGES[what](path)
    try:
        labels = FkdLabels.find(good_labels, list_images(labelled.images / "train"))
        with pytest.raises(LabelFileError) as error:
            labels.read(14, *labelled.sizes[14], Traits(TOPK5, Scheme("topk", 5), 6, 12))
    finally:
        path.write_bytes(good)
    assert str(error.value).startswith(f"{path}: ")
    assert WORDS[what] in str(error.value)
    assert "it ran" not in capfd.readouterr().out


@pytest.mark.parametrize("what", ["missing", "cut off", "code"])
def test_an_import_that_meets_one_ends_in_one_line(what, labelled, write_labels, tmp_path, capfd):
    labels = write_labels(tmp_path, TOPK5)
    DAMAGES[what](labels / "n07" / "n07_14.tar")
    arguments = ["import", labels, labelled.images, "--out", tmp_path / "labels.zarr"]
    line = refused(*arguments, alone=what == "missing")
    missing = "1 of 24 images have no labels in"
    assert (missing if what == "missing" else WORDS[what]) in line
    assert ("n07_14.x.JPEG" if what == "missing" else str(labels / "n07" / "n07_14.tar")) in line
    assert "it ran" not in capfd.readouterr().out


def test_what_may_be_passed_over_is_counted_and_named(labelled, write_labels, tmp_path, capfd):
    labels = write_labels(tmp_path, "marginal_smoothing_k5")
    for name, what in (("n07_14", "missing"), ("n08_16", "cut off")):
        DAMAGES[what](labels / name[:3] / f"{name}.tar")
    shutil.copy(labels / "n00" / "n00_0.tar", labels / "n00" / "of-no-image.tar")
    store = imported(labels, labelled, tmp_path, max_bad=0.1)
    assert np.flatnonzero(store.status()).tolist() == [14, 16]
    said = capfd.readouterr().err
    assert "2 images: 1 missing, 1 damaged" in said
    assert "1 label file of no image here: n00/of-no-image.tar" in said
    assert not store.read_images(range(14, 15), 6).box.any()


def test_code_ends_an_import_whatever_may_be_passed_over(labelled, write_labels, tmp_path, capfd):
    labels = write_labels(tmp_path, "hard")
    DAMAGES["code"](labels / "n07" / "n07_14.tar")
    with pytest.raises(FkdError, match="which no label needs"):
        imported(labels, labelled, tmp_path, max_bad=1.0)
    assert "it ran" not in capfd.readouterr().out


def test_two_images_of_one_name_up_to_a_dot_have_one_file(labelled, write_labels, tmp_path):
    shutil.copytree(labelled.images, tmp_path / "images")
    first = tmp_path / "images" / "train" / "n00" / "n00_0.x.JPEG"
    shutil.copy(first, first.with_name("n00_0.y.JPEG"))
    labels = write_labels(tmp_path / "labels", "hard")
    config = ImportConfig(labels, tmp_path / "images", tmp_path / "labels.zarr", max_bad=0.1)
    store = import_labels(config)
    assert [store.image_paths()[n] for n in np.flatnonzero(store.status())] == ["n00/n00_0.y.JPEG"]


def test_other_settings_and_other_places_are_refused(
    labelled, write_labels, tmp_path, shared_store
):
    labels, images = write_labels(tmp_path / "labels", "ori"), labelled.images
    out = tmp_path / "labels.zarr"
    for arguments, words in {
        (tmp_path / "none", images): "none does not exist; name the folder",
        (images / "train" / "n00", images): "holds no labels of",
        (labels, images, "--crops", "7"): "--crops 7 is more than the 6 crops",
        (labels, images, "--compress", "samples4"): "--compress samples4 cannot be stored",
        (
            labels,
            images,
            "--teacher-classes",
            "none.txt",
        ): "--teacher-classes none.txt: no such file",
        (labels, images, "--out", images / "train" / "x.zarr"): "lies inside",
        (labels, images, "--out", shared_store.path): "was not made by `fkd import`",
    }.items():
        out_too = () if "--out" in arguments else ("--out", out)
        assert words in refused("import", *arguments, *out_too)
    assert not out.exists()
    import_labels(ImportConfig(labels, images, out))
    words = "was made with other settings: --teacher is another"
    assert words in refused("import", labels, images, "--out", out, "--teacher", "another")
    assert LabelStore.open(out).spec.made_by == "import"


def test_labels_of_more_classes_than_the_folder_ask_for_their_names(
    labelled, write_labels, tmp_path
):
    labels = write_labels(tmp_path / "labels", "ori")
    shutil.copytree(labelled.images / "train" / "n03", tmp_path / "images" / "n03")
    line = refused("import", labels, tmp_path / "images", "--out", tmp_path / "labels.zarr")
    assert "the labels are over 12 classes, and" in line
    assert "give --teacher-classes FILE" in line
