"""An average of stores is what the teachers' mean would have left there, and says of whom it is."""

import numpy as np
import pytest
import torch
from helpers.copies import KEYS, everything, files, labelled, teacher_probs
from helpers.folders import label_config
from helpers.processes import refused
from helpers.stores import NUM_CLASSES, make_store

from fkd import (
    AverageConfig,
    CheckConfig,
    FkdError,
    Scheme,
    TeacherChoice,
    ViewPolicy,
    average_stores,
    check_store,
    label_images,
)
from fkd.config import TonePolicy
from fkd.info import info_lines
from fkd.labels import averaged, restore, row_fidelity


def averaged_store(stores, out, **settings):
    return average_stores(AverageConfig(tuple(s.path for s in stores), out, **settings))


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """Two teachers' stores of all classes; of the first, image 6 has no labels, of the second, 9."""
    folder = tmp_path_factory.mktemp("full")
    one = labelled(folder / "a.zarr", "full", teacher_probs(0), bad=(6,))
    return one, labelled(folder / "b.zarr", "full", teacher_probs(1), bad=(9,), block=7)


def test_of_full_labels_it_is_the_mean_of_the_teachers(full, tmp_path):
    before = [files(store.path) for store in full]
    mean = averaged_store(full, tmp_path / "c.zarr", weights=(7, 3), scheme="topk5")
    assert [files(store.path) for store in full] == before
    probs = 0.7 * teacher_probs(0) + 0.3 * teacher_probs(1)
    fresh = labelled(tmp_path / "fresh.zarr", "topk5", probs, bad=(6, 9))
    found, true = everything(mean), everything(fresh)
    assert (found["index"] == true["index"]).mean() > 0.98
    assert np.abs(found["code"].astype(int) - true["code"]).max() <= 1
    for name in ("box", "flip", "size", "target", "status", "number", "bytes", "hash"):
        assert np.array_equal(found[name], true[name]), name
    assert mean.fidelity().kl == pytest.approx(fresh.fidelity().kl, abs=1e-3)
    assert mean.fidelity().kept_shares == pytest.approx(fresh.fidelity().kept_shares, abs=1e-3)
    spec = mean.spec
    assert (spec.weights, spec.made_by) == (pytest.approx((0.7, 0.3)), "average")
    assert [t.name for t in spec.teachers] == ["resnet18", "resnet18"]
    assert spec.scheme == Scheme("topk", 5)
    assert [text for name, text in info_lines(mean.path) if "counts 0." in text] == [
        "resnet18, weights sha256:0…, counts 0.7",
        "resnet18, weights sha256:0…, counts 0.3",
    ]


def test_of_top_k_labels_it_is_what_both_stores_tell(tmp_path):
    stores = [labelled(tmp_path / f"{n}.zarr", "topk5", teacher_probs(n)) for n in range(2)]
    mean = averaged_store(stores, tmp_path / "c.zarr")
    kept = [{n: v for n, v in everything(s).items() if n in ("index", "code")} for s in stores]
    scheme = Scheme("topk", 5)
    true = averaged(kept, [scheme] * 2, [0.5, 0.5], scheme, NUM_CLASSES)
    assert all(np.array_equal(everything(mean)[name], values) for name, values in true.items())
    assert mean.spec.weights == ()
    assert (
        mean.fidelity() is None
    )  # what neither of the two says of the other's classes is not known
    tensors = {n: torch.from_numpy(v.reshape(-1, 5).astype(int)) for n, v in true.items()}
    tensors["code"] = tensors["code"].to(torch.uint8)
    p = (teacher_probs(0) + teacher_probs(1)).reshape(-1, NUM_CLASSES) / 2
    assert row_fidelity(p, tensors, scheme)[:, 0].mean() < 0.5
    assert restore(tensors, scheme, scheme.whole, NUM_CLASSES).top_class.shape == (90,)


def test_the_deviation_of_a_mean_follows_from_full_labels_alone(full, tmp_path, capsys):
    mean = averaged_store(full, tmp_path / "a.zarr", scheme="topk5-std")
    exact = averaged_store(full, tmp_path / "b.zarr")
    logits = everything(exact)["log_prob"][exact.status() == 0].astype(np.float64)
    found = 2.0 ** (everything(mean)["deviation"][mean.status() == 0, :, 0] / 16 - 8)
    assert found == pytest.approx(logits.std(axis=2, ddof=1), rel=0.04)
    sparse = [labelled(tmp_path / f"{n}.zarr", "topk5-std", teacher_probs(n)) for n in range(2)]
    assert str(averaged_store(sparse, tmp_path / "c.zarr").spec.scheme) == "topk5"
    assert "without the deviation of logits" in capsys.readouterr().err
    for stores in (sparse, (full[0], sparse[1])):
        with pytest.raises(FkdError, match="the deviation of a mean follows from labels of all"):
            averaged_store(stores, tmp_path / "d.zarr", scheme="topk5-std")


