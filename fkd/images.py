"""The ordered list of an image folder, its fingerprint, and decoding.

The image index, a position in this list, is the key of everything that a store holds.
"""

import hashlib
import os
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
import torchvision.io  # noqa: F401  registers torch.ops.image
import xxhash
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fkd.crops import MAX_SIDE
from fkd.errors import DecodeError, ImagesError, first_line
from fkd.progress import progress

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff")

# Pillow knows dozens of formats, some of which start other programs.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "PPM", "TIFF")

# Why an image has no labels. The position is the code in a store's `status`; 0 is a labelled image.
REASONS = ("labelled", "missing", "unreadable", "empty", "damaged", "too large")

# JPEG goes to torchvision's operators, without their Python wrappers: those warn at each call since
# 0.29, because the operators will move to another package. Where there are none Pillow decodes JPEG
# too, to the same pixels (both are libjpeg-turbo inside), up to a third slower. All other formats go to
# Pillow: torchvision's PNG decoder ends the process on a damaged file.
_NATIVE = hasattr(torch.ops.image, "decode_jpeg") and hasattr(torch.ops.image, "read_file")
_RGB = 3

# File sizes are kept in 32 bits, and larger ones as this.
MAX_NUM_BYTES = 2**32 - 1

_MAX_FILE_BYTES = 2**31

# Above this a decoded image alone takes half a gigabyte; Pillow calls such files decompression bombs.
MAX_PIXELS = 178_956_970


@dataclass(frozen=True)
class ImageList:
    """The images below `root`, one folder per class, in the order that gives them their index.

    `paths` are relative to `root`, with forward slashes; `targets` int64 [N] index `classes`;
    `num_bytes` int64 [N] are file sizes.
    """

    root: Path
    paths: list[str]
    targets: NDArray[np.int64]
    num_bytes: NDArray[np.int64]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def file(self, image_index: int) -> str:
        """Return the path of one image, joined to the root."""
        return os.path.join(self.root, self.paths[image_index])


def dataset_root(folder: Path) -> Path:
    """Return the folder that holds the class folders: `folder/train` where it exists, else `folder`."""
    folder = Path(os.path.abspath(folder))
    return folder / "train" if os.path.isdir(folder / "train") else folder


def val_folder(root: Path) -> Path | None:
    """Return the `val` folder beside a `train` root, if there is one."""
    val = root.parent / "val"
    return val if root.name == "train" and val.is_dir() else None


def list_images(root: Path) -> ImageList:
    """List an image folder (ImageFolder layout: one folder per class), sorted, with file sizes."""
    if not os.path.isdir(root):
        what = "is not a folder" if os.path.exists(root) else "does not exist or cannot be reached"
        raise ImagesError(f"image folder {root} {what}; give a folder with one subfolder per class")
    try:
        names = os.listdir(root)
    except OSError as error:
        raise ImagesError(f"image folder {root} cannot be read ({error})") from error
    classes = sorted(n for n in names if not n.startswith(".") and (root / n).is_dir())
    if not classes:
        hint = "it holds images but no class folders" if _holds_images(root) else "it is empty"
        raise ImagesError(
            f"image folder {root} has no classes: {hint}; make one subfolder per class"
        )
    paths: list[str] = []
    num_bytes: list[int] = []
    targets: list[int] = []
    for target, name in enumerate(progress(classes, "list images", unit="class", delay=1)):
        try:
            found = sorted(_walk(root / name, name))
        except OSError as error:
            raise ImagesError(f"class folder {root / name} cannot be read ({error})") from error
        if not found:
            raise ImagesError(
                f"class folder {root / name} holds no image ({', '.join(EXTENSIONS)}); "
                "add images or remove the folder"
            )
        paths += [path for path, _ in found]
        num_bytes += [size for _, size in found]
        targets += [target] * len(found)
    return ImageList(root, paths, np.array(targets), np.array(num_bytes), tuple(classes))


def _holds_images(root: Path) -> bool:
    return any(name.lower().endswith(EXTENSIONS) for name in os.listdir(root))


def _walk(folder: Path, prefix: str, above: tuple[Path, ...] = ()) -> list[tuple[str, int]]:
    """Return (path relative to the root, bytes) of every image below a class folder."""
    found: list[tuple[str, int]] = []
    real = folder.resolve()
    if real in above:
        raise OSError(f"the link {prefix} leads back to a folder that it lies in")
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                found += _walk(Path(entry.path), f"{prefix}/{entry.name}", (*above, real))
            elif entry.name.lower().endswith(EXTENSIONS) and _is_file(entry):
                found.append((f"{prefix}/{entry.name}", _size(entry)))
    return found


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Say whether an entry is a file, or a link that leads nowhere; a pipe would wait for ever."""
    return entry.is_file() or entry.is_symlink()


def _size(entry: os.DirEntry[str]) -> int:
    """Return the file's size, 0 for a link that leads nowhere: decoding says later what is wrong."""
    try:
        return entry.stat().st_size
    except OSError:
        return 0


