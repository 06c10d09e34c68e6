"""`fkd pack`: copy an image folder with large images made smaller, so that training decodes less."""

import io
import os
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch import Tensor

from fkd.config import MAX_BOUND, PackConfig, as_config
from fkd.errors import DecodeError, ImagesError
from fkd.images import ImageList, decode, inspect
from fkd.packing.packed_folder import alone, prepare, refuse_overlap, size_of_copy, write_copy
from fkd.progress import progress_bar
from fkd.sources import dataset_root, list_images, val_folder

_JPEG = (".jpg", ".jpeg")


@dataclass(frozen=True)
class PackReport:
    """What a run did: how many images it made smaller, copied, and found from an earlier run.

    `bad` has (path, reason) of each image that this run looked at and could not decode.
    The bytes are those of all images, before and after, whichever run packed them.
    """

    packed: int
    copied: int
    found: int
    bad: tuple[tuple[str, str], ...]
    bytes_before: int
    bytes_after: int


def pack_images(config: PackConfig) -> PackReport:
    """Copy an image folder to `config.out` with large images made smaller, or go on with a copy.

    The layout stays: `train` and `val`, or the class folders alone. Raises `FkdError` for bad input,
    before anything is written.
    """
    as_config(config, PackConfig)
    splits = _splits(config)
    prepare(config)
    with alone(config.out):
        return _pack(config, splits)


@dataclass(frozen=True)
class _Split:
    """The images of one root, and the folder where their copies go."""

    images: ImageList
    out: Path

    def names(self, index: int) -> tuple[str, str]:
        """Return where an image goes when it is copied as it is, and when it is made smaller."""
        kept = os.path.join(self.out, self.images.paths[index])
        return kept, kept if kept.lower().endswith(_JPEG) else kept + ".jpg"

    def refuse_equal_names(self) -> None:
        paths = set(self.images.paths)
        for path in self.images.paths:
            if not path.lower().endswith(_JPEG) and path + ".jpg" in paths:
                raise ImagesError(
                    f"{self.images.root}: {path}, made smaller, would be named as {path}.jpg is; "
                    "rename one of the two"
                )


@dataclass(frozen=True)
class _Outcome:
    """What became of one image: the size of its copy, and why it is bad."""

    num_bytes: int
    packed: bool = False
    bad: tuple[str, str] | None = None


def _splits(config: PackConfig) -> list[_Split]:
    """List the images of every root; refuse folders that overlap and names that would collide."""
    root = dataset_root(config.images)
    whole = root == Path(os.path.abspath(config.images))  # not a train folder in it
    val = None if whole else val_folder(root)
    roots = [root] if val is None else [root, val]
    for folder in (config.images, *roots):
        refuse_overlap(folder, config.out)
    splits = [_Split(list_images(r), config.out if whole else config.out / r.name) for r in roots]
    for split in splits:
        split.refuse_equal_names()
    return splits


def _pack(config: PackConfig, splits: list[_Split]) -> PackReport:
    """Pack the images that have no copy yet, in threads, and add up the outcomes."""
    todo: list[tuple[_Split, int]] = []
    earlier_sizes: list[int] = []
    for split in splits:
        for index in range(len(split.images)):
            size = size_of_copy(split.names(index))
            if size:
                earlier_sizes.append(size)
            else:
                todo.append((split, index))
    total = len(todo) + len(earlier_sizes)
    outcomes: list[_Outcome] = []
    with progress_bar("pack", unit="image", total=total, initial=len(earlier_sizes)) as bar:
        for outcome in _in_threads(config, todo):
            outcomes.append(outcome)
            bar.update()
    packed = sum(outcome.packed for outcome in outcomes)
    bad = tuple(outcome.bad for outcome in outcomes if outcome.bad)
    return PackReport(
        packed=packed,
        copied=len(outcomes) - packed - len(bad),
        found=len(earlier_sizes),
        bad=bad,
        bytes_before=sum(int(split.images.num_bytes.sum()) for split in splits),
        bytes_after=sum(earlier_sizes) + sum(outcome.num_bytes for outcome in outcomes),
    )


def _in_threads(config: PackConfig, todo: list[tuple[_Split, int]]) -> Iterator[_Outcome]:
    """Yield outcomes as they come, with a few images a thread under way."""
    pool = ThreadPoolExecutor(config.workers, thread_name_prefix="fkd-pack")
    under_way: set[Future[_Outcome]] = set()
    try:
        for split, index in todo:
            if len(under_way) >= 4 * config.workers:
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
            under_way.add(pool.submit(_pack_one, config, split, index))
        yield from (future.result() for future in as_completed(under_way))
    finally:
        pool.shutdown(cancel_futures=True)


def _pack_one(config: PackConfig, split: _Split, index: int) -> _Outcome:
    """Write one image smaller. One that is within the bound, or cannot be decoded, is copied."""
    source = split.images.name(index)
    kept, smaller = split.names(index)
    try:
        encoded = split.images.read(index)
        inspect(source, encoded)
        pixels = decode(source, encoded)
    except DecodeError as error:
        return _Outcome(_copy(source, kept), bad=(source, error.reason))
    size = _size_within(config, *pixels.shape[1:])
    if size is None:
        return _Outcome(_copy(source, kept))
    return _Outcome(write_copy(smaller, _encode(pixels, size, config.quality)), packed=True)


def _size_within(config: PackConfig, height: int, width: int) -> tuple[int, int] | None:
    """Return the (width, height) that meets the bound, None where the image meets it already."""
    bounded = min(height, width) if config.bound == "shortest" else max(height, width)
    if bounded <= config.pixels:
        return None
    width, height = (round(side * config.pixels / bounded) for side in (width, height))
    return min(max(1, width), MAX_BOUND), min(max(1, height), MAX_BOUND)


def _encode(pixels: Tensor, size: tuple[int, int], quality: int) -> bytes:
    """Return uint8 [3, H, W] as a JPEG file of `size` (width, height)."""
    image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=None)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling="4:2:0", optimize=True)
    return file.getvalue()


def _copy(source: str, target: str) -> int:
    """Copy a file and return its size; one that cannot be read is left out."""
    try:
        content = Path(source).read_bytes()
    except OSError:
        return 0
    return write_copy(target, content)
