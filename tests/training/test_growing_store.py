"""A store that grows is trained on as it was, and looked at as far as it goes."""

import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.folders import label_config
from helpers.networks import STUDENT
from helpers.processes import refused

from fkd import (
    CheckConfig,
    CropDataset,
    FkdError,
    LabelStore,
    Scheme,
    ShowConfig,
    StudentLoader,
    TrainConfig,
    check_store,
    label_images,
    show_store,
    train_student,
)
from fkd.cli import main
from fkd.info import info_lines
from fkd.runs import plot_runs
from fkd.statistics import Sweep, compare, label_statistics, sampled_agreement

SETTINGS = {"crops_per_image": 2, "scheme": "topk3"}
LOADER = SETTINGS | {"batch_size": 6, "epochs": 6, "device": "cpu", "workers": 1, "seed": 3}


@pytest.fixture(scope="module")
def stores(shared_store, shared_folder, tmp_path_factory):
    """A store of 6 crops, one that is growing from 6 to 9 with a block done, and one of 9 that grew."""
    folder = tmp_path_factory.mktemp("stores")
    six = LabelStore.open(shutil.copytree(shared_store.path, folder / "six.zarr"))
    label_images(label_config(shared_folder, folder / "growing.zarr", block_images=5))
    label_images(label_config(shared_folder, folder / "growing.zarr", num_crops=9, block_images=5))
    grown = LabelStore.open(shutil.copytree(folder / "growing.zarr", folder / "grown.zarr"))
    for number in (0, 2, 3):
        (folder / f"growing.zarr/segment-1/done/c/{number}/0").unlink()
    return six, LabelStore.open(folder / "growing.zarr"), grown


def batches_of(loader):
    return [
        (batch.images, batch.labels.value, batch.image_index, batch.crop_index)
        for batch in loader.batches()
    ]


def same(one, other):
    return len(one) == len(other) and all(
        torch.equal(a, b)
        for pair in zip(one, other, strict=True)
        for a, b in zip(*pair, strict=True)
    )


def test_the_first_crops_are_read_of_a_store_that_grows(stores):
    six, growing, grown = stores
    with pytest.raises(
        FkdError, match=r"3 of 8 blocks are not labelled; .*the first 6 crops of ea"
    ):
        StudentLoader(growing.path, **LOADER)
    expected = batches_of(StudentLoader(six.path, **LOADER))
    for store in (growing, grown):
        assert same(batches_of(StudentLoader(store.path, num_crops=6, **LOADER)), expected)
    nine = batches_of(StudentLoader(grown.path, **LOADER | {"epochs": 9}))
    assert {int(c) for batch in nine for c in batch[3]} == {*range(9)}
    taken, whole = (
        CropDataset(path, **SETTINGS, **more)
        for path, more in ((growing.path, {"num_crops": 6}), (six.path, {}))
    )
    for epoch in (2, 3):  # the crops that follow the sixth are the first ones
        for dataset in (taken, whole):
            dataset.set_epoch(epoch)
        one, other = taken[4], whole[4]
        assert one.crop_index.tolist() == other.crop_index.tolist()
        assert torch.equal(one.labels.value, other.labels.value)


@pytest.mark.parametrize("crops", [4, 7])
def test_crops_may_end_in_the_midst_of_a_segment(stores, crops):
    _, _, grown = stores
    some = grown.of_first_crops(crops)
    assert some.spec.num_crops == crops
    everything, read = grown.read_crops(range(9)), some.read_crops(range(crops))
    assert np.array_equal(read.box, everything.box[:, :crops])
    settings = LOADER | {"crops_per_image": 1, "epochs": 9}
    loader = StudentLoader(grown.path, num_crops=crops, **settings)
    taken = {int(c) for batch in loader.batches() for c in batch.crop_index}
    assert taken == {*range(crops)}


def test_what_is_not_there_is_refused(stores, tmp_path):
    six, growing, _ = stores
    line = refused("train", six.path, "--crops", 7, "--out", tmp_path / "run", alone=False)
    assert "has 6 crops an image, fewer than --crops 7; `fkd label --crops 7` labels more" in line
    few = ["--crops", 2, "--compress", "topk3", "--out", tmp_path / "run"]
    line = refused("train", growing.path, *few, alone=False)
    assert "more than the 2 crops per image of --crops; choose at most 2" in line
    assert not (tmp_path / "run").exists()