def fingerprint(paths: list[str], num_bytes: NDArray[np.int64]) -> str:
    """Return a SHA-256 over the ordered relative paths and file sizes: the identity of the images."""
    digest = hashlib.sha256()
    for path, size in zip(paths, num_bytes.tolist(), strict=True):
        digest.update(f"{path}\0{size}\n".encode("utf-8", "surrogateescape"))
    return "sha256:" + digest.hexdigest()


def first_difference(
    stored_paths: list[str], stored_bytes: NDArray[np.int64], images: ImageList
) -> str | None:
    """Say where a folder first differs from the list that was labelled, or None where it does not."""
    stored = zip(stored_paths, stored_bytes.tolist(), strict=True)
    sizes = np.minimum(images.num_bytes, MAX_NUM_BYTES).tolist()
    found = zip(images.paths, sizes, strict=True)
    for (path, size), (now_path, now_size) in zip(stored, found, strict=False):
        if path != now_path:
            missing = _order(path) < _order(now_path)
            return f"{path} is missing" if missing else f"{now_path} is new"
        if size != now_size:
            return f"{path} has {now_size} bytes, {size} when it was labelled"
    if len(stored_paths) > len(images):
        return f"{stored_paths[len(images)]} is missing"
    if len(stored_paths) < len(images):
        return f"{images.paths[len(stored_paths)]} is new"
    return None


def _order(path: str) -> tuple[str, str]:
    """Return the key by which a list is sorted: the class first, then the whole path."""
    return path.split("/", 1)[0], path


def read_file(path: str) -> bytearray:
    """Return the bytes of an image file; raises `DecodeError` where there are none, or far too many.

    torchvision's own reader maps the file into memory, and each unmapping stops all threads.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size > _MAX_FILE_BYTES:
                raise DecodeError(path, "too large", f"{size:,} bytes")
            encoded = bytearray(file.readall())
    except OSError as error:
        reason = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
        raise DecodeError(path, reason, first_line(error)) from error
    if not encoded:
        raise DecodeError(path, "empty", "no bytes")
    return encoded


def content_hash(encoded: bytearray) -> int:
    """Return the hash by which a file's content is known again: XXH3 of 64 bits, never 0.

    It finds what happened, files that were swapped or made anew, at a hundredth of the cost of decoding.
    It is no proof against whoever means to deceive.
    """
    return xxhash.xxh3_64_intdigest(encoded) or 1


def decode(path: str, encoded: bytearray | None = None) -> Tensor:
    """Decode one file to RGB, uint8 [3, H, W]; greyscale, palette, CMYK and alpha are converted.

    `encoded` is its content, if it has been read. EXIF orientation is left alone, as torchvision's
    ImageFolder does. Raises `DecodeError`.
    """
    encoded = read_file(path) if encoded is None else encoded
    if not _NATIVE or encoded[:3] != b"\xff\xd8\xff":
        return _decode_with_pillow(path, encoded)
    try:
        content = torch.frombuffer(encoded, dtype=torch.uint8)
        pixels: Tensor = torch.ops.image.decode_jpeg(content, _RGB, False)
    except RuntimeError:
        # Pillow says in words what is wrong with the file; torchvision's messages name C++ files.
        return _decode_with_pillow(path, encoded)
    return pixels


def _decode_with_pillow(path: str, encoded: bytearray) -> Tensor:
    try:
        with Image.open(BytesIO(encoded), formats=_FORMATS) as file:
            check_dimensions(path, *file.size)
            if file.mode.startswith("I;16"):
                # Pillow would clip 16-bit grey at 255 instead of scaling it.
                grey = (np.array(file).astype(np.uint16) >> 8).astype(np.uint8)
                array = np.repeat(grey[..., None], 3, axis=2)
            else:
                array = np.array(file.convert("RGB"))
    except DecodeError:
        raise
    except Exception as error:  # a decoder raises whatever it likes on what a stranger wrote
        raise DecodeError(path, _reason(error), first_line(error)) from error
    return torch.from_numpy(array).permute(2, 0, 1)


def check_dimensions(path: str, width: int, height: int) -> None:
    """Refuse an image whose pixels would not fit in memory, or whose sides would not fit in a box."""
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise DecodeError(path, "too large", f"{width}×{height} pixels")


def inspect(path: str) -> bytearray:
    """Return a file's content; refuse one that is missing, empty or, when decoded, a bomb."""
    encoded = read_file(path)
    try:
        with Image.open(BytesIO(encoded), formats=_FORMATS) as file:
            check_dimensions(path, *file.size)
    except DecodeError:
        raise
    except Exception as error:  # as above
        raise DecodeError(path, _reason(error), first_line(error)) from error
    return encoded


def _reason(error: Exception) -> str:
    bomb = isinstance(error, (Image.DecompressionBombError, MemoryError))
    return "too large" if bomb else "damaged"
