"""A store is carried, byte for byte: from and to a folder, a zip or a bucket.

What is carried is compared with its seals on the way. A run that was ended goes on where it stood, but
for a zip, which is written in one go. Until all is there, there is no store.
"""

import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tqdm import tqdm

from fkd.amounts import as_count
from fkd.config import Url, as_place
from fkd.copying.plan import Plan, SealedBlock, plan_of
from fkd.copying.targets import ROOT, Target, require_bucket, target_at
from fkd.errors import BlockError, StoreError, first_line
from fkd.files import Direct, Files, Patience, files_at, is_zip
from fkd.progress import note, progress_bar
from fkd.store import LabelStore

_BLOCKS_AT_ONCE = 4  # in memory; one of full labels has 256 MiB at most


@dataclass(frozen=True)
class CarryReport:
    """What was carried: objects and bytes of the whole, and those that this run sent of them.

    `pending_blocks` are unlabelled, and were left out.
    """

    num_objects: int
    num_bytes: int
    sent_objects: int
    sent_bytes: int
    pending_blocks: int


def carry_store(
    source: str | Path | Url, out: str | Path | Url, *, overwrite: bool = False
) -> CarryReport:
    """Copy a store byte for byte; both places may be a folder, a .zip or an address of either.

    With `overwrite` a store at `out` is replaced, once all of the new one is there; in a bucket it is
    removed first. Raises `StoreError` for a source that is damaged, and a place that cannot be written.
    """
    source, out = as_place("the store", source), as_place("the copy", out)
    _refuse_same(source, out)
    store = LabelStore.open(source)
    if isinstance(out, Url) and is_zip(out):
        return _zip_to_bucket(source, out, overwrite)
    files = files_at(source, kept=False)
    try:
        root = files.read(ROOT)
        plan = plan_of(store, files)
    except OSError as error:
        raise StoreError(f"{source} cannot be read ({first_line(error)})") from error
    pending = len(store.pending_blocks())
    if pending:
        note(f"{source} is unfinished: {as_count(pending, 'block')} of {store.num_blocks} left out")
    identity = hashlib.sha256(root).hexdigest()
    with target_at(out, identity, overwrite=overwrite) as target:
        sent = _carry(plan, files, target)
        target.finish(root, plan.sizes)
    num_bytes = sum(plan.sizes.values())
    return CarryReport(len(plan.sizes), num_bytes, *sent, pending)


def _refuse_same(source: Path | Url, out: Path | Url) -> None:
    if isinstance(source, Path) and isinstance(out, Path):
        real, other = out.resolve(), source.resolve()
        if real == other or other in real.parents or real in other.parents:
            raise StoreError(
                f"{out} is {source}, or in it, or around it; give the copy another place"
            )
    elif str(source) == str(out):
        raise StoreError(f"{out} is the store itself; give the copy another place")


def _zip_to_bucket(source: Path | Url, out: Url, overwrite: bool) -> CarryReport:
    """Write the archive to this machine's temporary folder, and send it when it is whole."""
    require_bucket(out)
    client = Direct(out.parent, Patience())
    (there,) = client.facts([out.name])
    if not isinstance(there, OSError) and not overwrite:
        raise StoreError(f"{out} is there already; give another name, or --overwrite")
    with TemporaryDirectory(prefix="fkd-") as folder:
        archive = Path(folder, out.name)
        report = carry_store(source, archive)
        try:
            client.put(out.name, archive)
        except OSError as error:
            raise StoreError(f"{out} cannot be written ({first_line(error)})") from error
    return report


def _carry(plan: Plan, files: Files, target: Target) -> tuple[int, int]:
    """Send what is not there yet; return how many objects and bytes that were."""
    todo = {key for key, size in plan.sizes.items() if key == ROOT or not target.has(key, size)}
    total = sum(plan.sizes.values())
    done = total - sum(plan.sizes[key] for key in todo)
    sent = len(todo), total - done
    with progress_bar("copy", unit="byte", total=total, initial=done) as bar:
        if target.in_order:
            _carry_in_order(plan, files, target, bar)
            return sent
        for key in plan.whole:
            if key in todo and key != ROOT:
                target.put(key, _read(files, key))
                bar.update(plan.sizes[key])
        blocks = [b for b in plan.blocks if not todo.isdisjoint((*b.shards, b.seal_key))]
        with ThreadPoolExecutor(_BLOCKS_AT_ONCE, "fkd-copy") as pool:
            work = partial(_carry_block, files=files, target=target, todo=todo)
            try:
                for keys in pool.map(work, blocks):
                    bar.update(sum(plan.sizes[key] for key in keys))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        bar.update(plan.sizes[ROOT])  # which comes last
    return sent


def _carry_block(block: SealedBlock, files: Files, target: Target, todo: set[str]) -> list[str]:
    """Send a block once it is what was sealed, its seal last; return the keys that were sent."""
    contents, digest = {}, hashlib.sha256()
    for key in block.shards:
        contents[key] = _read(files, key)
        digest.update(contents[key])
    _require_seal(files, block, digest.digest())
    contents[block.seal_key] = _read(files, block.seal_key)
    keys = [key for key in contents if key in todo]
    for key in keys:
        target.put(key, contents[key])
    return keys


def _carry_in_order(plan: Plan, files: Files, target: Target, bar: "tqdm[object]") -> None:
    """Send what is small first, then the shards of blocks, array by array: as a reader will want them.

    All blocks are compared with their seals before the target is finished.
    """
    small = [key for block in plan.blocks for key in block.shards if key in block.small]
    held = {}  # until the block's seal is compared, which is over all arrays in their order
    for key in (*plan.whole, *(block.seal_key for block in plan.blocks), *small):
        content = held[key] = _read(files, key)
        target.put(key, content)
        bar.update(len(content))
    sealed = {block.number: _Sealing(block, held) for block in plan.blocks}
    for block, key in _by_array(plan.blocks):
        content = _read(files, key)
        sealed[block.number].add(content)
        target.put(key, content)
        bar.update(len(content))
    for block in plan.blocks:
        _require_seal(files, block, sealed[block.number].digest())


class _Sealing:
    """The SHA-256 over the files of a block, of which the small ones are `held` already."""

    def __init__(self, block: SealedBlock, held: dict[str, bytes]) -> None:
        self._digest, self._held = hashlib.sha256(), held
        self._rest = deque((key, key in block.small) for key in block.shards)

    def add(self, content: bytes) -> None:
        """Take the next file that is not small."""
        self._take_small()
        self._rest.popleft()
        self._digest.update(content)

    def digest(self) -> bytes:
        """Return the digest over all files."""
        self._take_small()
        return self._digest.digest()

    def _take_small(self) -> None:
        while self._rest and self._rest[0][1]:
            self._digest.update(self._held[self._rest.popleft()[0]])


def _by_array(blocks: list[SealedBlock]) -> Iterator[tuple[SealedBlock, str]]:
    """Yield what is not small of all blocks: array by array."""
    for place in range(max((len(block.shards) for block in blocks), default=0)):
        for block in blocks:
            if place < len(block.shards) and block.shards[place] not in block.small:
                yield block, block.shards[place]


def _read(files: Files, key: str) -> bytes:
    flaw = files.flaw(key)
    if flaw is not None:
        raise StoreError(f"{files.where}: {flaw}")
    try:
        return files.read(key)
    except OSError as error:
        raise StoreError(f"{files.where}: {key} cannot be read ({first_line(error)})") from error


def _require_seal(files: Files, block: SealedBlock, digest: bytes) -> None:
    if digest != block.seal:
        what = "its files are not those that were sealed"
        raise BlockError(files.where, block.number, what)
