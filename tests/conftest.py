"""Shared fixtures: a small image folder, a labelled store, and the command line in a process."""

import subprocess
import sys

import pytest
import torch
from helpers.folders import label_config, make_image_folder
from helpers.processes import Finished, fkd_environment

from fkd import LabelStore, label_images

torch.set_num_threads(1)  # networks here are tiny, and pytest runs in as many processes as cores


@pytest.fixture
def image_folder(tmp_path):
    return make_image_folder(tmp_path / "data")


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory):
    """An image folder that no test may change."""
    return make_image_folder(tmp_path_factory.mktemp("shared") / "data")


@pytest.fixture(scope="session")
def shared_store(shared_folder) -> LabelStore:
    """A complete store of `shared_folder` (18 images, 6 crops, topk3) that no test may change."""
    return label_images(label_config(shared_folder, shared_folder.parent / "labels.zarr"))


@pytest.fixture
def run_fkd(tmp_path):
    """Run `python -m fkd …` in a process, by default in tmp_path."""

    def run(*args, cwd=tmp_path, timeout=300):
        done = subprocess.run(
            [sys.executable, "-m", "fkd", *map(str, args)],
            cwd=cwd,
            env=fkd_environment(),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    return run
