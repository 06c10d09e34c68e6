"""`fkd label --dry-run`: what a labelling run would take, measured on a few of its images."""

import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fkd.amounts import as_bytes, as_count, as_duration, as_rate
from fkd.config import Grid, LabelConfig, as_config, grid_text, num_positions
from fkd.errors import DecodeError, FkdError, ImagesError
from fkd.format import TargetRecord
from fkd.images import ImageList, take_part
from fkd.info import target_words
from fkd.labelling.drawing import decoded
from fkd.labelling.growing import kept_scheme, settled
from fkd.labelling.inputs import all_images, check_inputs, refuse_alone, refuse_no_store
from fkd.labelling.label import enough_memory, label_blocks
from fkd.labelling.learning import learned, num_learned
from fkd.labelling.opening import create_store, new_spec, require_same_labelling, teachers_of
from fkd.labelling.preflight import SampleAccuracy, sample_accuracy
from fkd.labelling.processes import Ranks
from fkd.labelling.truth import of_labels, say_what_is_left_out, truth_beside
from fkd.machine import device_memory, resolve_device
from fkd.store import LabelStore
from fkd.teachers import Ensemble
from fkd.truth import Truth
from fkd.vectors import Constants

_LEARNED = 512  # views
_SECONDS = 10.0  # of labelling, about
_MOST_IMAGES = 256


@dataclass(frozen=True)
class Estimate:
    """What a run would take on this machine, with one process.

    `views_per_s` and `bytes_per_image` were measured on `num_sampled` images; small samples compress a
    little worse than whole blocks. `fixed_bytes` are those that a store has however few images are in it.
    `num_labelled` views are in the store that the run would go on with, and `num_learned` are looked at
    before it is made, for what schemes of vectors learn. `targets` are the vectors that are kept, `grid`
    is that of the labels.
    """

    num_images: int
    num_crops: int
    num_sampled: int
    views_per_s: float
    bytes_per_image: float
    fixed_bytes: int
    teachers: tuple[SampleAccuracy, ...]
    num_labelled: int = 0
    num_learned: int = 0
    targets: tuple[TargetRecord, ...] = ()
    grid: Grid = ()

    @property
    def num_views(self) -> int:
        """N · M."""
        return self.num_images * self.num_crops

    @property
    def seconds(self) -> float:
        """Time of the whole run."""
        learned = 0 if self.num_labelled else self.num_learned
        return (self.num_views - self.num_labelled + learned) / self.views_per_s

    @property
    def store_bytes(self) -> float:
        """Size of the whole store."""
        return self.num_images * self.bytes_per_image + self.fixed_bytes

    @property
    def bytes_per_crop(self) -> float:
        """Size of the whole store by crop."""
        return self.store_bytes / self.num_views

    def lines(self) -> list[tuple[str, str]]:
        """Return what `fkd label --dry-run` prints: a name and a text each."""
        sampled = as_count(self.num_sampled, "image")
        already = f", {self.num_labelled:,} of them labelled already" if self.num_labelled else ""
        return [
            ("images", f"{self.num_images:,}"),
            ("views", f"{self.num_views:,} ({self.num_crops} per image){already}"),
            *[("teacher", line) for teacher in self.teachers for line in teacher.lines],
            *[("warning", warning) for teacher in self.teachers for warning in teacher.warnings],
            *[("vectors", target_words(record)) for record in self.targets],
            ("speed", f"{as_rate(self.views_per_s, 'view')}, measured on {sampled}"),
            ("time", f"{as_duration(self.seconds)} on one process like this one"),
            ("store", f"{as_bytes(self.store_bytes)} at {self._per_crop}"),
        ]

    @property
    def _per_crop(self) -> str:
        each = f"{self.bytes_per_crop:.1f} bytes per crop"
        if not self.grid or self.targets:
            return each
        of_label = self.bytes_per_crop / num_positions(self.grid)
        return f"{each} of {grid_text(self.grid)} labels, {of_label:.2f} bytes each"


