"""What is loaded when: what the linter of imports, scripts/check, cannot see."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from helpers.processes import fkd_environment

import fkd

WINGS = sorted(path.parent.name for path in Path(fkd.__file__).parent.glob("*/__init__.py"))


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
    assert "fkd.training" in modules
    assert not {"fkd.teachers", "fkd.labelling"} & set(modules)


def test_help_loads_no_heavy_library(tmp_path):
    modules = loaded_modules(
        "from fkd.cli.group import main\n"
        "for command in ([], ['label'], ['train'], ['check'], ['show'], ['eval'], ['info'], ['pack'],"
        " ['plot'], ['export'], ['copy'], ['merge'], ['average'], ['import'], ['export-labels'],"
        " ['card']):\n"
        "    main([*command, '--help'], standalone_mode=False)",
        tmp_path,
    )
    assert not {"torch", "torchvision", "zarr", "numpy", "PIL", "matplotlib"} & set(modules)


@pytest.mark.parametrize("wing", WINGS)
def test_a_face_has_what_it_promises(wing):
    face = import_module(f"fkd.{wing}")
    assert face.__doc__
    assert [name for name in face.__all__ if not hasattr(face, name)] == []


@pytest.mark.parametrize("wing", ["", *WINGS])
def test_a_face_finds_its_names_where_type_checkers_do(wing):
    face = import_module(f"fkd.{wing}".rstrip("."))
    told = {
        alias.name: statement.module
        for block in ast.parse(Path(face.__file__).read_text("utf-8")).body
        if isinstance(block, ast.If)
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert [
        n for n, m in told.items() if getattr(face, n) is not getattr(import_module(m), n)
    ] == []
    assert set(told) <= set(dir(face))
    lazy = "__getattr__" in vars(face)
    assert lazy == bool(told)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = face.nonsense


def test_no_face_loads_matplotlib_or_the_example_images(tmp_path):
    modules = loaded_modules(f"import {', '.join(f'fkd.{wing}' for wing in WINGS)}", tmp_path)
    assert not {"matplotlib", "fkd.examples.scenes"} & set(modules)


@pytest.mark.parametrize("name", fkd.__all__)
def test_every_public_name_is_there(name):
    assert getattr(fkd, name) is not None


def test_other_names_are_not():
    with pytest.raises(AttributeError, match="nonsense"):
        _ = fkd.nonsense
