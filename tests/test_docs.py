"""What the documents promise exists: commands, options, files, and the Python example runs."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.folders import make_image_folder
from helpers.processes import fkd_environment

from fkd import LabelStore
from fkd.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
COMMANDS = re.findall(r"^    (?:torchrun .*-m )?(fkd .+)$", README, flags=re.M)


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_readme_parses(line):
    words = shlex.split(line.split("  #")[0])
    command = main.commands[words[1]]
    command.make_context(words[1], words[2:])


def test_the_three_lines_of_the_project_are_in_the_readme():
    assert "fkd label --teacher resnet152 --crops 200 imagenet/" in COMMANDS
    assert "fkd train --crops-per-image 4 --compress topk5" in COMMANDS


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "docs/architecture.md"])
def test_files_and_options_that_a_document_names_exist(document):
    text = (ROOT / document).read_text("utf-8")
    files = re.findall(r"`((?:docs|scripts|tests|benchmarks|fkd)/[\w./-]+)`", text)
    assert [f for f in files if not (ROOT / f).exists()] == []
    known = {opt for command in main.commands.values() for p in command.params for opt in p.opts}
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", re.sub(r"torchrun[^\n]*-m", "", text)))
    foreign = {"--help", "--version", "--strict", "--store", "--quick"}
    assert options - known - foreign == set()


def test_the_python_examples_run(tmp_path):
    code, loop = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    code += (
        "import torch\nstudent = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(3))\n"
    )
    code += loop + "    loss.backward()\n"
    small = {
        "batch_size=256, epochs=100": 'batch_size=8, epochs=2, scheme=Scheme("topk", 3), device="cpu"',
        'TeacherChoice("resnet152"), num_crops=200': 'TeacherChoice("resnet18", "none", size=32), '
        'num_crops=4, device="cpu"',
        'student="resnet50"': 'student="squeezenet1_1", epochs=2, batch_size=8, device="cpu"',
        'Scheme("topk", 5)': 'Scheme("topk", 3)',
    }
    for long, short in small.items():
        assert long in code
        code = code.replace(long, short)
    make_image_folder(tmp_path / "imagenet")
    (tmp_path / "example.py").write_text(code)
    subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, env=fkd_environment(), check=True,
        capture_output=True,
    )  # fmt: skip
    assert LabelStore.open(tmp_path / "labels.zarr").spec.num_crops == 4
    assert len(list((tmp_path / "runs").glob("*/last.pt"))) == 1
