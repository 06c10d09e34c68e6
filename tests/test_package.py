"""What is published is whole: the source distribution, its description, and the way to cite it."""

import re
import shutil
import subprocess
import sys
import tarfile
from configparser import ConfigParser
from pathlib import Path

import pytest
import yaml

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


def test_the_citation_has_what_its_format_asks_for():
    """The required keys of version 1.2.0 of the Citation File Format, and no key that it has not."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["cff-version"] == "1.2.0"
    required = {"authors", "cff-version", "message", "title"}
    optional = {"abstract", "keywords", "license", "references", "type", "version"}
    assert required <= citation.keys() <= required | optional
    assert citation["type"] in ("software", "dataset")
    assert all(isinstance(citation[key], str) for key in ("message", "title", "version"))
    for reference in citation["references"]:
        required, optional = {"authors", "title", "type"}, {"collection-title", "url", "year"}
        assert required <= reference.keys() <= required | optional
        assert reference["type"] == "conference-paper"
        assert isinstance(reference["year"], int)
    people = [citation["authors"], *(each["authors"] for each in citation["references"])]
    for author in (author for group in people for author in group):
        assert author.keys() in ({"name"}, {"family-names", "given-names"})
