"""Training on a store whose views are mixed: nothing is asked for, and the run says that they are."""

import os
import signal
from dataclasses import replace

import pytest
import torch
from helpers.mixed import MIX, label_mixed
from helpers.processes import STUDENT

from fkd import StudentLoader, TrainConfig, train_student
from fkd.config import TonePolicy, ViewPolicy
from fkd.errors import Stopped
from fkd.runs.run import Run


@pytest.fixture(autouse=True)
def tiny_student(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("student")
    (folder / "tiny_student.py").write_text(STUDENT)
    monkeypatch.syspath_prepend(str(folder))


def test_a_run_goes_on_as_if_it_had_not_stopped(shared_folder, tmp_path, monkeypatch, capsys):
    views = ViewPolicy(mix=MIX, tone=TonePolicy(saturation=0.5))
    store = label_mixed(shared_folder, tmp_path / "mixed.zarr", views=views)
    settings = {
        "store": store.path,
        "student": "tiny_student:make",
        "crops_per_image": 2,
        "scheme": "topk3",
        "epochs": 8,
        "batch_size": 8,
        "hard_weight": 0.5,
        "device": "cpu",
        "val": "none",
    }
    whole = train_student(TrainConfig.of(**settings, out=tmp_path / "whole"))
    said = capsys.readouterr().err
    assert (
        f"toned as the teacher saw them: saturation 0.5; mixed as the teacher saw them: {MIX}"
        in said
    )
    config = TrainConfig.of(**settings, out=tmp_path / "parts")
    log_step = Run.log_step

    def signalled(self, step, **line):
        log_step(self, step, **line)
        if step == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Run, "log_step", signalled)
    with pytest.raises(Stopped):
        train_student(config)
    monkeypatch.setattr(Run, "log_step", log_step)
    parts = train_student(replace(config, resume=True))
    one, other = (torch.load(run / "last.pt", weights_only=True) for run in (whole, parts))
    assert one["student"].keys() == other["student"].keys()
    assert all(torch.equal(one["student"][name], other["student"][name]) for name in one["student"])


def test_images_without_classes(shared_folder, tmp_path):
    store = label_mixed(shared_folder / "train", tmp_path / "mixed.zarr", unlabelled=True)
    loader = StudentLoader(
        store.path, crops_per_image=2, batch_size=8, epochs=1, scheme="topk3", device="cpu"
    )
    for batch in loader.batches():
        assert batch.partner_targets.tolist() == [-1] * 8
        assert not torch.equal(batch.own_share, torch.ones(8))
    assert torch.isfinite(batch.images).all()
