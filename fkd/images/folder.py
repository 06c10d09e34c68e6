"""The ordered list of an image folder, and its fingerprint.

The image index, a position in this list, is the key of everything that a store holds.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fkd.errors import ImagesError
from fkd.progress import progress

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff")

# Stores keep file sizes in 32 bits; a larger size is kept as this.
MAX_NUM_BYTES = 2**32 - 1


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
            files = sorted(_walk(root / name, name))
        except OSError as error:
            raise ImagesError(f"class folder {root / name} cannot be read ({error})") from error
        if not files:
            raise ImagesError(
                f"class folder {root / name} holds no image ({', '.join(EXTENSIONS)}); "
                "add images or remove the folder"
            )
        paths += [path for path, _ in files]
        num_bytes += [size for _, size in files]
        targets += [target] * len(files)
    return ImageList(root, paths, np.array(targets), np.array(num_bytes), tuple(classes))


def _holds_images(root: Path) -> bool:
    return any(name.lower().endswith(EXTENSIONS) for name in os.listdir(root))


def _walk(folder: Path, prefix: str, above: tuple[Path, ...] = ()) -> list[tuple[str, int]]:
    """Return (path relative to the root, bytes) of every image below a class folder."""
    files: list[tuple[str, int]] = []
    resolved = folder.resolve()
    if resolved in above:
        raise OSError(f"the link {prefix} leads back to a folder that it lies in")
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                files += _walk(Path(entry.path), f"{prefix}/{entry.name}", (*above, resolved))
            elif entry.name.lower().endswith(EXTENSIONS) and _is_file(entry):
                files.append((f"{prefix}/{entry.name}", _size(entry)))
    return files


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a file, or a link that leads nowhere. Reading a pipe would never end."""
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


def changed_image(
    stored_paths: list[str], stored_bytes: NDArray[np.int64], images: ImageList
) -> str | None:
    """Name the first image that differs from the list that was labelled, or return None."""
    stored = zip(stored_paths, stored_bytes.tolist(), strict=True)
    sizes = np.minimum(images.num_bytes, MAX_NUM_BYTES).tolist()
    current = zip(images.paths, sizes, strict=True)
    for (path, size), (now_path, now_size) in zip(stored, current, strict=False):
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