def test_weights_of_an_average_are_those_of_its_teachers(full, tmp_path):
    """A store of two teachers shares its weight among them, as it was averaged."""
    both = averaged_store(full, tmp_path / "c.zarr", weights=(0.75, 0.25))
    third = labelled(tmp_path / "d.zarr", "full", teacher_probs(2))
    nested = averaged_store((both, third), tmp_path / "e.zarr", weights=(2, 1))
    assert nested.spec.weights == pytest.approx((0.5, 1 / 6, 1 / 3))
    alike = averaged_store((both, third), tmp_path / "f.zarr", weights=(1, 3))
    assert alike.spec.weights == pytest.approx((0.1875, 0.0625, 0.75))
    p = everything(nested)["log_prob"].astype(np.float32)
    q = [everything(s)["log_prob"].astype(np.float32) for s in (both, third)]
    good = np.flatnonzero(nested.status() == 0)
    mean = 2 / 3 * np.exp(q[0][good]) + 1 / 3 * np.exp(q[1][good])
    assert np.exp(p[good]) == pytest.approx(mean, abs=2e-3)


def test_other_views_are_refused_by_name(full, tmp_path):
    first, out, probs = full[0], tmp_path / "out.zarr", teacher_probs()
    views = type(first.spec.views)
    others = {
        "--seed is 5, not 0": labelled(tmp_path / "a.zarr", "full", views=views(seed=5)),
        "--crops is 4, not 6": labelled(tmp_path / "b.zarr", "full", probs[:, :4]),
        "the number of images is 14, not 15": labelled(
            tmp_path / "c.zarr", "full", probs[:14], KEYS[:14]
        ),
        "its images have cow/99.jpg in the place of cow/04.jpg": labelled(
            tmp_path / "d.zarr", "full", keys=[*KEYS[:14], "cow/99.jpg"]
        ),
        "--temperature is 2.0, not 1.0": labelled(tmp_path / "e.zarr", "full", temperature=2.0),
        "holds hard, a class of each label and no probabilities": labelled(
            tmp_path / "f.zarr", "hard"
        ),
    }
    for words, other in others.items():
        args = ["average", first.path, other.path, "--out", out, "--compress", "full"]
        assert words in refused(*args, alone=False), words
    for args, words in (
        (["--weights", 0.2, 0.3, 0.5], "--weights has 3 numbers for 2 stores"),
        (["--weights", 0.2, 0], "--weights is 0; it must lie between"),
        (["--compress", "samples4"], "what is drawn comes from a teacher's own label"),
    ):
        stores = [store.path for store in full]
        assert words in refused("average", *stores, *args, "--out", out, alone=False)
    (tmp_path / "link.zarr").symlink_to(first.path)
    message = refused("average", first.path, tmp_path / "link.zarr", "--out", out)
    assert f"link.zarr is {first.path} by another name" in message
    assert not out.exists()


def test_stored_boxes_are_compared_view_by_view(tmp_path):
    one, blocks = make_store(tmp_path / "a.zarr")
    two, _ = make_store(tmp_path / "b.zarr", skip=(1,))
    blocks[1].box[2, 3, 0] ^= 1
    from fkd import LabelStore

    two = LabelStore.open(two.path, writable=True)
    two.commit_block(1, blocks[1])
    averaged_store((one, make_store(tmp_path / "same.zarr")[0]), tmp_path / "d.zarr")
    with pytest.raises(FkdError, match=r"c/006ü\.jpg has other boxes"):
        averaged_store((one, two), tmp_path / "c.zarr")
    assert 1 in LabelStore.open(tmp_path / "c.zarr").pending_blocks()


def test_its_teachers_can_be_asked_again(shared_folder, tmp_path):
    """Each counts what it counted: with other weights than the store's they say something else."""
    names, stores = ("resnet18", "squeezenet1_1"), []
    for name in names:
        teacher = TeacherChoice(name, "none", size=32)
        config = label_config(
            shared_folder, tmp_path / f"{name}.zarr", teacher=teacher, num_crops=2, scheme="full"
        )
        stores.append(label_images(config))
    mean = averaged_store(stores, tmp_path / "mean.zarr", weights=(0.9, 0.1))
    again = tuple(TeacherChoice(name, "none") for name in names)
    asked = CheckConfig(mean.path, images=shared_folder, teacher=again, num_views=36, device="cpu")
    found = {verdict.part: verdict for verdict in check_store(asked).verdicts}
    assert found["labels"].state == "ok", found["labels"].detail
    probs = [np.exp(everything(s)["log_prob"].astype(np.float32)) for s in (*stores, mean)]
    assert probs[2] == pytest.approx(0.9 * probs[0] + 0.1 * probs[1], abs=1e-3)
    assert np.abs(probs[2] - (probs[0] + probs[1]) / 2).max() > 0.01


def test_views_of_another_tone_are_others(tmp_path):
    views = ViewPolicy(tone=TonePolicy(erase=0.25))
    stores = [
        labelled(tmp_path / "a.zarr", "topk5"),
        labelled(tmp_path / "b.zarr", "topk5", views=views),
    ]
    with pytest.raises(FkdError, match=r"--erase is 0\.25, not 0\.0"):
        averaged_store(stores, tmp_path / "c.zarr")
