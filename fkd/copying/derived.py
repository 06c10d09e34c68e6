"""The store that is made of others: begun, or gone on with, and filled block by block."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkd.config import Scheme
from fkd.copying.report import spec_words
from fkd.errors import StoreError
from fkd.format import StoreSpec, check_replaceable, plan_layout, require_store
from fkd.images import ImageList, Keys, fingerprint
from fkd.labels import KeptLabels
from fkd.machine import held
from fkd.progress import progress_bar
from fkd.store import Block, LabelStore
from fkd.vectors import Constants


@dataclass(frozen=True)
class Derived:
    """What a store that is made of others will be: `command` makes it at `out`.

    `targets` int64 [N] are None where the images have no classes. `constants` are what the schemes of its
    vectors have learned. With `overwrite`, a store that is there is replaced.
    """

    command: str
    out: Path
    spec: StoreSpec
    images: ImageList
    targets: NDArray[np.int64] | None
    class_names: tuple[str, ...]
    class_titles: tuple[str, ...]
    constants: Mapping[str, Constants]
    overwrite: bool

    @classmethod
    def of(
        cls,
        command: str,
        out: Path,
        first: LabelStore,
        paths: Keys,
        num_bytes: NDArray[np.int64],
        class_ids: NDArray[np.int64] | None,
        *,
        overwrite: bool,
        each_block: int | None,
        **changes: Any,
    ) -> "Derived":
        """Plan a store of these images, like the store `first` but for `changes` of its attributes.

        `class_ids` int64 [N] are the classes of its images; among `changes`, `targets` are the vectors of
        `first` that it has. Its blocks have `each_block` images, or as many as usual. Raises `StoreError`
        where images are mixed with those that were labelled at once with them, which the new store would
        not know.
        """
        if first.spec.views.mix.mixes and sum(not s.spec.first_crop for s in first.segments) > 1:
            raise StoreError(
                f"{first.path} has grown, and its images are mixed with those that were labelled at once "
                f"with them, so that `{command}` cannot make it anew; `fkd copy` copies it as it is"
            )
        blank = {"block_images": 0, "chunk_crops": 0, "num_images": len(paths)}
        blank |= {"format_version": 1 if first.content_hashes() is None else 3}
        identity = fingerprint(paths, num_bytes)
        spec = replace(first.spec, **{**blank, "fingerprint": identity, **changes})
        spec = plan_layout(spec, each_block)
        root = Path(spec.images_root)
        classes = first.class_names()
        own = np.full(len(paths), -1) if class_ids is None else class_ids
        images = ImageList(root, paths, own, num_bytes, () if class_ids is None else classes)
        titles = first.class_titles() if first.spec.class_title_bytes else ()
        constants = {record.name: first.vectors(record.name).constants for record in spec.targets}
        return cls(command, out, spec, images, class_ids, classes, titles, constants, overwrite)

    def words(self) -> str:
        """Say in one line what it will have."""
        return f"{self.out}: {spec_words(self.spec)}"

    def create(self, *, overwrite: bool = False) -> None:
        """Make the empty store."""
        names, titles = self.class_names, self.class_titles
        LabelStore.create(
            *(self.out, self.spec, self.images, self.targets, names),
            class_titles=titles,
            constants=self.constants,
            overwrite=overwrite,
        )

    def alone(self) -> AbstractContextManager[None]:
        """Keep other runs away from the store."""
        busy = StoreError(f"another run is at work on {self.out}; wait for it or stop it")
        return held(self.out / "zarr.json", busy, self.command)


def block_images(source: LabelStore, scheme: Scheme, without: Sequence[str] = ()) -> int | None:
    """Return how many images a block has, as in the source; None is as many as usual.

    Blocks of dense labels and of vectors have few images, so as to fit in memory; others need not be as
    short.
    """
    dense = KeptLabels(scheme, source.spec.num_classes).keeps_all
    alike = dense == source.spec.labels.keeps_all and not without
    return source.spec.block_images if alike else None


def fill(derived: Derived, block_of: Callable[[range, Block], Block], workers: int) -> LabelStore:
    """Make the store, or go on with it: `block_of` fills an empty block of some images.

    Several threads do so at once, each with a block of its own.
    """
    with _ready(derived) as store:
        pending = store.pending_blocks()
        places = [store.block(number) for number in range(store.num_blocks)]
        todo = sum(places[number].num_labels for number in pending)
        total = sum(place.num_labels for place in places)

        def make(number: int) -> int:
            place = places[number]
            store.commit_block(number, block_of(place.images, store.empty_block(number)))
            return place.num_labels

        what = derived.command.removeprefix("fkd ")
        pool = ThreadPoolExecutor(workers, thread_name_prefix=f"fkd-{what}")
        try:
            with progress_bar(what, unit="crop", total=total, initial=total - todo, delay=1) as bar:
                for count in pool.map(make, pending):
                    bar.update(count)
        finally:
            pool.shutdown(cancel_futures=True)
    return LabelStore.open(derived.out)


@contextmanager
def _ready(derived: Derived) -> Iterator[LabelStore]:
    """Begin the store or go on with it, and keep other runs away from it."""
    if not os.path.lexists(derived.out):
        derived.create()
    elif derived.overwrite:
        check_replaceable(derived.out)
        with derived.alone():
            derived.create(overwrite=True)
    require_store(derived.out)
    with derived.alone():
        store = LabelStore.open(derived.out, writable=True)
        store.require_lists()
        _refuse_another(derived, store)
        yield store


def _refuse_another(derived: Derived, store: LabelStore) -> None:
    """Raise `StoreError` where another store is at the place than the one that is to be made."""
    made, wanted = _comparable(store.spec), _comparable(derived.spec)
    if made == wanted:
        return
    difference = store.spec.first_difference(derived.spec)
    if difference is None and made.fingerprint != wanted.fingerprint:
        difference = "its images are others"
    if difference is None and made.weights != wanted.weights:
        difference = "its teachers have other weights"
    raise StoreError(
        f"{derived.out} is there, and is not what `{derived.command}` makes of these stores: "
        f"{difference or 'it was made of other ones'}; name another place, or start anew with --overwrite"
    )


def _comparable(spec: StoreSpec) -> StoreSpec:
    """Return a spec without what is set when the files are made."""
    return replace(spec, path_bytes=0, class_name_bytes=0, class_title_bytes=0)
