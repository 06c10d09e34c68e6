"""Stores that checks are made of, each labelled once by a teacher with random weights."""

import os
from dataclasses import replace

from fkd import LabelConfig, LabelStore, Scheme, TeacherChoice, ViewPolicy, label_images
from fkd.config import Size, Target

from .findings import Setting, put_in_place
from .small_models import MAP_TEACHER, READER


def labelled(setting: Setting) -> LabelStore:
    """Return a store of the pictures, by classes."""
    return _once(setting, "pictures", picture_labels(setting))


def picture_labels(setting: Setting) -> LabelConfig:
    """Say how the pictures are labelled."""
    teacher = TeacherChoice("resnet18", "none", size=32 if setting.tiny else 96)
    return LabelConfig(
        setting.pictures(), teacher, num_crops=6 if setting.tiny else 16,
        scheme=Scheme("topk", 3), device=setting.device_name,
    )  # fmt: skip


def with_vectors(setting: Setting) -> LabelStore:
    """Return a store of all classes of the pictures, of an embedding twice and of a layer's maps."""
    kept = Target("features", "int8"), Target("features", "pca16", name="few")  # type: ignore[arg-type]
    config = replace(
        picture_labels(setting), num_crops=4, scheme=Scheme("full"), targets=(*kept, Target("layer3"))
    )  # fmt: skip
    return _once(setting, "vectors", config)


def of_maps(setting: Setting) -> LabelStore:
    """Return a store of maps of the images with masks."""
    return _once(setting, "maps", map_labels(setting))


def map_labels(setting: Setting) -> LabelConfig:
    """Say how the images with masks are labelled."""
    teacher = TeacherChoice(MAP_TEACHER, size=32 if setting.tiny else 64)
    return LabelConfig(
        setting.masked(), teacher, num_crops=2 if setting.tiny else 8, scheme=Scheme("topk", 2),
        device=setting.device_name,
    )  # fmt: skip


def of_lines(setting: Setting) -> LabelStore:
    """Return a store of lines."""
    return _once(setting, "lines", line_labels(setting))


def line_labels(setting: Setting) -> LabelConfig:
    """Say how lines are labelled."""
    size: Size = (16, 64) if setting.tiny else (32, 128)
    views = ViewPolicy(scale=(0.9, 1.0), ratio=(0.9, 1.1), flip=False, fit="pad")
    return LabelConfig(
        setting.lines(), TeacherChoice(READER, size=size), num_crops=2 if setting.tiny else 8,
        scheme=Scheme("topk", 2), device=setting.device_name, views=views,
    )  # fmt: skip


def _once(setting: Setting, name: str, config: LabelConfig) -> LabelStore:
    out = setting.folder / f"{name}.zarr"
    if not out.exists():
        aside = out.with_name(f"{name}.{os.getpid()}.zarr")
        label_images(replace(config, out=aside))
        put_in_place(aside, out)
    return LabelStore.open(out)
