"""The layout is the architecture: imports run one way, and training never reaches a teacher."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import fkd_environment

import fkd

PACKAGE = Path(fkd.__file__).parent
ARCHITECTURE = PACKAGE.parent / "docs" / "architecture.md"

ROWS = [
    ["errors"],
    ["config", "memory", "progress", "stopping", "tracking", "transfer", "verdicts"],
    [
        "average",
        "crops",
        "softlabels",
        "schedule",
        "layout",
        "packing",
        "sanity",
        "zoo",
        "scenes",
        "ranks",
        "resample",
        "recipes",
        "plots",
        "locks",
        "histograms",
        "figure_style",
        "shown_folder",
        "cli_options",
    ],
    ["attributes", "frames"],
    [
        "losses",
        "augment",
        "group",
        "images",
        "slabs",
        "renderer",
        "sources",
        "classes",
        "students",
        "arrays",
        "blocks",
        "copies",
        "picks",
        "stagger",
        "calibration",
        "crop_figures",
    ],
    ["reader", "labelled_images", "teachers", "probe", "checkpoints", "real_labels"],
    ["store"],
    ["prefetch", "teacher_views", "center_views", "info", "export", "selection", "sweep"],
    ["views", "evaluate", "assembler", "preflight", "statistics"],
    [
        "runs",
        "learner",
        "training_data",
        "audit_blocks",
        "audit_images",
        "audit_labels",
        "comparison",
    ],
    ["label", "train", "pack", "loader", "check", "figures"],
    ["dryrun", "page", "shown_crops"],
    ["show"],
    ["cli_label", "cli_train", "cli_pack", "cli_check", "cli_show"],
    ["cli"],
    ["__main__"],
]
ROW_OF = {room: row for row, rooms in enumerate(ROWS) for room in rooms}


def imported(room):
    """Return all modules that a room's source names in imports, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse((PACKAGE / f"{room}.py").read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
            if node.module == "fkd":
                names |= {f"fkd.{alias.name}" for alias in node.names}
    return names


def rooms_imported(room):
    return {name.removeprefix("fkd.") for name in imported(room) if name.startswith("fkd.")}


def reachable(room):
    seen, todo = set(), [room]
    while todo:
        for other in rooms_imported(todo.pop()) - seen:
            seen.add(other)
            todo.append(other)
    return seen


def test_every_room_is_in_the_table():
    assert {p.stem for p in PACKAGE.glob("*.py")} - {"__init__"} == set(ROW_OF)


@pytest.mark.parametrize("room", ROW_OF)
def test_a_room_imports_only_from_rows_above(room):
    wrong = {other for other in rooms_imported(room) if ROW_OF[other] >= ROW_OF[room]}
    assert not wrong


def test_the_documentation_has_the_same_rows():
    table = [line for line in ARCHITECTURE.read_text("utf-8").splitlines() if line.startswith("| ")]
    documented = [re.findall(r"`(\w+)`", line.split("|")[2]) for line in table[1:]]
    assert [set(row) for row in documented] == [set(row) for row in ROWS]


@pytest.mark.parametrize(
    ("library", "home"),
    [
        ("zarr", {"arrays"}),
        (
            "click",
            {"cli", "cli_options", "cli_label", "cli_train", "cli_pack", "cli_check", "cli_show"},
        ),
    ],
)
def test_one_room_for_each_outside_library(library, home):
    users = {room for room in ROW_OF for name in imported(room) if name.split(".")[0] == library}
    assert users == home


@pytest.mark.parametrize(
    "room", ["train", "views", "students", "evaluate", "runs", "store", "pack"]
)
def test_training_never_reaches_the_teachers(room):
    assert not {"teachers", "sources"} & reachable(room)
    assert "label" not in reachable(room)


def loaded_modules(code, cwd):
    code += "\nimport sys; print('MODULES', *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env=fkd_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split("MODULES")[1].split()


def test_a_real_training_loads_no_teacher(shared_store, tmp_path):
    modules = loaded_modules(
        "from pathlib import Path; from fkd import Scheme, TrainConfig, train_student\n"
        f"train_student(TrainConfig(store=Path({str(shared_store.path)!r}), student='squeezenet1_1', "
        "scheme=Scheme('topk', 3), epochs=2, batch_size=8, crops_per_image=2, device='cpu'))",
        tmp_path,
    )
    assert "fkd.train" in modules
    assert "fkd.teachers" not in modules
    assert "fkd.label" not in modules


def test_help_loads_no_heavy_library(tmp_path):
    modules = loaded_modules(
        "from fkd.cli import main\n"
        "for command in ([], ['label'], ['train'], ['check'], ['show'], ['eval'], ['info'], ['pack'],"
        " ['plot'], ['export']):\n"
        "    main([*command, '--help'], standalone_mode=False)",
        tmp_path,
    )
    assert not {"torch", "torchvision", "zarr", "numpy", "PIL"} & set(modules)


@pytest.mark.parametrize("name", fkd.__all__)
def test_every_public_name_is_there(name):
    assert getattr(fkd, name) is not None


def test_other_names_are_not():
    with pytest.raises(AttributeError, match="nonsense"):
        _ = fkd.nonsense
