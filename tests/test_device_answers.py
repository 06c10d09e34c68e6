"""What students say is read from a GPU late, and what is counted there, as far as a CPU can tell."""

import pytest
import torch
from helpers.folders import label_config

from fkd import CheckConfig, FkdError, check_store, estimate_run, label_images


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
