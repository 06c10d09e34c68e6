"""`fkd check` finds what is wrong with vectors, and asks their teacher again."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.copies import files
from helpers.folders import vector_config
from helpers.networks import TEACHER_CHOICE
from helpers.stores import make_store

from fkd import CheckConfig, FkdError, LabelStore, TeacherChoice, check_store, label_images
from fkd.checking.vector_agreement import Comparing
from fkd.config import VectorScheme
from fkd.format import TargetRecord
from fkd.vectors import KeptVectors, StoredVectors

NETWORKS = """
from helpers.networks import teacher
from torch import nn
def other():
    model = teacher()
    model[2].weight.data = model[2].weight.data.flip(1)
    return model
def wide():
    return nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(768, 3)).eval()
"""


def checked(store, **settings):
    path = getattr(store, "path", store)
    return check_store(CheckConfig(path, device="cpu", workers=1, **settings))


def found(report):
    return {verdict.part: verdict for verdict in report.verdicts}


@pytest.mark.parametrize("which", ["vector_store", "bare_store"])
def test_their_teacher_says_today_what_is_stored(request, which):
    store = request.getfixturevalue(which)
    report = checked(store, deep=True, teacher=(TEACHER_CHOICE,), num_views=24)
    said = found(report)
    assert report.ok, report
    labels = which == "vector_store"
    assert ({"ids", "values", "labels"} <= {*said}) == labels
    assert said.keys() >= {"vectors", "teacher", "contents"}
    asked = [verdict.detail for verdict in report.verdicts if verdict.part == "teacher"]
    assert [text.split(":")[0] for text in asked] == list(store.spec.vectors)
    assert all("mean 0.9999" in text or "mean 1.0000" in text for text in asked)


def test_another_teacher_says_something_else(bare_store, vector_store, tmp_path, monkeypatch):
    (tmp_path / "other_networks.py").write_text(NETWORKS)
    monkeypatch.syspath_prepend(str(tmp_path))
    other = TeacherChoice("other_networks:other", size=32)
    verdict = found(checked(bare_store, teacher=(other,), num_views=24))["teacher"]
    assert verdict.state == "FAILED"
    assert "not the weights that labelled" in verdict.detail
    with pytest.raises(FkdError, match=r"features are of \[768\] numbers, those of .* of \[192\]"):
        checked(vector_store, teacher=(TeacherChoice("other_networks:wide", size=32),))


def test_rounding_is_no_fault_and_another_view_is_one():
    """Vectors of 64 views with the error of another precision agree, and fail where one is another's."""
    generator = torch.Generator().manual_seed(0)
    vectors = StoredVectors(KeptVectors("v", VectorScheme("int8"), (32,)))
    true = torch.randn(64, 32, generator=generator)
    today = true * (1 + 0.01 * torch.randn(64, 32, generator=generator))
    views = np.stack([np.arange(64), np.zeros(64, np.int64)], axis=1)

    def agreement(stored):
        comparing = Comparing("v", vectors)
        for rows in (slice(0, 50), slice(50, 64)):
            kept = {name: values[rows] for name, values in vectors.quantize(stored).items()}
            comparing.add(today[rows], kept)
        return comparing.agreement(views)

    good = agreement(true)
    assert good.ok
    assert 0.5 < good.apart < 1.5
    swapped = true.clone()
    swapped[[3, 60]] = true[[60, 3]]
    bad = agreement(swapped)
    assert not bad.ok
    assert "(image 3, crop 0)" in str(bad) or "(image 60, crop 0)" in str(bad)
    assert agreement(torch.zeros_like(true)).ok is False


def test_a_torn_vector_is_named_sent_back_and_made_again(bare_store, shared_folder, tmp_path):
    whole, store = files(bare_store.path), tmp_path / "bare.zarr"
    shutil.copytree(bare_store.path, store)
    torn = next(f for f in (store / "vector.output/c/1").rglob("0") if f.is_file())
    content = torn.read_bytes()
    torn.write_bytes(content[:-9] + bytes([content[-9] ^ 4]) + content[-8:])
    said = found(checked(store))["checksums"]
    assert said.state == "FAILED"
    assert said.detail.startswith("block 1: array 'vector.output'")
    assert checked(store, repair=True).sent_back == (1,)
    config = vector_config(shared_folder, "unused", scheme="int8")
    label_images(replace(config, out=store))
    assert files(store) == whole


def test_codes_that_no_labeller_writes_are_found(tmp_path):
    record = TargetRecord("mid", "layer3", "mean", VectorScheme("int8"), (5,))
    store, blocks = make_store(tmp_path / "a.zarr", targets=(record,), skip=(1,))
    blocks[1].kept["vector.mid"][2, 3, 4] = -128
    LabelStore.open(store.path, writable=True).commit_block(1, blocks[1])
    said = found(checked(store))
    assert said["vectors"].state == "FAILED"
    assert said["vectors"].detail.startswith("block 1: mid: a code is -128")
    with pytest.raises(FkdError, match=r"image .*: its vector: a code is -128"):
        LabelStore.open(store.path).read_images(range(11), 6)


def test_what_was_learned_is_compared_with_its_hash(shared_folder, tmp_path):
    config = vector_config(shared_folder, "unused", scheme="pca2")
    store = label_images(replace(config, out=tmp_path / "a.zarr"))
    place = next(f for f in (store.path / "mean.output").rglob("*") if f.name == "0")
    place.unlink()
    assert found(checked(store))["lists"].state == "FAILED"
