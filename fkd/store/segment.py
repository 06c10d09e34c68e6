"""A store's segments: rectangles of images and crops, each with files, blocks and seals of its own.

A store begins as one, its root. What is added later lies in groups of its own in the store's folder, so
that no finished byte is written again.
"""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from fkd.arrays import Arrays, BlockFiles
from fkd.errors import StoreError, first_line
from fkd.files import Files, Folder
from fkd.format import StoreSpec, array_layouts, from_attributes, group_attributes
from fkd.labels import StoredArray
from fkd.store.reader import Reader
from fkd.store.slabs import Block
from fkd.store.writer import Writer


@dataclass(frozen=True)
class BlockPlace:
    """Which labels a block has: of these `images`, by their index, these `crops`."""

    images: range
    crops: range

    @property
    def num_labels(self) -> int:
        """How many labels that are."""
        return len(self.images) * len(self.crops)


class Segment:
    """A part of a store that was begun at once. `images` and `crops` say where it lies in the whole.

    A segment of more crops needs the one that has its images, `images_in`.
    """

    def __init__(
        self,
        files: Files,
        spec: StoreSpec,
        digest: str,
        *,
        writable: bool,
        images_in: "Segment | None" = None,
    ) -> None:
        """Open it, and refuse what does not fit its attributes, whose SHA-256 is `digest`.

        Raises `StoreError`.
        """
        self.files, self.spec, self.digest = files, spec, digest
        layouts = array_layouts(spec)
        self.block_files = BlockFiles(files, layouts)
        lists = [name for name, layout in layouts.items() if not layout.by_block and name != "done"]
        files.bring([(f"{name}/zarr.json", 0, None) for name in layouts])
        self.block_files.bring([(name, range(1), ()) for name in lists])
        for name, num_names in _names(spec).items():  # bounds all that attributes may claim
            if name in layouts:
                self.block_files.require_names(name, num_names)
        arrays = Arrays(files, layouts, writable=writable)
        of_images: Reader | None = None if images_in is None else images_in.reader
        self.reader: Reader = Reader(files.where, spec, arrays, self.block_files, of_images)
        self._writer = (
            Writer(files, spec, arrays, self.block_files)
            if writable and isinstance(files, Folder)
            else None
        )
        self._images_in = images_in
        self.images = range(spec.first_image, spec.first_image + spec.num_images)
        self.crops = range(spec.first_crop, spec.first_crop + spec.num_crops)

    def of_targets(self, names: Collection[str]) -> "Segment":
        """Return the same segment, to be read with the vectors of these targets alone."""
        segment = copy(self)
        segment.reader = self.reader.of_targets(names)
        return segment

    @property
    def seals(self) -> dict[int, bytes]:
        """The SHA-256 of every block of it that is done."""
        return self.reader.seals

    @property
    def writer(self) -> Writer:
        """Who writes its blocks; raises `StoreError` where it was opened to be read."""
        if self._writer is None:
            raise StoreError(f"{self.files.where} is open to be read alone")
        return self._writer

    def block(self, number: int) -> BlockPlace:
        """Return which labels of the store one of its blocks has."""
        images = self.spec.block_range(number)
        first = self.spec.first_image
        return BlockPlace(range(first + images.start, first + images.stop), self.crops)

    def commit(self, number: int, block: Block) -> None:
        """Write one of its blocks and seal it."""
        image_hash = 0
        if self._images_in is not None:
            image_hash = self._images_in.reader.image_hash(number)
        self.seals[number] = self.writer.commit(number, block, image_hash)

    def whole(self, name: str) -> StoredArray:
        """Read an array that is not cut into blocks."""
        return self.reader.arrays.whole(name)


def _names(spec: StoreSpec) -> dict[str, int]:
    """Return the arrays of names that a segment may have, and how many names each has."""
    titles = {"class_title": spec.num_classes} if spec.class_title_bytes else {}
    return {"path": spec.num_images, "class_name": spec.num_classes} | titles


def segment_name(number: int) -> str:
    """Return the name of the group of a segment; the root, number 0, has none."""
    return f"segment-{number}"