def test_a_loader_goes_on_where_its_store_has_grown(stores, shared_folder, tmp_path):
    path = shutil.copytree(stores[0].path, tmp_path / "s.zarr")
    loader = StudentLoader(path, **LOADER)
    expected = batches_of(loader)
    copied, state = pickle.dumps(StudentLoader(path, **LOADER)), loader.state_dict() | {"step": 4}
    label_images(label_config(shared_folder, path, num_crops=8))
    assert same(batches_of(pickle.loads(copied)), expected)
    older = json.loads(json.dumps(state))
    del older["run"]["num_crops"]
    for known in (state, older):
        with pytest.raises(FkdError, match="num_crops is 8, the state has 6"):
            StudentLoader(path, **LOADER).load_state_dict(known)
        again = StudentLoader(path, num_crops=6, **LOADER)
        again.load_state_dict(known)
        assert same(batches_of(again), expected[4:])


@pytest.mark.parametrize("older", [False, True], ids=["", "without its number of crops"])
def test_a_run_goes_on_bit_equal_where_its_store_has_grown(
    stores, shared_folder, tmp_path, monkeypatch, older
):
    monkeypatch.chdir(tmp_path)
    path = shutil.copytree(stores[0].path, tmp_path / "s.zarr")
    settings = {"crops_per_image": 4, "scheme": Scheme("topk", 3), "epochs": 20, "batch_size": 20}
    settings |= {"student": STUDENT, "device": "cpu", "eval_every": 9, "lr": 0.5}
    run = train_student(
        TrainConfig.from_recipe("small", store=path, out=tmp_path / "run", **settings)
    )
    last = torch.load(run / "last.pt", weights_only=True)
    config = json.loads((run / "config.json").read_text())
    assert config["num_crops"] == 6
    (run / "previous.pt").replace(run / "last.pt")
    assert torch.load(run / "last.pt", weights_only=True)["step"] < last["step"]
    if older:
        del config["num_crops"]
        (run / "config.json").write_text(json.dumps(config))
    label_images(label_config(shared_folder, path, num_crops=8))
    with pytest.raises(FkdError, match=r"--crops is 8, the run has 6"):
        train_student(
            TrainConfig.from_recipe("small", store=path, out=run, resume=True, **settings)
        )
    assert "--crops is 7, the run has 6" in refused(
        "train", "--resume", "--out", run, "--crops", 7, alone=False
    )
    main(["train", "--resume", "--out", str(run)], standalone_mode=False)
    again = torch.load(run / "last.pt", weights_only=True)
    assert again["step"] == last["step"]
    for name, values in last["student"].items():
        assert torch.equal(values, again["student"][name]), name
    plot_runs([run], run / "curves.png")


def test_an_unfinished_growth_is_looked_at_as_far_as_it_goes(stores, shared_folder, tmp_path):
    six, growing, grown = stores
    lines = dict(info_lines(growing.path))
    share = (18 * 6 + 5 * 3) / (18 * 9)
    there = "; the first 6 crops of every image are there"
    assert lines["labelled"] == f"{share:.1%} (5 of 8 blocks), 0 images unusable{there}"
    assert dict(info_lines(grown.path))["labelled"] == "100.0% (8 of 8 blocks), 0 images unusable"
    found, expected = label_statistics(growing), label_statistics(six)
    assert (found.num_images, found.crops_per_image) == (18, 6)
    assert found.agreement == expected.agreement
    assert sampled_agreement(growing) == sampled_agreement(six)
    assert label_statistics(grown).crops_per_image == 9
    assert Sweep.over(growing, grown).num_crops == 6
    compared = compare(growing.path, grown.path)
    assert (compared.crops_per_image, compared.agreement) == (6, 1)
    page = show_store(ShowConfig(growing.path, tmp_path / "out", samples=1, crops=9))
    said = page.read_text()
    assert "3 of 8 blocks are not labelled" in said
    assert "of their first 6 crops" in said
    report = check_store(CheckConfig(growing.path, shared_folder, deep=True))
    done = next(v for v in report.verdicts if v.part == "done")
    assert (report.pending, done.state) == (3, "note")
    assert "every image has its first 6 crops" in done.detail
    assert not any(verdict.state == "FAILED" for verdict in report.verdicts)


def test_damage_in_a_segment_is_sent_back_and_made_again(stores, shared_folder, tmp_path):
    path = shutil.copytree(stores[2].path, tmp_path / "s.zarr")
    whole = LabelStore.open(path).read_crops(range(9))
    shard = path / "segment-1/slot/c/2/0/0"
    shard.write_bytes(shard.read_bytes()[:-9])
    report = check_store(CheckConfig(path, repair=True))
    assert (report.damaged, report.sent_back) == ((6,), (6,))
    assert LabelStore.open(path).pending_blocks() == [6]
    label_images(label_config(shared_folder, path, num_crops=None, block_images=5))
    again = LabelStore.open(path).read_crops(range(9))
    assert np.array_equal(again.kept["index"], whole.kept["index"])


def test_the_commands_say_what_a_store_that_grew_holds(stores):
    done = CliRunner().invoke(main, ["info", str(stores[2].path)], catch_exceptions=False)
    assert done.exit_code == 0
    assert "9 per image, 162 in all" in done.output
