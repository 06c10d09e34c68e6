"""What a store says of its images and classes: lists, what a labeller found, and its labels' fidelity."""

import hashlib
import re
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from fkd.arrays import IMPLAUSIBLE_REMEDY
from fkd.errors import BlockError, StoreError
from fkd.format import StoreSpec
from fkd.images import REASONS, Keys
from fkd.labels import NUM_MEASURES, Fidelity, StoredArray, fidelity_fault, mean_fidelity
from fkd.store.segment import Segment, by_images
from fkd.vectors import StoredVectors, hash_constants

# A path with an empty part, "." or ".." leads out of the image folder, or to no image.
_ASTRAY = re.compile(rb"(?:^|[\0/])\.{0,2}(?=[\0/])")


class StoredFacts:
    """The facts in the segments of a store, joined. It is the base of `LabelStore`."""

    def __init__(self, spec: StoreSpec, segments: Sequence[Segment]) -> None:
        """Take what the whole store is of, and its segments."""
        self.spec = spec
        self.segments = tuple(segments)
        self._by_images = by_images(segments)

    def status(self) -> NDArray[np.uint8]:
        """Return the status of every image, u8 [N]; 0 is labelled (or not reached yet)."""
        parts = []
        for segment in self._of_images:
            status: NDArray[np.uint8] = segment.reader.arrays.so_far("status")
            if status.max() >= len(REASONS):
                what = f"its status is {status.max()}"
                raise segment.reader.implausible(int(status.argmax()), what)
            parts.append(status)
        return joined(parts)

    def num_bad(self) -> int:
        """Return how many images were found unusable so far."""
        return int(np.count_nonzero(self.status()))

    def content_hashes(self) -> NDArray[np.uint64] | None:
        """Return the hash of every image's file, u64 [N], 0 for those without labels (yet).

        None for a store of format version 1, which has none.
        """
        return self._so_far("content_hash") if self.spec.format_version >= 2 else None

    def truth_hashes(self) -> NDArray[np.uint64] | None:
        """Return the hash of every image's mask or text, u64 [N], 0 for those without labels (yet).

        None for a store whose images had none.
        """
        return self._so_far(self.spec.truth_array) if self.spec.truth_array else None

    def sizes(self) -> NDArray[np.uint16]:
        """Return (height, width) of every image, u16 [N, 2], 0 for those without labels (yet)."""
        return self._so_far("size")

    @property
    def _of_images(self) -> list[Segment]:
        """The segments that have images, not more crops of images that others have."""
        return [segments[0] for segments in self._by_images]

    def _so_far(self, name: str) -> StoredArray:
        """Read what finished blocks say of images, 0 for those of others."""
        return joined([segment.reader.arrays.so_far(name) for segment in self._of_images])

    def image_numbers(self) -> NDArray[np.int64]:
        """Return the numbers by which the views of images are drawn, int64 [N]: mostly their indices."""
        if self.spec.numbered:
            return self._so_far("image_number").astype(np.int64)
        return np.arange(self.spec.num_images)

    def fidelity(self) -> Fidelity | None:
        """Return what labels give up of the teacher's own, on average over all crops (so far).

        None where it is not known: of format 1 and 2, and of labels that came without a teacher's.
        """
        return mean_fidelity(*self.measures())

    def measures(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the same of every block, f32 [num_blocks, 6], and of how many labels each is, int64.

        NaN is what is not known. Raises `BlockError` for what no labeller measures.
        """
        if self.spec.format_version < 3:
            count = sum(segment.spec.num_blocks for segment in self.segments)
            return np.full((count, NUM_MEASURES), np.nan, np.float32), np.zeros(count, np.int64)
        labelled = (self.status() == 0).astype(np.int64)
        found = [(segment, *_measured(segment, labelled)) for segment in self.segments]
        for segment, measures, counts in found:
            for number in np.flatnonzero(counts).tolist():
                fault = fidelity_fault(measures[number], self.spec.scheme)
                if fault:
                    what, where = f"its fidelity: {fault}", segment.files.where
                    raise BlockError(where, number, what, remedy=IMPLAUSIBLE_REMEDY)
        return joined([each for _, each, _ in found]), joined([counts for *_, counts in found])

    def targets(self) -> NDArray[np.int64] | None:
        """Return the class id of every image's folder, int64 [N]; None where images have no classes."""
        if self.spec.unlabelled:
            return None
        parts = [segment.reader.targets() for segment in self._of_images]
        return joined([part for part in parts if part is not None])

    def image_paths(self) -> Keys:
        """Return the key of every image, its path below the image folder, in index order."""
        texts = [self._path_text(segment) for segment in self._of_images]
        return Keys(joined(texts))

    def _path_text(self, segment: Segment) -> NDArray[np.uint8]:
        values: NDArray[np.uint8] = segment.whole("path")
        text, where = values.tobytes(), segment.files.where
        astray = _ASTRAY.search(text)
        if astray:
            path = text[: astray.end()].rsplit(b"\0", 2)[-1] + text[astray.end() :].split(b"\0")[0]
            raise StoreError(
                f"{where} names an image outside of the image folder ({path!r:.80}); "
                "do not use this store"
            )
        count = segment.spec.num_images
        if np.count_nonzero(values == 0) != count or text[-1:] != b"\0":
            raise _miscounted(where, "path", count)
        return values

    def num_bytes(self) -> NDArray[np.int64]:
        """Return the file size of every image when it was listed, int64 [N]."""
        parts = [segment.whole("num_bytes") for segment in self._of_images]
        return joined(parts).astype(np.int64)

    def class_names(self) -> tuple[str, ...]:
        """Return the C class names, in the order of the labels."""
        return self._names("class_name")

    def class_titles(self) -> tuple[str, ...]:
        """Return C names for people to read: the titles that were given, or else the class names."""
        return self._names("class_title" if self.spec.class_title_bytes else "class_name")

    def _names(self, array: str) -> tuple[str, ...]:
        text = self.segments[0].whole(array).tobytes()
        names = text.decode("utf-8", "surrogateescape").split("\0")
        if len(names) != self.spec.num_classes + 1 or names[-1]:
            raise _miscounted(self.segments[0].files.where, array, self.spec.num_classes)
        return tuple(names[:-1])

    def require_labels(self, remedy: str) -> None:
        """Raise `StoreError`, with what to do, for a store that keeps vectors and no labels."""
        if not self.spec.labels.there:
            raise StoreError(
                f"{self.segments[0].files.where} keeps vectors and no labels ({self.spec.kept_words}); "
                f"{remedy}"
            )

    def vectors(self, name: str) -> StoredVectors:
        """Return what reads the vectors of a target; raises `StoreError` where there is none of the name.

        What its scheme has learned is compared with the store's attributes.
        """
        root = self.segments[0]
        record = next((record for record in self.spec.targets if record.name == name), None)
        if record is None:
            names = [record.name for record in self.spec.targets]
            raise StoreError(
                f"{root.files.where} has no vectors named {name}; it has {', '.join(names) or 'none'} "
                "(`fkd label --features` keeps them)"
            )
        constants = {array: root.whole(array) for array in record.vectors.constants}
        if hash_constants(constants) != record.constants_hash:
            raise StoreError(
                f"{root.files.where}: {', '.join(constants)} are not what its labeller learned for "
                f"{name}; restore them or label anew"
            )
        fault = record.vectors.constants_fault(constants)
        if fault:
            raise StoreError(f"{root.files.where}: {fault}, which no labeller learns; label anew")
        return StoredVectors(record.vectors, constants)

    def stored_bytes(self) -> dict[str, int]:
        """Return the bytes on disk by array, and of all other files as "metadata"."""
        files = self.segments[0].files
        names = {"metadata", *(name for s in self.segments for name in s.block_files.layouts)}
        sizes = dict.fromkeys(sorted(names, key="metadata".__eq__), 0)
        for key in self._keys():
            own = key.partition("/")[2] if key.startswith("segment-") else key
            array = own.partition("/")[0]
            is_data = array in sizes and not own.endswith("zarr.json")
            with suppress(FileNotFoundError):  # a link to nowhere, or what was moved just now
                sizes[array if is_data else "metadata"] += files.size(key)
        return sizes

    def _keys(self) -> list[str]:
        """Return every object of the store, also of one whose place does not list them."""
        files = self.segments[0].files
        try:
            return list(files.keys())
        except OSError:
            done = [(s, s.block_files.sealed_files({*s.seals})) for s in self.segments]
            below = [f"segment-{number}/" if number else "" for number in range(len(done))]
            keys = [pre + key for pre, (_, own) in zip(below, done, strict=True) for key in own]
            files.bring((key, 0, 0) for key in keys)  # asks about all at once
            return keys

    def digest(self) -> str:
        """Return a SHA-256 by which the whole set is known: over attributes and the seals of all blocks.

        It is of lines: for each segment in order, the `sha256` of its attributes, and below it a line for
        each block that is done, its number and its seal in hexadecimal digits.
        """
        content = hashlib.sha256()
        for segment in self.segments:
            content.update(f"{segment.digest}\n".encode())
            for number, seal in sorted(segment.seals.items()):
                content.update(f"{number} {seal.hex()}\n".encode())
        return f"sha256:{content.hexdigest()}"

    def require_lists(self) -> None:
        """Raise `StoreError` where paths, sizes, classes or class names are lost or damaged."""
        _ = self.image_paths(), self.num_bytes(), self.targets()
        _ = self.class_names(), self.class_titles()


def joined(parts: Sequence[StoredArray]) -> StoredArray:
    """Return arrays one after the other; one alone is not copied."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _miscounted(where: str, array: str, count: int) -> StoreError:
    return StoreError(f"{where}: '{array}' does not hold {count:,} names; label anew")


def _measured(
    segment: Segment, labelled: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the fidelity of a segment's blocks f32 [L, 6], and of how many labels each is.

    `labelled`, int64 [N], is 1 for each image of the store that is usable.
    """
    spec, own = segment.spec, labelled[segment.images.start : segment.images.stop]
    counts = np.add.reduceat(own, np.arange(spec.num_blocks) * spec.block_images)
    counts[sorted({*range(spec.num_blocks)} - {*segment.seals})] = 0
    return segment.reader.arrays.so_far("fidelity"), counts * spec.num_crops
