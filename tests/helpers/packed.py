"""Copies that `fkd pack` makes, and what is in them."""

from pathlib import Path

from fkd import PackConfig, pack_images


def pack(images, out, pixels=32, **changes):
    return pack_images(PackConfig(Path(images), Path(out), pixels=pixels, **changes))


def files(root):
    """Return the content of every file below a folder, hidden ones too, but for the settings."""
    found = {str(f.relative_to(root)): f.read_bytes() for f in root.rglob("*") if f.is_file()}
    found.pop("pack.json", None)
    return found
