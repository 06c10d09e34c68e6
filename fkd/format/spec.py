"""What a store is of: all that its attributes say."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Literal

from fkd.config import (
    Amp,
    Grid,
    Interpolation,
    Scheme,
    Size,
    ViewPolicy,
    grid_text,
    is_line,
    size_text,
)
from fkd.format.records import TargetRecord, TeacherRecord
from fkd.labels import Field, KeptLabels, StoredArray
from fkd.vectors import KeptVectors
from fkd.views import SAMPLERS

# Version 2 adds `content_hash`. Version 3 has `view_hash` where a reader can draw the boxes, slots as
# places among what is left, coarse schemes, samples, deviations and `fidelity`. All are read, and a store
# that is continued keeps its own.
FORMAT_VERSION = 3
FORMAT_VERSIONS = (1, 2, FORMAT_VERSION)

# Of more classes a crop, slots are stored as they are: the work to undo it grows with the square of K.
_MOST_PACKED_RANKS = 16

# How a crop's slots are stored: as they are, as places among what is left, as steps of rising ones.
Slots = Literal["plain", "ranks", "draws"]

# How a difference of the hashes that say which outputs are which classes is told.
_OUTPUTS = "--teacher-classes"
OTHER_OUTPUTS = f"{_OUTPUTS} gives the classes other outputs of a teacher"

# What an array of hashes is called, by what they are of.
_TRUTH_ARRAYS = {"": "", "masks": "mask_hash", "texts": "text_hash"}


@dataclass(frozen=True, kw_only=True)
class StoreSpec:
    """The attributes of a store: everything needed to read it and to refuse it.

    Who makes a store leaves four sizes at 0: `plan_layout` sets `block_images` and `chunk_crops`, and
    `LabelStore.create` sets `path_bytes`, `class_name_bytes` and `class_title_bytes`.

    `probe` and `probes` are what pictures looked like to the labeller; a store that was made before there
    were any has no `probes`, and an older one of JPEG files has none either.

    `part` says that the store is of a part of the images at `images_root`. In an `unlabelled` store
    images have no classes of their own. `class_title_bytes` is 0 where classes have no titles. In a
    `numbered` one an array says by which number the views of an image are drawn, where that is not its
    index. `weights` are those of the teachers where they differ, and `made_by` says who wrote the labels
    if not `fkd label`. With `stored_mixes`, arrays say with which views of which images views are mixed;
    they come from elsewhere, and follow from no policy. `targets` are the vectors that are kept of each
    view, beside its label or without one. `grid` (h, w) says that a view has a map of labels, one for
    each of so many cells, and (T,) that it has one for each frame of a line of text; a label of its own
    has the grid (). `masks` says that masks lay beside
    the images when these were labelled, of the labels' classes, and `texts` that labels.txt had a text of
    each, whose characters are classes.

    A segment that was added to a store begins at `first_image` and `first_crop`, and names the `root`
    that it was added to, by the SHA-256 of its attributes. Its numbers of images and crops are its own.
    """

    num_images: int
    num_crops: int
    num_classes: int
    block_images: int = 0
    chunk_crops: int = 0
    scheme: Scheme
    views: ViewPolicy
    sampler: str
    renderer: str
    probe: str
    size: Size
    interpolation: Interpolation
    temperature: float
    teachers: tuple[TeacherRecord, ...]
    images_root: str
    fingerprint: str
    versions: Mapping[str, str]
    created: str
    path_bytes: int = 0
    class_name_bytes: int = 0
    amp: Amp = "off"
    probes: Mapping[str, str] = field(default_factory=dict)
    part: bool = False
    unlabelled: bool = False
    class_title_bytes: int = 0
    numbered: bool = False
    weights: tuple[float, ...] = ()
    made_by: str = ""
    root: str = ""
    first_image: int = 0
    first_crop: int = 0
    stored_mixes: bool = False
    targets: tuple[TargetRecord, ...] = ()
    grid: Grid = ()
    masks: bool = False
    texts: bool = False
    format_version: int = FORMAT_VERSION

    @property
    def truth(self) -> Literal["", "masks", "texts"]:
        """What lay beside the images, and says what is true at a position; "" where nothing did."""
        return "masks" if self.masks else "texts" if self.texts else ""

    @property
    def truth_array(self) -> str:
        """The array of hashes of that, by which it is known again; "" where nothing was there."""
        return _TRUTH_ARRAYS[self.truth]

    @property
    def num_blocks(self) -> int:
        """Number of blocks; the last may be shorter."""
        return -(-self.num_images // self.block_images)

    @property
    def stores_views(self) -> bool:
        """Whether boxes and flips are stored, and not drawn again by whoever reads."""
        sampler = SAMPLERS.get(self.sampler)
        return self.format_version < 3 or sampler is None or not sampler.exact

    @property
    def mixes(self) -> bool:
        """Whether views are mixed with those of other images."""
        return self.views.mix.mixes or self.stored_mixes

    @property
    def num_chunks(self) -> int:
        """Chunks of crops that an image has; the last may be shorter."""
        return -(-self.num_crops // self.chunk_crops)

    @cached_property
    def labels(self) -> KeptLabels:
        """What is kept of each crop's label."""
        return KeptLabels(self.scheme, self.num_classes, self.grid)

    @cached_property
    def vectors(self) -> dict[str, KeptVectors]:
        """What is kept of each crop's vectors, by the name of the target."""
        return {record.name: record.vectors for record in self.targets}

    @cached_property
    def fields(self) -> tuple[Field, ...]:
        """The arrays of a crop: those of its label, then those of its vectors."""
        of_vectors = (field for kept in self.vectors.values() for field in kept.fields)
        return (*self.labels.fields, *of_vectors)

    @property
    def dense_bytes(self) -> int:
        """Bytes of a crop's arrays that lie dense, by which blocks are bounded; 0 where it has none."""
        few = ("ids", "draws", "codes")  # of which a label of a whole view has some
        return sum(field.num_bytes for field in self.fields if field.packing not in few)

    @property
    def kept_words(self) -> str:
        """Say what is kept of a crop: `topk5, layer3 as int8`."""
        what = "frames" if is_line(self.grid) else "cells"
        positions = f" of {grid_text(self.grid)} {what}" if self.grid else ""
        labels = [f"{self.scheme}{positions}"] if self.labels.there else []
        return ", ".join(labels + [f"{record.name} as {record.keep}" for record in self.targets])

    def empty_fields(self, num_images: int, num_crops: int) -> dict[str, StoredArray]:
        """Return zeros to be filled, [n, m, length] by name."""
        return {field.name: field.zeros(num_images, num_crops) for field in self.fields}

    @property
    def slots(self) -> Slots:
        """How a crop's slots are stored."""
        if not self.labels.keeps_first:
            return "draws"
        few = self.labels.num_ranks <= _MOST_PACKED_RANKS
        return "ranks" if self.format_version >= 3 and few else "plain"

    def block_range(self, block: int) -> range:
        """Return the image indices of a block."""
        start = block * self.block_images
        return range(start, min(start + self.block_images, self.num_images))

    def block_rows(self, block: int) -> slice:
        """Return the same as rows of arrays."""
        images = self.block_range(block)
        return slice(images.start, images.stop)

    def first_difference(self, other: "StoreSpec") -> str | None:
        """Name the first setting in which a run differs from this store, for a user, or None."""
        mine, theirs = self._settings(), other._settings()
        for name, value in mine.items():
            if theirs[name] != value and name == _OUTPUTS:
                return OTHER_OUTPUTS
            if theirs[name] != value:
                return f"{name} is {_words(theirs[name])}, the store has {_words(value)}"
        return None

    def _settings(self) -> dict[str, object]:
        return {
            "--unlabelled": "given" if self.unlabelled and not self.truth else "not given",
            "--teacher": ", ".join(t.name for t in self.teachers),
            "--teacher-weights": ", ".join(t.weights_hash for t in self.teachers),
            "--teacher-output": ", ".join(t.output for t in self.teachers),
            _OUTPUTS: ", ".join(t.outputs_hash for t in self.teachers),
            "--crops": self.num_crops,
            **self.views.settings,  # among which are some that the default of --compress follows
            "--compress": str(self.scheme),
            "--features": [(t.name, t.layer, t.pool, str(t.keep), *t.shape) for t in self.targets],
            "the grid of its labels": grid_text(self.grid) or "none",
            "the truth beside images": self.truth or "none",
            "--size": [size_text(t.preprocessing.size) for t in self.teachers],
            "--interpolation": [t.preprocessing.interpolation for t in self.teachers],
            "--mean": [t.preprocessing.mean for t in self.teachers],
            "--std": [t.preprocessing.std for t in self.teachers],
            "--temperature": self.temperature,
            "--amp": self.amp,
            "the number of classes": self.num_classes,
            "--block": self.block_images,
            "the sampler of views": self.sampler,
            "the renderer of views": self.renderer,
        }


def _words(value: object) -> object:
    """Return a setting as a user writes it: the numbers of one apart, those of several teachers too."""
    if isinstance(value, list):
        return ", ".join(str(_words(one)) for one in value) or "none"
    return " ".join(filter(None, map(str, value))) if isinstance(value, tuple) else value


def library_versions() -> dict[str, str]:
    """Return the versions that the pixels and the bytes depend on, and as `decoder` who decodes JPEG."""
    from fkd.images import jpeg_decoder
    from fkd.version import version_of  # and so does this

    names = ("fkd", "torch", "torchvision", "pillow", "numpy", "zarr")
    return {name: version_of(name) for name in names} | {"decoder": jpeg_decoder()}


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
