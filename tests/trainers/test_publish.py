"""The page for people who publish label sets: its lines run, and its reader reads."""

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from helpers.processes import fkd_environment

from fkd import LabelStore

PAGE = (Path(__file__).parents[2] / "docs" / "trainers" / "publish.md").read_text("utf-8")


def test_a_card_and_an_archive_are_made_as_the_page_says(shared_store, tmp_path):
    shutil.copytree(shared_store.path, tmp_path / "labels.zarr")
    lines = re.findall(r"^    ((?:printf|python|tar|sha256sum) .*)$", PAGE, flags=re.M)
    assert len(lines) == 5
    here = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = fkd_environment() | {"PATH": here}
    subprocess.run(
        ["bash", "-euc", "\n".join(lines)], cwd=tmp_path, env=environment, check=True, timeout=60
    )
    card = (tmp_path / "README.md").read_text("utf-8")
    assert "\n    teacher   resnet18, weights sha256:" in card
    with tarfile.open(tmp_path / "labels.tar") as archive:
        archive.extractall(tmp_path / "there", filter="data")
    assert LabelStore.open(tmp_path / "there" / "labels.zarr").spec == shared_store.spec


def test_the_reader_of_the_page_prints_crops_with_their_classes(shared_store, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.S)
    monkeypatch.chdir(shared_store.path.parent)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(code, "page", "exec"), {})
    lines = said.getvalue().splitlines()
    assert len(lines) == 3 * 4
    assert all(
        re.fullmatch(r"circle/00\d\.jpg \[\d+, \d+, \d+, \d+\] (True|False) \w+ 0\.\d\d", line)
        for line in lines
    )