def open_segments(files: Files, attributes: dict[str, Any], *, writable: bool) -> list[Segment]:
    """Open the root of a store, which has these attributes, and all that was added to it, in order."""
    spec = from_attributes(attributes, files.where)
    if spec.root:
        raise StoreError(f"{files.where} is a segment of a label store; name the store it lies in")
    root: str = attributes["sha256"]
    segments = [Segment(files, spec, root, writable=writable)]
    for below, added in _added(files):
        spec = from_attributes(added, below.where)
        images_in = _images_of(segments, spec)
        fault = _misfit(segments, images_in, spec, root)
        if fault:
            raise StoreError(f"{below.where} {fault}; restore it, or remove it from the store")
        digest: str = added["sha256"]
        segments.append(Segment(below, spec, digest, writable=writable, images_in=images_in))
    return segments


def _added(files: Files) -> Iterator[tuple[Files, dict[str, Any]]]:
    """Yield what was added to a store: files and attributes, in the order in which that was done."""
    for number in count(1):
        name = segment_name(number)
        below = files.below(name)
        try:
            flaw = files.flaw(f"{name}/zarr.json")  # from below, a link to all of it is not seen
            if flaw is not None:
                raise ValueError(flaw)
            yield below, group_attributes(below)
        except FileNotFoundError:
            _require_none_from(files, number)
            return
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise StoreError(
                f"{below.where} is no segment of a label store ({first_line(error)}); restore it, or "
                "remove it from the store"
            ) from error


def _require_none_from(files: Files, number: int) -> None:
    """Raise `StoreError` where segment `number` is lost: it is there in part, or others follow it."""
    name = segment_name(number)
    for key in (f"{name}/done/zarr.json", f"{segment_name(number + 1)}/zarr.json"):
        try:
            files.size(key)
        except FileNotFoundError:
            continue
        raise StoreError(
            f"{files.where}: {name}/zarr.json is missing, though {key} is there; restore it, or remove "
            f"{name} and all segments after it"
        )


def _images_of(segments: Sequence[Segment], spec: StoreSpec) -> Segment | None:
    """Return the segment that has the images of a segment of more crops, None for one of images."""
    if not spec.first_crop:
        return None
    found = (s for s in segments if not s.spec.first_crop and s.images.start == spec.first_image)
    return next(found, segments[0])


def _misfit(
    segments: Sequence[Segment], images_in: Segment | None, spec: StoreSpec, root: str
) -> str | None:
    """Say why what was added does not belong to a store, or return None."""
    if spec.root != root:
        return "was added to another store"
    first, has = segments[0].spec, spec
    if images_in is not None:
        first = images_in.spec
        of_them = [s for s in segments if s.images == images_in.images]
        if spec.first_crop != of_them[-1].crops.stop:
            return f"begins at crop {spec.first_crop}, where {of_them[-1].crops.stop} are labelled"
    elif spec.first_image != max(s.images.stop for s in segments):
        return f"begins at image {spec.first_image:,}, which is not the next one"
    own = {"num_crops": 0, "chunk_crops": 0, "first_crop": 0, "root": "", "created": ""}
    own |= {"versions": {}, "probe": "", "probes": {}, "renderer": ""}
    if images_in is None:
        own |= {"num_images": 0, "first_image": 0, "path_bytes": 0, "fingerprint": ""}
        own |= {"block_images": 0, "images_root": ""}
    # mypy knows no types of fields by name
    alike = replace(first, **own) == replace(has, **own)  # type: ignore[arg-type]
    return None if alike else "has other settings than the store"


def whole_spec(segments: Sequence[Segment], most_crops: int | None = None) -> StoreSpec:
    """Return what a store of these segments is of: all images, and the crops that every one has.

    It is of no more than `most_crops`.
    """
    root, groups = segments[0].spec, by_images(segments)
    num_crops = min(of_images[-1].crops.stop for of_images in groups)
    whole = replace(root, num_crops=num_crops if most_crops is None else min(num_crops, most_crops))
    if len(groups) == 1:
        return whole
    prints = "\n".join(of_images[0].spec.fingerprint for of_images in groups)
    return replace(
        whole,
        num_images=max(s.images.stop for s in segments),
        fingerprint="sha256:" + hashlib.sha256(prints.encode()).hexdigest(),
    )


def by_images(segments: Sequence[Segment]) -> list[list[Segment]]:
    """Return the segments by the images that they are of, and of each images in the order of crops."""
    starts = [s.images.start for s in segments if not s.spec.first_crop]
    return [[s for s in segments if s.images.start == start] for start in starts]
