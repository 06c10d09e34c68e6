"""The ordered list of an image folder, its fingerprint, and decoding.

The image index, a position in this list, is the key of everything that a store holds.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torchvision.io  # noqa: F401  registers torch.ops.image
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


def decode(path: str) -> Tensor:
    """Decode one file to RGB, uint8 [3, H, W]; greyscale, palette, CMYK and alpha are converted.

    EXIF orientation is left alone, as torchvision's ImageFolder does. Raises `DecodeError`.
    """
    encoded = _read_jpeg(path) if _NATIVE else None
    if encoded is None:
        return _decode_with_pillow(path)
    try:
        pixels: Tensor = torch.ops.image.decode_jpeg(encoded, _RGB, False)
    except RuntimeError:
        # Pillow says in words what is wrong with the file; torchvision's messages name C++ files.
        return _decode_with_pillow(path)
    return pixels


def _read_jpeg(path: str) -> Tensor | None:
    """Return a JPEG file's bytes, or None where it is no JPEG or cannot be read.

    torchvision's own reader maps the file into memory, and each unmapping stops all threads.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            if file.read(3) != b"\xff\xd8\xff":
                return None
            file.seek(0)
            return torch.frombuffer(bytearray(file.readall()), dtype=torch.uint8)
    except OSError:
        return None


def _decode_with_pillow(path: str) -> Tensor:
    try:
        with Image.open(path, formats=_FORMATS) as file:
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
        raise DecodeError(path, _reason(path, error), first_line(error)) from error
    return torch.from_numpy(array).permute(2, 0, 1)


def check_dimensions(path: str, width: int, height: int) -> None:
    """Refuse an image whose pixels would not fit in memory, or whose sides would not fit in a box."""
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise DecodeError(path, "too large", f"{width}×{height} pixels")


def inspect(path: str) -> None:
    """Refuse, before it is decoded, a file that is missing, unreadable, empty or a decompression bomb."""
    try:
        with Image.open(path, formats=_FORMATS) as file:
            check_dimensions(path, *file.size)
    except DecodeError:
        raise
    except Exception as error:  # as above
        raise DecodeError(path, _reason(path, error), first_line(error)) from error


def _reason(path: str, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "missing"
    if isinstance(error, (Image.DecompressionBombError, MemoryError)):
        return "too large"
    try:
        with open(path, "rb") as file:
            return "damaged" if file.read(1) else "empty"
    except FileNotFoundError:
        return "missing"
    except OSError:
        return "unreadable"