def estimate_run(config: LabelConfig) -> Estimate:
    """Label a few images into a temporary store and extrapolate; `config.out` is not touched."""
    as_config(config, LabelConfig)
    listed = all_images(config, check_inputs(config))
    refuse_no_store(config)
    images = take_part(config.part, listed)
    refuse_alone(config, images)
    beside = truth_beside(config, listed, images)
    with device_memory("choose a device with room for the teachers"):
        teachers = teachers_of(config, listed, images, resolve_device(config.device), beside)
    config = replace(config, scheme=kept_scheme(config, teachers.grid))
    truth = of_labels(config, teachers, beside)
    say_what_is_left_out(config, truth)
    config, num_images, num_labelled = _gone_on(config, listed, images, teachers, truth)
    fewest = 2 if config.views.mix.mixes else 1  # one alone is mixed with none
    with enough_memory(config, teachers.device):
        accuracies = tuple(sample_accuracy(t, images, config, truth) for t in teachers.teachers)
        # Learned once for both samples, and of fewer views than the run would look at.
        spec = new_spec(config, images, teachers, truth=truth)
        constants = learned(config, images, teachers, spec, _LEARNED)
        first = _label_sample(config, images, teachers, truth, constants, fewest)
        affordable = int(_SECONDS * first.views_per_s / config.crops)
        count = min(_MOST_IMAGES, len(images), max(fewest, affordable))
        sample = _label_sample(config, images, teachers, truth, constants, count)
    return Estimate(
        num_images,
        config.crops,
        sample.num_images,
        sample.views_per_s,
        sample.bytes_per_image,
        sample.fixed_bytes,
        accuracies,
        num_labelled,
        num_learned(spec),
        spec.targets,
        spec.grid,
    )


def _gone_on(
    config: LabelConfig,
    listed: ImageList,
    images: ImageList,
    teachers: Ensemble,
    truth: Truth | None,
) -> tuple[LabelConfig, int, int]:
    """Return the configuration with M, N in the end, and the views that a store at `config.out` has.

    One that the run would not go on with counts for nothing: settings may be compared.
    """
    if config.overwrite or not os.path.lexists(config.out):
        return config, len(images), 0
    try:
        going_on = settled(config)
        store = LabelStore.open(config.out)
        spec = new_spec(going_on, images, teachers, truth=truth)
        names = teachers.classes.names
        matched = require_same_labelling(going_on, store, spec, listed, images, names)
    except FkdError:
        return config, len(images), 0
    labelled = sum(store.block(number).num_labels for number in store.done_blocks())
    return going_on, store.spec.num_images + len(matched.added), labelled


@dataclass(frozen=True)
class _Sample:
    """What labelling a few images took."""

    num_images: int
    views_per_s: float
    bytes_per_image: float
    fixed_bytes: int


def _label_sample(
    config: LabelConfig,
    images: ImageList,
    teachers: Ensemble,
    truth: Truth | None,
    constants: Mapping[str, Constants],
    count: int,
) -> _Sample:
    """Label `count` images from all over the folder, or as many as can be decoded."""
    chosen = _usable(images, count, truth)
    sample = images.take(np.array(chosen))
    with tempfile.TemporaryDirectory(prefix="fkd-dry-run-") as folder:
        small = replace(config, out=Path(folder) / "labels.zarr", block_images=None, max_bad=1.0)
        spec = new_spec(small, sample, teachers, truth=truth)
        store = create_store(small, spec, sample, teachers, constants=constants)
        began = time.perf_counter()
        pending = store.pending_blocks()
        label_blocks(small, sample, teachers, store, Ranks.alone(), pending, truth=truth)
        seconds = time.perf_counter() - began
        sizes = LabelStore.open(small.out).stored_bytes()
    once = [
        "metadata",
        "class_name",
        "class_title",
        *(n for each in constants.values() for n in each),
    ]
    fixed = sum(sizes.get(name, 0) for name in once)
    num_views = len(chosen) * config.crops
    growing = sum(sizes.values()) - fixed
    return _Sample(len(chosen), num_views / seconds, growing / len(chosen), fixed)


def _usable(images: ImageList, count: int, truth: Truth | None = None) -> list[int]:
    """Choose up to `count` images that decode, from all over the folder: bad ones take no time."""
    spread = np.linspace(0, len(images) - 1, count).round().astype(np.int64).tolist()
    usable, unusable = [], list[DecodeError]()
    for image_index in dict.fromkeys([*spread, *range(len(images))]):
        try:
            _, size, _ = decoded(images, image_index)
            if truth is not None:
                truth.of(images).usable_hash(image_index, size)
        except DecodeError as error:
            unusable += [] if unusable else [error]
            continue
        usable.append(image_index)
        if len(usable) == count:
            return usable
    if not usable:
        raise ImagesError(
            f"none of the {len(images)} images in {images.root} can be used; the first: {unusable[0]}"
        )
    return usable
