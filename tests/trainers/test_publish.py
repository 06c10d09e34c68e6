"""The page for people who publish label sets: its lines run, and its reader reads."""

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from helpers.processes import fkd_environment

from fkd import LabelStore

PAGE = (Path(__file__).parents[2] / "docs" / "trainers" / "publish.md").read_text("utf-8")


def test_a_card_and_an_archive_are_made_as_the_page_says(shared_store, tmp_path):
    shutil.copytree(shared_store.path, tmp_path / "labels.zarr")
    lines = re.findall(r"^    ((?:fkd card .*--out|fkd copy|sha256sum) .*)$", PAGE, flags=re.M)
    assert len(lines) == 4
    here = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = fkd_environment() | {"PATH": here}
    subprocess.run(
        ["bash", "-euc", "\n".join(lines)], cwd=tmp_path, env=environment, check=True, timeout=60
    )
    card = (tmp_path / "README.md").read_text("utf-8")
    assert "resnet18" in card
    assert LabelStore.open(tmp_path / "labels.zarr.zip").spec == shared_store.spec
    assert LabelStore.open(tmp_path / "my-labels" / "labels.zarr.zip").spec == shared_store.spec


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
