"""The label store on disk (zarr v3): create, open, commit a block, read a slab of crops.

A block is absent or whole: its shards are written, synced and then sealed by a line in `done`, which
holds a hash over them. What is not sealed is never read, and what is read has passed a checksum.
"""

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkd import arrays as zarr_arrays
from fkd.arrays import sync
from fkd.errors import StoreError, first_line
from fkd.images import MAX_NUM_BYTES, ImageList
from fkd.layout import StoreSpec, array_layouts
from fkd.packing import pack_boxes, pack_codes, pack_ids, unpack_boxes, unpack_codes, unpack_ids
from fkd.slabs import Block, Slab

Array = NDArray[Any]

# Blocks that are read by one call: enough to spread zarr's fixed cost a call, few enough that what
# is decoded on the way to a slab (palettes above all) stays below 100 MB.
_BLOCKS_AT_ONCE = 8


class LabelStore:
    """An open label store. Build one with `LabelStore.open`, or `create` to label into it."""

    def __init__(self, path: Path, spec: StoreSpec, *, writable: bool) -> None:
        """Use `open` or `create`."""
        self.path = path
        self.spec = spec
        self._layouts = array_layouts(spec)
        self._arrays = zarr_arrays.open_arrays(path, self._layouts, writable=writable)
        self._sealed = self._read_seals()

    def __repr__(self) -> str:
        spec = self.spec
        return (
            f"LabelStore({str(self.path)!r}: {spec.num_images:,} images × {spec.num_crops} crops, "
            f"{spec.scheme}, {spec.num_classes:,} classes)"
        )

    # -- creating and opening -------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        path: Path,
        spec: StoreSpec,
        images: ImageList,
        targets: NDArray[np.int64],
        class_names: Sequence[str],
        *,
        overwrite: bool = False,
    ) -> "LabelStore":
        """Create an empty store beside `path` and rename it into place, so it is there whole or not.

        `targets` int64 [N] are class ids of the store, `class_names` their C names. With `overwrite`, it
        takes the place of the store that is there, which is removed after that.
        """
        aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
        texts = {"path": _to_text(images.paths), "class_name": _to_text(class_names)}
        spec = replace(
            spec, path_bytes=len(texts["path"]), class_name_bytes=len(texts["class_name"])
        )
        layouts = array_layouts(spec)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            arrays = zarr_arrays.create(aside, layouts, spec.signed())
            num_bytes = np.minimum(images.num_bytes, MAX_NUM_BYTES)
            known: dict[str, Array] = {**texts, "target": targets, "num_bytes": num_bytes}
            for name, values in known.items():
                arrays[name][:] = values.astype(layouts[name].dtype)
            sync(aside.rglob("*"), aside)
            if overwrite:
                _swap(aside, path)
            else:
                os.rename(aside, path)
            sync([], path.parent)
        except OSError as error:
            shutil.rmtree(aside, ignore_errors=True)
            raise StoreError(f"{path} cannot be created ({error})") from error
        return cls.open(path, writable=True)

    @classmethod
    def open(cls, path: str | Path, *, writable: bool = False) -> "LabelStore":
        """Open a store; raises `StoreError` where there is none or this fkd cannot read it."""
        path = Path(path)
        if not os.path.lexists(path):
            raise StoreError(f"label store {path} does not exist; make it with `fkd label`")
        spec = StoreSpec.from_signed(zarr_arrays.read_attributes(path), str(path))
        return cls(path, spec, writable=writable)

    # -- what it holds --------------------------------------------------------------------------

    def pending_blocks(self) -> list[int]:
        """Return the numbers of the blocks that are not labelled yet."""
        return np.flatnonzero(~self._sealed).tolist()

    def require_complete(self) -> None:
        """Raise `StoreError` unless every block is labelled."""
        pending = self.pending_blocks()
        if pending:
            raise StoreError(
                f"{self.path} is unfinished: {len(pending)} of {self.spec.num_blocks} blocks are not "
                "labelled; run the same `fkd label` command again to finish it"
            )

    def status(self) -> NDArray[np.uint8]:
        """Return the status of every image, u8 [N]; 0 is labelled (or not reached yet)."""
        status = np.zeros(self.spec.num_images, np.uint8)
        for number in np.flatnonzero(self._sealed).tolist():
            block = self.spec.block_range(number)
            where = slice(block.start, block.stop)
            status[where] = self._read("status", where)
        return status

    def num_bad(self) -> int:
        """Return how many images were found unusable so far."""
        return int(np.count_nonzero(self.status()))

    def labelled_images(self) -> NDArray[np.int64]:
        """Return the indices, int64, of all images of a complete store that have labels."""
        self.require_complete()
        return np.flatnonzero(self.status() == 0)

    def image_paths(self) -> list[str]:
        """Return the path of every image below the image folder, in index order."""
        return _from_text(self._whole("path"))

    def num_bytes(self) -> NDArray[np.int64]:
        """Return the file size of every image when it was listed, int64 [N]."""
        return self._whole("num_bytes").astype(np.int64)

    def class_names(self) -> tuple[str, ...]:
        """Return the C class names, in the order of the labels."""
        return tuple(_from_text(self._whole("class_name")))

    def stored_bytes(self) -> dict[str, int]:
        """Return the bytes on disk by array, and of all other files as "metadata"."""
        sizes = dict.fromkeys([*self._arrays, "metadata"], 0)
        for file in self.path.rglob("*"):
            if file.is_file():
                array = file.relative_to(self.path).parts[0]
                is_data = array in sizes and file.name != "zarr.json"
                sizes[array if is_data else "metadata"] += file.stat().st_size
        return sizes

    # -- writing --------------------------------------------------------------------------------

    def commit_block(self, number: int, block: Block) -> None:
        """Write a block's shards, sync them, and only then seal it as done."""
        where = self.spec.block_range(number)
        arrays = self._pack(block)
        try:
            # What a power cut left of an earlier try may be torn, and zarr would read it first.
            for shard in self._shards(number).values():
                shard.unlink(missing_ok=True)
            for name, values in arrays.items():
                self._arrays[name][where.start : where.stop] = values
            sync(self._shards(number).values(), self.path)
            self._arrays["done"][number] = np.frombuffer(self._seal(number), np.uint8)
            sync([self.path / "done" / "c" / str(number) / "0"], self.path)
        except OSError as error:
            raise StoreError(
                f"{self.path}: block {number} could not be written ({error}); finished blocks are "
                "kept, run the same command again to go on"
            ) from error
        self._sealed[number] = True

    def _pack(self, block: Block) -> dict[str, Array]:
        """Return what is written of a block, by array."""
        arrays = {
            "box": pack_boxes(block.box, block.size),
            "flip": block.flip,
            "size": block.size,
            "status": block.status,
        }
        for name, values in block.kept.items():
            if name == "index":
                palette = self._arrays["palette"]
                index = values.astype(palette.dtype)
                arrays["palette"], arrays["slot"] = pack_ids(index, palette.shape[1])
            else:
                arrays[name] = pack_codes(values) if name == "code" else values
        return arrays

    def _seal(self, number: int) -> bytes:
        digest = hashlib.sha256()
        for shard in self._shards(number).values():
            digest.update(shard.read_bytes())
        return digest.digest()

    def _shards(self, number: int) -> dict[str, Path]:
        """Return the file of every array that has one object per block."""
        return {
            name: self.path.joinpath(name, "c", str(number), *["0"] * (len(layout.shape) - 1))
            for name, layout in self._layouts.items()
            if layout.by_block
        }

    # -- reading --------------------------------------------------------------------------------

    def read_crops(self, slots: Sequence[int]) -> Slab:
        """Read the crops `slots` (rising by one, wrapping at M) of all images: a pass's slab."""
        self.require_complete()
        wraps = [n for n in range(1, len(slots)) if slots[n] < slots[n - 1]]
        bounds = zip([0, *wraps], [*wraps, len(slots)], strict=True)
        runs = [slice(slots[a], slots[b - 1] + 1) for a, b in bounds]
        blocks = range(self.spec.num_blocks)
        return Slab.concatenate([self._read_run(blocks, run) for run in runs], axis=1)

    def read_block(self, number: int) -> Slab:
        """Read all crops of one block."""
        if not self._sealed[number]:
            raise StoreError(
                f"{self.path}: block {number} is not labelled; run `fkd label` to go on"
            )
        return self._read_run(range(number, number + 1), slice(0, self.spec.num_crops))

    def _read_run(self, blocks: range, crops: slice) -> Slab:
        parts = [blocks[n : n + _BLOCKS_AT_ONCE] for n in range(0, len(blocks), _BLOCKS_AT_ONCE)]
        return Slab.concatenate([self._read_part(part, crops) for part in parts])

    def _read_part(self, blocks: range, crops: slice) -> Slab:
        images = slice(
            self.spec.block_range(blocks[0]).start, self.spec.block_range(blocks[-1]).stop
        )
        kept: dict[str, Array] = {}
        if self.spec.scheme.kind == "full":
            kept["log_prob"] = self._read("log_prob", images, crops)
        else:
            slot = self._read("slot", images, crops)
            used = slice(0, int(slot.max()) + 1)
            kept["index"] = unpack_ids(self._read("palette", images, used), slot)
        if "code" in self._arrays:
            kept["code"] = unpack_codes(self._read("code", images, crops))
        size = self._read("size", images)
        return Slab(
            unpack_boxes(self._read("box", images, crops), size),
            self._read("flip", images, crops),
            size,
            self._read("target", images).astype(np.int64),
            kept,
        )

    def _whole(self, name: str) -> Array:
        return self._read(name, slice(None))

    def _read(self, name: str, *selection: slice) -> Array:
        """Read part of an array; a damaged or missing object is an error that names its block."""
        self._require_shards(name, selection[0])
        try:
            return np.asarray(self._arrays[name][selection])
        except Exception as error:  # codecs raise whatever they like on damaged bytes
            raise StoreError(self._name_damage(name, selection, error)) from error

    def _require_shards(self, name: str, images: slice) -> None:
        """Refuse to read absent or empty objects, which zarr would fill with zeros."""
        if not self._layouts[name].by_block:
            whole = self.path / name / "c" / "0"
            if name != "done" and not (whole.is_file() and whole.stat().st_size):
                raise StoreError(
                    f"{self.path} has lost its '{name}' ({whole} is missing or empty); "
                    "restore the file or label anew"
                )
            return
        first, stop, _ = images.indices(self.spec.num_images)
        for number in range(first // self.spec.block_images, -(-stop // self.spec.block_images)):
            shard = self._shards(number)[name]
            if self._sealed[number] and not (shard.is_file() and shard.stat().st_size):
                raise StoreError(
                    f"{self.path}: block {number} has lost its '{name}' ({shard} is missing or empty); "
                    "restore the file or label anew"
                )

    def _name_damage(self, name: str, selection: tuple[slice, ...], error: Exception) -> str:
        """Find the block that cannot be read, for the message."""
        where = f"array '{name}'"
        for number in range(self.spec.num_blocks) if self._layouts[name].by_block else ():
            block = self.spec.block_range(number)
            try:
                self._arrays[name][(slice(block.start, block.stop), *selection[1:])]
            except Exception:  # as above
                where = f"block {number}, array '{name}'"
                break
        return (
            f"{self.path}: {where} is damaged ({first_line(error)}); restore the file or label anew"
        )

    def _read_seals(self) -> NDArray[np.bool_]:
        """Return which blocks are done, bool; a seal that a power cut tore is none."""
        torn = [
            number
            for number in range(self.spec.num_blocks)
            if (file := self.path / "done" / "c" / str(number) / "0").is_file()
            and file.stat().st_size == 0
        ]
        if not torn:
            return np.asarray(self._read("done", slice(None)).any(axis=1))
        whole = [number for number in range(self.spec.num_blocks) if number not in torn]
        done = np.zeros(self.spec.num_blocks, np.bool_)
        for number in whole:
            done[number] = self._read("done", slice(number, number + 1)).any()
        return done


def _to_text(names: Iterable[str]) -> NDArray[np.uint8]:
    """Encode names as UTF-8, each ended by a zero byte."""
    text = "".join(f"{name}\0" for name in names)
    return np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8)


def _from_text(text: NDArray[np.uint8]) -> list[str]:
    return text.tobytes().decode("utf-8", "surrogateescape").split("\0")[:-1]


def _swap(aside: Path, path: Path) -> None:
    """Put a new store in the place of an old one, and remove that; if it cannot be, nothing changes."""
    old = aside.with_suffix(".old")
    os.rename(path, old)
    try:
        os.rename(aside, path)
    except OSError:
        os.rename(old, path)
        raise
    shutil.rmtree(old, ignore_errors=True)
