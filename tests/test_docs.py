"""What the documents promise exists: commands, options, files, and the Python example runs."""

import math
import re
import shlex
from pathlib import Path

import pytest
from helpers.folders import make_image_folder
from helpers.processes import Forked

import fkd
from fkd import LabelStore
from fkd.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
PAGES = ["README.md", *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").glob("**/*.md"))]
TEXTS = {page: (ROOT / page).read_text("utf-8") for page in PAGES}
TIMM = """
    --aa --bce-loss --class-map --data-dir --grad-accum-steps --hflip --img-size --initial-checkpoint
    --kd-model-name --mean --model --model-dtype --model-ema --no-prefetcher --nproc-per-node
    --num-classes --recovery-interval --reprob --sched --sched-on-updates --smoothing --start-epoch
    --std --torchcompile --train-img-sizes --use-multi-epochs-loader --warmup-prefix
"""
FOREIGN = {  # options of scripts, benchmarks and other programs
    "CONTRIBUTING.md": {"--tiny"},
    "docs/formats.md": {"--softlabel"},  # its path, to the underscore
    "docs/index.md": {"--build-arg", "--gpus", "--ipc", "--rm", "--shm-size"},
    "docs/results.md": {"--per-class", "--stored", "--student-size"}
    | {"--tune", "--tune-lr", "--tune-on-all", "--tune-head"},
    "docs/results/gpu.md": {"--tiny", "--missing", "--only", "--take", "--seconds"},
    "docs/results/vectors.md": {"--keep", "--stored", "--simsiam", "--student-size"},
    "docs/results/maps.md": {"--teacher-size", "--stored", "--enlarge", "--kept"},
    "docs/trainers/own-loop.md": {"--nproc-per-node"},
    "docs/trainers/timm.md": set(TIMM.split()),
}


def commands(page):
    return re.findall(r"^    (?:torchrun .*-m )?(fkd .+)$", TEXTS[page], flags=re.M)


@pytest.mark.parametrize(
    ("page", "line"), [(page, line) for page in PAGES for line in commands(page)]
)
def test_a_command_of_a_page_parses(page, line):
    words = shlex.split(line.split("  #")[0])
    command = main.commands[words[1]]
    command.make_context(words[1], words[2:])


def test_the_three_lines_of_the_project_are_in_the_readme():
    assert "fkd label --teacher resnet152 --crops 200 imagenet/" in commands("README.md")
    assert "fkd train --crops-per-image 4 --compress topk5" in commands("README.md")
    assert re.search(r"^    python benchmarks/storage_table\.py( |$)", README, flags=re.M)


def test_the_readme_is_short_and_names_every_guide():
    assert len(README.splitlines()) <= 130
    guides = {page for page in PAGES if page.count("/") == 1}
    linked = set(re.findall(r"\]\((docs/[\w/.-]+\.md)\)", README))
    assert guides - linked == {"docs/python.md"}  # its names are there only once the site is built


@pytest.mark.parametrize("document", [*PAGES, "CONTRIBUTING.md"])
def test_files_and_options_that_a_document_names_exist(document):
    text = (ROOT / document).read_text("utf-8")
    files = re.findall(r"`((?:docs|scripts|tests|benchmarks|fkd)/[\w./-]+)`", text)
    assert [f for f in files if not (ROOT / f).exists()] == []
    params = [p for command in main.commands.values() for p in command.params]
    known = {opt for p in params for opt in (*p.opts, *p.secondary_opts)}
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", re.sub(r"torchrun[^\n]*-m", "", text)))
    foreign = {"--help", "--version", "--strict", "--store", "--quick", *FOREIGN.get(document, ())}
    assert options - known - foreign == set()


@pytest.mark.parametrize("document", PAGES)
def test_links_between_pages_lead_somewhere(document):
    links = re.findall(r"\]\((?!https?://)([^)#]+)", TEXTS[document])
    assert [link for link in links if not ((ROOT / document).parent / link).exists()] == []


def test_the_loop_on_vectors_runs(vector_store):
    (code,) = re.findall(r"```python\n([^`]*store:features[^`]*)```", TEXTS["docs/losses.md"])
    small = {
        '"labels.zarr", crops_per_image=4': "path, crops_per_image=2, batch_size=12, epochs=1, **more",
        "2048": "192",
    }
    for long, short in small.items():
        assert long in code
        code = code.replace(long, short)
    names = {"path": vector_store.path, "more": {"device": "cpu", "workers": 1, "scheme": "topk3"}}
    exec(code + "    took = loss.item()\n", names)
    assert names["said"].shape == (12, 512)
    assert math.isfinite(names["took"])
    assert names["adapt"].weight.grad.abs().sum() > 0


def test_every_public_name_is_on_the_page_of_the_api():
    named = re.findall(r"^::: fkd\.(\w+)$", TEXTS["docs/python.md"], flags=re.M)
    assert sorted(named) == sorted(fkd.__all__)


def test_the_python_examples_run(tmp_path):
    code, loop = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    code += (
        "import torch\nstudent = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(3))\n"
    )
    code += loop + "        loss.backward()\n"
    small = {
        "batch_size=256, epochs=100": 'batch_size=8, epochs=2, scheme="topk3", device="cpu"',
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
    done = Forked([], tmp_path, script=tmp_path / "example.py").finish()
    assert done.code == 0, done.err
    assert LabelStore.open(tmp_path / "labels.zarr").spec.num_crops == 4
    assert len(list((tmp_path / "runs").glob("*/last.pt"))) == 1
