"""Writing a store: the files of a new one, a block that is committed, a block that is sent back.

A block is absent or whole: its shards are written, synced and then sealed by a line in `done`, which
holds a hash over them.
"""

import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkd.arrays import (
    Arrays,
    BlockFiles,
    create_arrays,
    pack_boxes,
    pack_codes,
    pack_ids,
    pack_palettes,
    pack_slots,
    sort_ties,
)
from fkd.errors import StoreError
from fkd.files import Folder
from fkd.format import StoreSpec, array_layouts, to_attributes
from fkd.images import MAX_NUM_BYTES, ImageList, Keys
from fkd.labels import StoredArray
from fkd.machine import sync
from fkd.store.cells import pack_cells
from fkd.store.slabs import Block
from fkd.vectors import Constants, hash_constants
from fkd.views import hash_mixes, hash_views


@dataclass(frozen=True)
class ClassWords:
    """What the classes of a store are called: their names, and names for people to read, or none."""

    names: Sequence[str]
    titles: Sequence[str] = ()


def create_store(
    path: Path,
    spec: StoreSpec,
    images: ImageList,
    targets: NDArray[np.int64] | None,
    named: ClassWords,
    constants: Mapping[str, Constants],
    *,
    overwrite: bool,
) -> None:
    """Make the files of an empty store, as `LabelStore.create` says."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    names = {"class_name": Keys.of(named.names).text}
    if named.titles:
        names["class_title"] = Keys.of(named.titles).text
    sizes: dict[str, Any] = {f"{name}_bytes": len(text) for name, text in names.items()}
    learned = {name: values for each in constants.values() for name, values in each.items()}
    sizes["targets"] = tuple(
        replace(record, constants_hash=hash_constants(constants.get(record.name, {})))
        for record in spec.targets
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _make(aside, replace(spec, **sizes), {**names, **learned, **_lists_of(images, targets)})
        if overwrite:
            _swap(aside, path)
        else:
            os.rename(aside, path)
        sync([], path.parent)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise StoreError(f"{path} cannot be created ({error})") from error


def create_segment(
    path: Path,
    spec: StoreSpec,
    images: ImageList | None = None,
    targets: NDArray[np.int64] | None = None,
) -> None:
    """Make the files of an empty segment in a store's folder, as `LabelStore.add_crops` says.

    `images` and their classes `targets` are those of a segment of more images.
    """
    for left in path.parent.glob(f".{path.name}.*.partial"):  # by a labeller that was killed
        shutil.rmtree(left, ignore_errors=True)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        _make(aside, spec, {} if images is None else _lists_of(images, targets))
        os.rename(aside, path)
        sync([], path.parent)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise StoreError(f"{path} cannot be created ({error})") from error


def _lists_of(images: ImageList, targets: NDArray[np.int64] | None) -> dict[str, NDArray[Any]]:
    """Return the arrays of a list of images."""
    lists: dict[str, NDArray[Any]] = {
        "path": Keys.of(images.paths).text,
        "num_bytes": np.minimum(images.num_bytes, MAX_NUM_BYTES),
    }
    return lists if targets is None else {**lists, "target": targets}


def _make(folder: Path, spec: StoreSpec, known: Mapping[str, StoredArray]) -> None:
    """Create a group with the arrays of a spec, fill in those that are known, and sync all."""
    if "path" in known:
        spec = replace(spec, path_bytes=len(known["path"]))
    layouts = array_layouts(spec)
    arrays = create_arrays(folder, layouts, to_attributes(spec))
    for name, values in known.items():
        arrays[name][:] = values.astype(layouts[name].dtype)
    sync(folder.rglob("*"), folder)


def require_plain(path: Path) -> None:
    """Refuse a store to be written that holds a link, which may lead anywhere, a pipe or a device."""
    for file in path.rglob("*"):
        try:
            mode = file.lstat().st_mode
        except FileNotFoundError:
            continue  # another labeller has moved what it wrote into its place
        if stat.S_ISLNK(mode):
            raise StoreError(
                f"{path}: {file} is a link, and a store has none; copy the store with its links "
                "followed (cp -rL)"
            )
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise StoreError(f"{path}: {file} is no plain file; remove it")


class Writer:
    """Commits blocks to a store's arrays, and sends them back."""

    def __init__(self, folder: Folder, spec: StoreSpec, arrays: Arrays, files: BlockFiles) -> None:
        """Write to the arrays of an open segment, and to the files of its blocks."""
        self._folder, self._path, self._spec = folder, folder.path, spec
        self._arrays, self._files = arrays, files

    def commit(self, number: int, block: Block, image_hash: int = 0) -> bytes:
        """Write a block's shards, sync them, and only then seal it as done; return the seal.

        A segment of more crops keeps `image_hash`, which tells the images of the block.
        """
        arrays = self._pack(block, image_hash)
        shards = [self._folder.file(key) for key in self._files.shards(number).values()]
        try:
            # What a power cut left of an earlier try may be torn, and zarr would read it first.
            for shard in shards:
                shard.unlink(missing_ok=True)
            for name, values in arrays.items():
                array = self._arrays[name]
                first = number * (array.shards or array.chunks)[0]
                array[first : first + len(values)] = values
            sync(shards, self._path)
            seal = self._files.seal(number)
            self._arrays["done"][number] = np.frombuffer(seal, np.uint8)
            sync([self._folder.file(self._files.seal_file(number))], self._path)
        except OSError as error:
            raise StoreError(
                f"{self._path}: block {number} could not be written ({error}); finished blocks are "
                "kept, run the same command again to go on"
            ) from error
        return seal

    def _pack(self, block: Block, image_hash: int) -> dict[str, StoredArray]:
        """Return what is written of a block, by array."""
        arrays: dict[str, StoredArray] = {
            "size": block.size,
            "status": block.status,
            "content_hash": block.content_hash,
            "fidelity": block.fidelity[None],
            "image_hash": np.array([image_hash], np.uint64),
        }
        if block.truth_hash is not None:
            arrays[self._spec.truth_array] = block.truth_hash
        if block.image_number is not None:
            arrays["image_number"] = block.image_number
        # A store that an older fkd began goes on without what its version has not.
        arrays = {name: values for name, values in arrays.items() if name in self._arrays}
        if self._spec.stores_views:
            arrays |= {"box": pack_boxes(block.box, block.size), "flip": block.flip}
        else:
            arrays["view_hash"] = hash_views(block.box, block.flip, self._spec.chunk_crops)[None]
        arrays |= self._pack_mixes(block)
        arrays |= pack_cells(self._spec, block.kept)
        for field in self._spec.fields:
            values = block.kept[field.name]
            if field.packing in ("ids", "draws"):
                palette = self._arrays["palette"]
                index = values.astype(palette.dtype)
                arrays["palette"], slot = pack_ids(index, palette.shape[1])
                if field.packing == "draws":
                    arrays["palette"] = pack_palettes(arrays["palette"], self._spec.num_classes)
                if self._spec.scheme.coarse:
                    slot = sort_ties(slot, block.kept["code"])
                arrays["slot"] = pack_slots(slot, self._spec.slots)
            elif field.packing not in ("cell ids", "cell codes"):
                arrays[field.name] = pack_codes(values) if field.packing == "codes" else values
        return arrays

    def _pack_mixes(self, block: Block) -> dict[str, StoredArray]:
        """Return what is written of how a block's views are mixed."""
        if block.mixes is None or block.partner_content is None:
            return {}
        mixes = block.mixes
        if self._spec.views.mix.mixes:
            hashes = hash_mixes(mixes, block.partner_content, self._spec.chunk_crops)
            return {"mix_hash": hashes[None]}
        return {
            "partner": mixes.image.astype(np.uint32),
            "partner_box": mixes.box,
            "partner_flip": mixes.flip,
            "share": mixes.share,
            "hole": mixes.hole,
        }

    def unseal(self, numbers: Iterable[int]) -> None:
        """Remove the seals of blocks, as `InspectedStore.unseal` says."""
        files = [self._folder.file(self._files.seal_file(number)) for number in numbers]
        if not files:  # a store may have no seal yet, and no folder of seals
            return
        try:
            for file in files:
                file.unlink(missing_ok=True)
            sync([], self._path / "done" / "c")
        except OSError as error:
            raise StoreError(
                f"{self._path}: blocks cannot be sent back ({error}); make it writable"
            ) from error


def _swap(aside: Path, path: Path) -> None:
    """Replace an old store by a new one and remove the old one; a failure changes nothing."""
    old = aside.with_suffix(".old")
    os.rename(path, old)
    try:
        os.rename(aside, path)
    except OSError:
        os.rename(old, path)
        raise
    shutil.rmtree(old, ignore_errors=True)
