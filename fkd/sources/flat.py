"""Images in one flat folder whose classes are in a file: the validation images of ILSVRC and others."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fkd.containers import number_classes, split_of
from fkd.errors import ImagesError
from fkd.images import ImageList
from fkd.machine import read_text
from fkd.sources.folder import list_any_depth
from fkd.sources.listed import read_rows

_ILSVRC = "ILSVRC2012_val_{:08d}.JPEG"

# Lists of (file, class), by their names: Kaggle's of ILSVRC, Caffe's, Tiny ImageNet's.
_LISTS = ("LOC_val_solution.csv", "val.txt", "val_annotations.txt")

# One class a line, in the order of the images' numbers.
_IN_ORDER = "imagenet_2012_validation_synset_labels.txt"
_DEVKIT = "ILSVRC2012_validation_ground_truth.txt"

# Kaggle's list lies three folders above the images; the others lie in their folder or beside it.
_LEVELS = {"LOC_val_solution.csv": 4}


def find_mapping(folder: Path) -> Path | None:
    """Return the file that has the classes of the images in a flat folder, which lies in or above it.

    All are of validation images, so a folder of training images has none.
    """
    if split_of(folder.name) == "train":
        return None
    places = [folder, *Path(os.path.abspath(folder)).parents]
    for name in (*_LISTS, _IN_ORDER, _DEVKIT):
        for place in places[: 1 + _LEVELS.get(name, 1)]:
            if (place / name).is_file():
                return place / name
    return None


def read_mapping(path: Path) -> Mapping[str, str]:
    """Return the class of each image by its file's name."""
    if path.name == _DEVKIT:
        raise ImagesError(
            f"{path} counts classes in an order of its own, which only a MATLAB file explains; put "
            f"{_IN_ORDER}, or LOC_val_solution.csv, beside it"
        )
    if path.name == _IN_ORDER:
        lines = read_text(path, str(path), "write a class a line, in UTF-8", ImagesError).split()
        return {_ILSVRC.format(number): name for number, name in enumerate(lines, start=1)}
    listed: dict[str, str] = {}
    for row in read_rows(path):
        name, label = os.path.basename(row.path), row.label or ""
        if listed.setdefault(name, label) != label:
            raise ImagesError(
                f"{path}, line {row.line}: two images are named {name}, of two classes; make one "
                "subfolder per class, or name the list itself"
            )
    bare = path.name == "LOC_val_solution.csv"  # it leaves the ending out
    return {f"{name}.JPEG" if bare else name: label for name, label in listed.items()}


def is_flat(folder: Path) -> bool:
    """Say whether a folder has a list of its images' classes in it, or flat images and a list above."""
    mapping = find_mapping(folder)
    if mapping is None:
        return False
    try:
        with os.scandir(folder) as entries:
            names = [(e.name, e.is_dir()) for e in entries if not e.name.startswith(".")]
    except OSError:
        return False
    folders = [name for name, is_folder in names if is_folder]
    return folders in ([], ["images"])


def list_flat(folder: Path) -> ImageList:
    """List flat images with the classes that a file beside or above them says; refuse one without."""
    mapping = find_mapping(folder)
    if mapping is None:
        raise ImagesError(f"{folder} has no list of classes; make one subfolder per class")
    listed, images = read_mapping(mapping), list_any_depth(folder)
    names = [os.path.basename(path) for path in images.paths]
    bare = next((name for name in names if not listed.get(name)), None)
    if bare is not None:
        raise ImagesError(f"{folder}: {mapping} has no class of {bare}; restore the list")
    targets, classes = number_classes([listed[name] for name in names], (), mapping)
    return ImageList(
        folder,
        images.paths,
        np.asarray(targets),
        images.num_bytes,
        classes,
        left_out=images.left_out,
    )
