"""Images in a folder, with a subfolder for each class (the layout of torchvision's ImageFolder)."""

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fkd.amounts import as_count
from fkd.errors import ImagesError
from fkd.images import EXTENSIONS, UNLISTED, ImageList, Keys, key_order
from fkd.progress import note_lines, progress
from fkd.sources.kinds import what_is_in


def list_folder(root: Path) -> ImageList:
    """List an image folder (ImageFolder layout: one folder per class), sorted, with file sizes.

    Files that look like images, and are left out for their ending, are named on stderr.
    """
    classes = class_folders(root)
    paths: list[str] = []
    num_bytes: list[int] = []
    targets: list[int] = []
    left_out: Counter[str] = Counter()
    for target, name in enumerate(progress(classes, "list images", unit="class", delay=1)):
        others: Counter[str] = Counter()
        try:
            files = sorted(_walk(root / name, f"{name}/", others))
        except OSError as error:
            raise ImagesError(f"class folder {root / name} cannot be read ({error})") from error
        if not files:
            but = f" but {_counted(others)}" if others else ""
            raise ImagesError(
                f"class folder {root / name} holds no image ({', '.join(EXTENSIONS)}){but}; "
                "add images or remove the folder"
            )
        paths += [path for path, _ in files]
        num_bytes += [size for _, size in files]
        targets += [target] * len(files)
        left_out += others
    say_left_out(root, left_out)
    keys, sizes = Keys.of(paths), np.array(num_bytes)
    return ImageList(
        root,
        keys,
        np.array(targets),
        sizes,
        tuple(classes),
        left_out=dict(left_out.most_common()),
    )


def list_any_depth(root: Path) -> ImageList:
    """List the images of a folder at any depth, sorted by their keys, without classes."""
    require_folder(root, "images")
    left_out: Counter[str] = Counter()
    try:
        found = _walk(root, "", left_out)
    except OSError as error:
        raise ImagesError(f"image folder {root} cannot be read ({error})") from error
    if not found:
        but = f" but {_counted(left_out)}" if left_out else ""
        raise ImagesError(
            f"image folder {root} holds no image at any depth ({', '.join(EXTENSIONS)}){but}; name a "
            "folder of images"
        )
    found.sort(key=lambda file: key_order(file[0]))
    say_left_out(root, left_out)
    return ImageList(
        root,
        Keys.of(path for path, _ in found),
        np.full(len(found), -1),
        np.array([size for _, size in found]),
        (),
        left_out=dict(left_out.most_common()),
    )


def require_folder(root: Path, wanted: str) -> None:
    """Raise `ImagesError` where a folder, to give with what is `wanted` in it, is none."""
    if not os.path.isdir(root):
        if not os.path.exists(root) and root.suffix:
            raise ImagesError(f"{root} does not exist or cannot be reached; mend its name")
        what = "is not a folder" if os.path.exists(root) else "does not exist or cannot be reached"
        raise ImagesError(f"image folder {root} {what}; give a folder with {wanted}")
    if os.path.isfile(root / "zarr.json"):
        raise ImagesError(f"{root} is a label store, not images; give a folder with {wanted}")


def class_folders(root: Path) -> list[str]:
    """Return the names of an image folder's class folders, sorted; raises `ImagesError` without any."""
    require_folder(root, "one subfolder per class")
    try:
        names = os.listdir(root)
    except OSError as error:
        raise ImagesError(f"image folder {root} cannot be read ({error})") from error
    classes = sorted(n for n in names if not n.startswith(".") and (root / n).is_dir())
    if not classes:
        images = any(name.lower().endswith(EXTENSIONS) for name in names)
        hint = "it holds images but no class folders" if images else what_is_in(names)
        raise ImagesError(
            f"image folder {root} has no classes: {hint}; make one subfolder per class, or take images "
            "without classes with --unlabelled"
        )
    return classes


def _walk(
    folder: Path, prefix: str, left_out: Counter[str], above: tuple[Path, ...] = ()
) -> list[tuple[str, int]]:
    """Return (path, bytes) of every image below a folder; `prefix` begins each path. Count the rest."""
    files: list[tuple[str, int]] = []
    resolved = folder.resolve()
    if resolved in above:
        raise OSError(f"the link {prefix.rstrip('/')} leads back to a folder that it lies in")
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                within = Path(entry.path), f"{prefix}{entry.name}/"
                files += _walk(*within, left_out, (*above, resolved))
            elif not entry.name.lower().endswith(EXTENSIONS):
                left_out[os.path.splitext(entry.name)[1].lower() or "no ending"] += 1
            elif _is_file(entry):
                files.append((f"{prefix}{entry.name}", _size(entry)))
    return files


def say_left_out(root: Path, left_out: Mapping[str, int]) -> None:
    """Name the files that are left out and look like images; annotations may lie where they like."""
    images = Counter({ending: count for ending, count in left_out.items() if ending in UNLISTED})
    if images:
        what = f"{_counted(images)} in {root}: fkd takes no files of such names for images"
        note_lines([("left out", f"{what}; convert them, or name JPEG files .jpg")])


def _counted(left_out: Counter[str]) -> str:
    """Return "1,200 .avif, 3 .txt", the most frequent endings first."""
    named = [f"{count:,} {ending}" for ending, count in left_out.most_common(5)]
    rest = left_out.total() - sum(count for _, count in left_out.most_common(5))
    return ", ".join([*named, as_count(rest, "other file")] if rest else named)


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a file, or a link that leads nowhere. Reading a pipe would never end."""
    return entry.is_file() or entry.is_symlink()


def _size(entry: os.DirEntry[str]) -> int:
    """Return the file's size, 0 for a link that leads nowhere: decoding says later what is wrong."""
    try:
        return entry.stat().st_size
    except OSError:
        return 0
