"""What is published is whole: the source distribution, its description, and the way to cite it."""

import re
import shutil
import subprocess
import sys
import tarfile
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PARTS = ("benchmarks", "docs", "fkd", "scripts", "tests")
LITTER = shutil.ignore_patterns("__pycache__", "*.egg-info", "results", "*.pyc")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Build the source distribution of a copy of the project, and open it."""
    copy = tmp_path_factory.mktemp("package") / "fkd"
    copy.mkdir()
    for path in ROOT.iterdir():
        if path.is_file() and not path.name.startswith("."):
            shutil.copy(path, copy)
    for part in PARTS:
        shutil.copytree(ROOT / part, copy / part, ignore=LITTER)
    build = "from setuptools.build_meta import build_sdist; build_sdist('dist')"
    subprocess.run([sys.executable, "-c", build], cwd=copy, check=True, capture_output=True)
    (archive,) = (copy / "dist").iterdir()
    with tarfile.open(archive) as tar:
        top = archive.name.removesuffix(".tar.gz")
        files = {m.name.removeprefix(f"{top}/") for m in tar.getmembers() if m.isfile()}
        readable = tar.extractfile(f"{top}/PKG-INFO")
        assert readable is not None
        return copy, files, readable.read().decode()


def test_the_source_distribution_can_run_its_own_tests(source):
    copy, files, _ = source
    wanted = {
        str(path.relative_to(copy)) for part in PARTS for path in (copy / part).rglob("*")
        if path.is_file() and ".egg-info" not in str(path)
    }  # fmt: skip
    assert wanted - files == set()
    assert {"CITATION.cff", "CONTRIBUTING.md", "LICENSE", "README.md", "setup.cfg"} <= files


def test_the_description_has_no_link_that_leads_nowhere_outside_of_the_repository(source):
    _, _, description = source
    assert re.findall(r"\]\((?!https?://)[^)]*\)", description) == []
    assert "Label (docs/labelling.md), train (docs/training.md)" in description
    assert "Project-URL: Paper, https://arxiv.org/abs/2112.01528" in description


def test_the_citation_is_of_this_version():
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"\nversion: {config['metadata']['version']}\n" in citation
    assert f"\nlicense: {config['metadata']['license']}\n" in citation
