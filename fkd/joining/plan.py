"""The store of teachers that join others: what it is of, and how it is made or gone on with."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from fkd.config import LabelConfig
from fkd.errors import StoreError
from fkd.format import (
    FORMAT_VERSION,
    StoreSpec,
    TeacherRecord,
    check_replaceable,
    library_versions,
    plan_layout,
)
from fkd.images import ImageList, fingerprint
from fkd.labelling import Ranks, locked, require_one_padding
from fkd.store import LabelStore
from fkd.teachers import Ensemble

_ALIKE = 1e-9  # shares that differ by less are equal


@dataclass(frozen=True)
class Joined:
    """A new store of the mean of the labels of `old` and of teachers that join, who have a `share` of it.

    `images` are those of the old store.
    """

    old: LabelStore
    images: ImageList
    share: float
    spec: StoreSpec

    def words(self) -> str:
        """Say who is joined, and what each teacher counts."""
        records = self.spec.teachers
        shares = self.spec.weights or [1 / len(records)] * len(records)
        each = [f"{r.name} {share:.3g}" for r, share in zip(records, shares, strict=True)]
        dropped = self.old.spec.scheme.deviation and not self.spec.scheme.deviation
        without = "; the mean keeps no deviation of logits" if dropped else ""
        return (
            f"{self.old.path}, labelled by {_names(self.old)}; shares: {', '.join(each)}{without}"
        )


def plan_joined(
    run: LabelConfig,
    old: LabelStore,
    images: ImageList,
    teachers: Ensemble,
    weight: float | None,
) -> Joined:
    """Plan the store of a run; `weight` is the share of those who join, None counts all alike."""
    before, new = len(old.spec.teachers), len(teachers.teachers)
    share = new / (before + new) if weight is None else weight
    shares = [(1 - share) * each for each in old.spec.weights or [1 / before] * before]
    shares += [share / new] * new
    records = tuple(
        TeacherRecord(t.name, t.weights_hash, t.outputs_hash, t.preprocessing)
        for t in teachers.teachers
    )
    # The time when the old store was made says which one that was, to a run that goes on.
    spec = replace(
        old.spec,
        block_images=0,
        chunk_crops=0,
        scheme=run.kept,
        teachers=(*old.spec.teachers, *records),
        weights=() if _are_alike(shares) else tuple(shares),
        made_by="average",
        images_root=str(images.root),
        fingerprint=fingerprint(images.paths, images.num_bytes),
        versions=library_versions(),
        format_version=FORMAT_VERSION,
    )
    require_one_padding(spec)
    return Joined(old, images, share, plan_layout(spec, run.block_images))


def _are_alike(shares: Sequence[float]) -> bool:
    return max(shares) - min(shares) < _ALIKE


@contextmanager
def held_joined(run: LabelConfig, ranks: Ranks, joined: Joined) -> Iterator[LabelStore]:
    """Make the store on the leading rank, or open it, and keep other labellers away from it."""
    if not ranks.leads:
        ranks.once("created", lambda: None)
        store = LabelStore.open(run.out, writable=True)
        _refuse_another(store, joined)
        yield store
        return
    if not os.path.lexists(run.out):
        _create(run, joined)
    elif run.overwrite:
        check_replaceable(run.out)
        with locked(run):
            _create(run, joined, overwrite=True)
    store = LabelStore.open(run.out, writable=True)
    store.require_lists()
    _refuse_another(store, joined)
    with locked(run):
        ranks.once("created", lambda: None)
        yield LabelStore.open(run.out, writable=True)


def _create(run: LabelConfig, joined: Joined, *, overwrite: bool = False) -> None:
    old = joined.old
    LabelStore.create(
        run.out,
        joined.spec,
        joined.images,
        old.targets(),
        old.class_names(),
        class_titles=old.class_titles() if old.spec.class_title_bytes else (),
        overwrite=overwrite,
    )


def _refuse_another(store: LabelStore, joined: Joined) -> None:
    """Raise `StoreError` where another store is at the place than the one that is to be made."""
    made, wanted = _comparable(store.spec), _comparable(joined.spec)
    if made == wanted:
        return
    difference = store.spec.first_difference(joined.spec)
    if difference is None and made.weights != wanted.weights:
        difference = f"--weight gives the teachers other shares ({joined.words()})"
    raise StoreError(
        f"{store.path} is not what these teachers and {joined.old.path} give: "
        f"{difference or 'it was made of another store'}; give what it was begun with to go on, another "
        "--out, or --overwrite to start anew"
    )


def _comparable(spec: StoreSpec) -> StoreSpec:
    """Return a spec without what says where its images are, and what is set when the files are made."""
    own: dict[str, Any] = {"images_root": "", "versions": {}}
    own |= {"path_bytes": 0, "class_name_bytes": 0, "class_title_bytes": 0}
    return replace(spec, **own)


def _names(store: LabelStore) -> str:
    return ", ".join(record.name for record in store.spec.teachers)
