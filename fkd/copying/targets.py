"""Where a carried store goes: a folder, a zip, a bucket. Each has all of it, or no store yet.

Objects are put one by one. `finish` puts the root's metadata, without which there is no store.
"""

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from fkd.config import Url
from fkd.copying.zip_writer import ZipWriter
from fkd.errors import StoreError, first_line
from fkd.files import Direct, Part, Patience, is_zip
from fkd.format import check_replaceable
from fkd.machine import held, sync, write_whole

ROOT = "zarr.json"
MARK = "being-copied.json"  # in a bucket, while a store is on its way there


class Target(Protocol):
    """Where objects are put, from any thread."""

    in_order: bool  # objects must come one after the other, in the order in which they will lie

    def has(self, key: str, num_bytes: int) -> bool:
        """Say whether an earlier run has put an object of so many bytes."""

    def put(self, key: str, content: bytes) -> None:
        """Put an object; raises `OSError`."""

    def finish(self, root: bytes, keys: Mapping[str, int]) -> None:
        """Put the root's metadata: the store of these objects, with their bytes, is there."""


@contextmanager
def target_at(out: Path | Url, identity: str, *, overwrite: bool) -> Iterator[Target]:
    """Yield where the store `identity` is put, for `out`; raises `StoreError` where that cannot be.

    What is at `out` stays until `finish`, or is refused.
    """
    if isinstance(out, Url):
        require_bucket(out)
        try:
            yield Bucket(out, identity, overwrite)
        except OSError as error:
            raise StoreError(f"{out} cannot be written ({first_line(error)})") from error
        return
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if is_zip(out):
            yield from _zip_target(out, overwrite)
        else:
            yield from _folder_target(out, identity, overwrite)
    except OSError as error:
        raise StoreError(f"{out} cannot be written ({first_line(error)})") from error


def require_bucket(out: Url) -> None:
    """Raise `StoreError` for an address that is for reading alone."""
    if out.partition(":")[0] not in ("s3", "gs"):
        raise StoreError(
            f"{out} cannot be written to; copy to an s3:// or gs:// address, or to a .zip that you "
            "upload by the tool of that place"
        )


def _folder_target(out: Path, identity: str, overwrite: bool) -> Iterator[Target]:
    if os.path.lexists(out):
        if not overwrite:
            raise StoreError(f"{out} is there already; give another name, or --overwrite")
        check_replaceable(out)
    # The store's identity is in the name: what another store's copy left is never taken for this one's.
    aside = out.with_name(f".{out.name}.{identity[:12]}.partial")
    aside.mkdir(exist_ok=True)
    busy = StoreError(f"another `fkd copy` is writing {out}; wait for it, or stop it first")
    with held(aside, busy, "fkd copy"):
        yield Aside(aside, out)


def _zip_target(out: Path, overwrite: bool) -> Iterator[Target]:
    if os.path.lexists(out) and not overwrite:
        raise StoreError(f"{out} is there already; give another name, or --overwrite")
    if os.path.lexists(out):
        check_replaceable(out)
    aside = out.with_name(f".{out.name}.partial")
    aside.touch()
    busy = StoreError(f"another `fkd copy` is writing {out}; wait for it, or stop it first")
    with held(aside, busy, "fkd copy"):
        try:
            with ZipWriter(aside) as archive:
                yield Zip(archive, aside, out)
        finally:
            aside.unlink(missing_ok=True)


class Aside:
    """A folder beside the one that it will be."""

    in_order = False

    def __init__(self, aside: Path, out: Path) -> None:
        """Put objects below `aside`, which becomes `out`."""
        self._aside, self._out = aside, out

    def has(self, key: str, num_bytes: int) -> bool:
        """Say whether an earlier run has put a file of so many bytes: files come whole."""
        try:
            return (self._aside / key).stat().st_size == num_bytes
        except OSError:
            return False

    def put(self, key: str, content: bytes) -> None:
        """Put a file."""
        path = self._aside / key
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)

    def finish(self, root: bytes, keys: Mapping[str, int]) -> None:
        """Remove what is no part of the store, and give the folder its name."""
        self.put(ROOT, root)
        for path in sorted(self._aside.rglob("*"), reverse=True):
            if not path.is_dir() and path.relative_to(self._aside).as_posix() not in keys:
                path.unlink()
        folders = [path for path in self._aside.rglob("*") if path.is_dir()]
        sync(folders, self._aside)
        if self._out.exists():
            old = self._out.with_name(f".{self._out.name}.{secrets.token_hex(4)}.old")
            self._out.rename(old)
            self._aside.rename(self._out)
            shutil.rmtree(old, ignore_errors=True)
        else:
            self._aside.rename(self._out)
        sync([], self._out.parent)


class Zip:
    """A zip archive, written beside the one that it will be."""

    in_order = True

    def __init__(self, archive: ZipWriter, aside: Path, out: Path) -> None:
        """Put members into `archive`, the file `aside`, which becomes `out`."""
        self._archive, self._aside, self._out = archive, aside, out

    def has(self, key: str, num_bytes: int) -> bool:
        """Return False: an archive is written in one go."""
        return False

    def put(self, key: str, content: bytes) -> None:
        """Add a member."""
        self._archive.add(key, content)

    def finish(self, root: bytes, keys: Mapping[str, int]) -> None:
        """Close the archive, and give it its name. The root's metadata is its first member."""
        self._archive.close()
        self._aside.replace(self._out)
        sync([], self._out.parent)


class Bucket:
    """A folder of a bucket."""

    in_order = False

    def __init__(self, out: Url, identity: str, overwrite: bool) -> None:
        """Look at what is there, and leave a mark by which a later run knows whose objects these are."""
        self._out, self._client = out, Direct(out, Patience())
        listed = self._client.listed()
        if listed is None:
            raise StoreError(f"{out} cannot be listed; allow that to whoever copies there")
        self._there = {key: facts.size for key, facts in listed.items()}
        if MARK in listed and self._marked() == identity:
            return
        if listed and not overwrite:
            raise StoreError(f"{out} holds objects already; give another name, or --overwrite")
        if listed and not {ROOT, MARK} & listed.keys():
            raise StoreError(f"--overwrite: {out} is not a label store, so it is left alone")
        self._mark("")  # of nobody: a run that is killed here is not gone on with
        self._client.delete([ROOT] * (ROOT in listed))
        self._client.delete([key for key in listed if key not in (ROOT, MARK)])
        self._there = {}
        self._mark(identity)

    def _mark(self, identity: str) -> None:
        self._client.put(MARK, json.dumps({"sha256": identity}).encode())

    def _marked(self) -> Any:
        (got,) = self._client.parts([Part(MARK, 0, None)])
        if isinstance(got, OSError):
            raise StoreError(str(got))
        try:
            return json.loads(got[0])["sha256"]
        except (ValueError, LookupError, TypeError):
            return None

    def has(self, key: str, num_bytes: int) -> bool:
        """Say whether an earlier run has put an object of so many bytes: objects come whole."""
        return self._there.get(key) == num_bytes

    def put(self, key: str, content: bytes) -> None:
        """Put an object."""
        self._client.put(key, content)

    def finish(self, root: bytes, keys: Mapping[str, int]) -> None:
        """Put the root's metadata, and remove the mark and what is no part of the store."""
        self._client.put(ROOT, root)
        others = [key for key in self._there if key not in keys and key != MARK]
        self._client.delete([*others, MARK])
