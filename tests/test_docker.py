"""The Dockerfile: linted, and true to the package. No test builds it: that takes gigabytes."""

import json
import shutil
import subprocess
import sys
from configparser import ConfigParser
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCKERFILE = ROOT / "Dockerfile"
KNOWN = {"ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "FROM", "RUN", "USER", "WORKDIR"}


def instructions():
    """Return the instructions with their arguments, lines that go on put together."""
    lines = [line for line in DOCKERFILE.read_text("utf-8").splitlines() if line[:1] != "#"]
    whole = "\n".join(lines).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in whole.splitlines() if line]


def arguments(name):
    return [argument for instruction, argument in instructions() if instruction == name]


def test_hadolint_finds_nothing():
    beside = Path(sys.executable).with_name("hadolint")
    hadolint = str(beside) if beside.exists() else shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([hadolint, str(DOCKERFILE)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_is_pinned_and_runs_as_a_user():
    assert {name for name, _ in instructions()} <= KNOWN
    (base,) = arguments("FROM")
    image, _, tag = base.partition(":")
    assert image == "python"
    assert fnmatch(tag, "3.*-slim-*")
    names = [name for name, _ in instructions()]
    assert arguments("USER") == ["1000"]  # not root, and a number for those who check that
    assert names.index("USER") > max(n for n, name in enumerate(names) if name == "RUN")
    assert "--no-cache-dir" in " ".join(arguments("RUN"))


def test_it_starts_the_command_of_the_package():
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    command = config["options.entry_points"]["console_scripts"].split("=")[0].strip()
    assert [json.loads(each) for each in arguments("ENTRYPOINT")] == [[command]]
    wanted = config["options"]["python_requires"].removeprefix(">=")
    version = arguments("FROM")[0].split(":")[1].split("-")[0]
    assert [int(n) for n in version.split(".")] >= [int(n) for n in wanted.split(".")]


def test_what_is_copied_is_there_and_is_enough_to_install():
    copied = [name for argument in arguments("COPY") for name in argument.split()[:-1]]
    assert [name for name in copied if not (ROOT / name).exists()] == []
    let_in = [
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines()
        if line.startswith("!")
    ]
    assert sorted(let_in) == sorted(copied)
    assert {"fkd", "setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"} == {*copied}
