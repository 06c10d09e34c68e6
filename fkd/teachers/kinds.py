"""Which kind of teacher a name means. A file's content says so, not its ending: `.pt` has two meanings.

This room loads no torch: a mistyped path is answered before the seconds that torch takes.
"""

import os
import zipfile
from pathlib import Path
from typing import Literal

from fkd.config import TeacherChoice
from fkd.errors import ConfigError, ModelError

Kind = Literal["library", "hub", "function", "run", "exported program", "TorchScript", "ONNX"]

HUB = "hf:"  # what names of transformers' models begin with

_OF_RUNS = ("best.pt", "last.pt")
_FILES = (".pt", ".pth", ".pt2", ".ts", ".onnx", ".ckpt", ".safetensors")
# What only programs have in their archives.
_SIGNS: dict[str, Kind] = {
    "archive_format": "exported program",
    "serialized_exported_program.json": "exported program",
    "constants.pkl": "TorchScript",
}


def kind_of(name: str) -> Kind:
    """Return the kind of a teacher: a file or a run folder where there is one, else a name in code.

    A file that is no program is taken for a checkpoint, and read to see whether it is one.
    """
    if name.startswith(HUB):
        return "hub"
    path = Path(name)
    if path.is_file():
        if path.suffix == ".onnx":
            return "ONNX"
        return _of_archive(path) or "run"
    if path.is_dir() and (os.sep in name or any((path / n).is_file() for n in _OF_RUNS)):
        return "run"
    return "function" if ":" in name and not name.startswith("timm:") else "library"


def check_teacher(choice: TeacherChoice) -> None:
    """Refuse a file that is not there, and a moving average where there is none; raises `FkdError`."""
    name, kind = choice.name, kind_of(choice.name)
    is_path = name.endswith(_FILES) or os.sep in name or name in (".", "..")
    if kind == "library" and is_path and not name.startswith("timm:"):
        raise ModelError(f"teacher {name}: no such file, and no run of `fkd train`")
    if kind == "hub":
        _check_hub(choice)
    if choice.ema and choice.weights == "default" and kind != "run":
        raise ConfigError(
            f"--teacher-ema needs --teacher-weights FILE for teacher {name}, or a run of `fkd train` as "
            "--teacher; its own weights have no moving average"
        )


def _check_hub(choice: TeacherChoice) -> None:
    """Refuse a folder that has no model of transformers, and weights in another file."""
    where = choice.name.removeprefix(HUB)
    is_path = where in ("", ".", "..") or where.startswith((os.sep, "./", "../", "~"))
    local = is_path or os.path.isdir(where)
    if local and not (Path(where) / "config.json").is_file():
        raise ModelError(
            f"teacher {choice.name}: {where or 'nothing'} is no folder with a config.json; give one "
            "that `save_pretrained` wrote, or a name on the hub"
        )
    if choice.weights not in ("default", "none"):
        raise ModelError(
            f"--teacher-weights {choice.weights}: teacher {choice.name} brings its own weights; leave "
            "the option out, or give default or none"
        )


def _of_archive(path: Path) -> Kind | None:
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        ends = {name.rpartition("/")[2] for name in archive.namelist()}
    return next((kind for sign, kind in _SIGNS.items() if sign in ends), None)
