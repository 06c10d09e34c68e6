"""What students say is read from a GPU late, and what is counted there, as far as a CPU can tell."""

import pytest
import torch
from helpers.devices import META, AGpu, Waits
from helpers.folders import label_config

from fkd import CheckConfig, FkdError, check_store, estimate_run, label_images
from fkd.labels import SoftLabels
from fkd.probing import knn_top1
from fkd.probing import neighbours as neighbours_room


@pytest.mark.parametrize("bank", [False, True])
def test_neighbours_are_waited_for_as_often_whatever_their_number(bank, monkeypatch):
    features = torch.randn(40, 7, generator=torch.Generator().manual_seed(0))
    classes, found = torch.arange(40) % 4, []
    given = (features[:9], classes[:9]) if bank else None
    for size in (1024, 3):
        monkeypatch.setattr(neighbours_room, "_QUERIES", size)
        monkeypatch.setattr(neighbours_room, "_BANK", size)
        with Waits() as waits:
            found.append((knn_top1(features, classes, given, k=2), waits.count))
    assert found[0] == found[1]


def test_a_mix_of_labels_waits_for_nothing():
    labels = SoftLabels(
        torch.zeros(4, 2, dtype=torch.int64, device=META),
        torch.zeros(4, 2, device=META), torch.zeros(4, device=META), 9,
    )  # fmt: skip
    with AGpu():
        for share in (0.3, torch.rand(4), torch.rand(4, dtype=torch.float64)):
            assert labels.mix(labels, share).value.shape == (4, 4)


@pytest.mark.parametrize("work", ["label", "estimate", "check"])
def test_a_device_without_memory_for_a_teacher_is_a_line(
    work, shared_store, shared_folder, tmp_path, monkeypatch
):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr("fkd.teachers.libraries.place", full)
    config = label_config(shared_folder, tmp_path / "s.zarr")
    check = CheckConfig(shared_store.path, images=shared_folder, teacher=config.teacher)
    run = {"label": label_images, "estimate": estimate_run, "check": check_store}[work]
    with pytest.raises(FkdError, match="the device is out of memory; choose"):
        run(check if work == "check" else config)
