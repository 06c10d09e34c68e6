"""`fkd export-labels`: a store becomes a label set that another program's trainer reads."""

import io
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fkd.config import Scheme, as_config, grids_words
from fkd.errors import ConfigError, StoreError
from fkd.exchanging.export_place import ExportPlace
from fkd.exchanging.fkd_files import boxes_in, fractions_of, labels_as, num_ids, scheme_of
from fkd.exchanging.fkd_folder import label_name
from fkd.images import Keys
from fkd.machine import write_whole
from fkd.orders import ExportLabelsConfig
from fkd.progress import progress_bar
from fkd.store import LabelStore, Slab


@dataclass(frozen=True)
class ExportReport:
    """What an export did: files written now, files of an earlier run, and images without labels.

    `moved` counts files of this run in which float16 moves a box by a pixel. `sorted_ids` says that ids
    are in the order of the classes' names, as FKD's trainer numbers its folders. `folder` is what it is
    given as the place of its labels.
    """

    kind: str
    folder: Path
    written: int
    found: int
    unlabelled: int
    moved: int
    sorted_ids: bool


def export_labels(config: ExportLabelsConfig) -> ExportReport:
    """Write the labels of a store as FKD's files, one an image, or go on with that.

    Raises `FkdError` where such files cannot say what the store holds, before anything is written.
    """
    as_config(config, ExportLabelsConfig)
    store = LabelStore.open(config.store)
    store.require_complete()
    if store.spec.mixes:
        raise ConfigError(
            f"{config.store} has views that are mixed with those of other images, of which FKD's files "
            "say nothing; export a store that was labelled without --mixup and --cutmix"
        )
    if not store.spec.views.tone.plain:
        raise ConfigError(
            f"{config.store} has views whose tone changes ({store.spec.views.tone}), of which FKD's "
            "files say nothing; export a store that was labelled without"
        )
    if store.spec.views.fit != "fill":
        raise ConfigError(
            f"{config.store} has padded views, and FKD's files are of crops that fill theirs; export a "
            "store that was labelled without --fit pad"
        )
    store.require_labels("FKD's files hold labels; label with a --compress of labels")
    if store.spec.grid:
        raise ConfigError(
            f"{config.store} holds {grids_words(store.spec.grid)}, and FKD's files hold one label a "
            "crop; export a store of such labels"
        )
    store = store.of_targets(())
    kind = _kind_of(config, store)
    keys = store.image_paths()
    _refuse_keys(store, keys)
    place = ExportPlace.of(config, store)
    place.prepare(config, store, kind)
    with place.alone():
        return _Export(config, store, kind, place, keys).run()


def _kind_of(config: ExportLabelsConfig, store: LabelStore) -> str:
    """Return the kind of the labels; raises `ConfigError` for one that the store cannot give."""
    spec = store.spec
    kind = config.kind or _richest(spec.scheme)
    if kind is None:
        remedy = "choose --kind smoothing or --kind hard, which say less"
        if not spec.labels.keeps_first:
            remedy = "label with another --compress"
        raise ConfigError(
            f"{config.store} keeps {spec.scheme}, which none of FKD's kinds of labels is; {remedy}"
        )
    wanted = scheme_of(kind)
    if not spec.scheme.can_be_read_as(wanted) or wanted.k > spec.num_classes:
        raise ConfigError(
            f"--kind {kind} asks for more than {config.store} keeps ({spec.scheme}, "
            f"{spec.num_classes:,} classes); it can be read as {spec.scheme.readings()}"
        )
    if kind not in ("hard", "ori") and spec.num_classes > num_ids(config.dtype):
        raise ConfigError(
            f"{config.store} has {spec.num_classes:,} classes, and {config.dtype} tells "
            f"{num_ids(config.dtype):,} class ids apart; use --dtype f4, or --kind hard or ori"
        )
    return kind


def _richest(scheme: Scheme) -> str | None:
    """Return the kind that says most of a scheme."""
    if scheme.kind == "topk":
        fitting = (k for k in (10, 5) if scheme.k >= k)
        return next((f"marginal_smoothing_k{k}" for k in fitting), None)
    return {"full": "ori", "hard": "hard", "smoothing": "smoothing"}.get(scheme.kind)


def _refuse_keys(store: LabelStore, keys: Keys) -> None:
    """Refuse images for which FKD's loader would look in another place, or in one place for two."""
    seen: dict[tuple[str, str], str] = {}
    for key in keys:
        folder, _, name = key.partition("/")
        if not name or "/" in name or "." in folder:
            raise StoreError(
                f"{store.path}: FKD's loader finds labels by CLASS/NAME, with no dot in CLASS, and {key} "
                "is no such name; label a folder of such names"
            )
        other = seen.setdefault((folder, label_name(key)), key)
        if other is not key:
            raise StoreError(
                f"{store.path}: FKD's loader looks for the labels of {other} and {key} in one file, "
                "named up to the first dot; rename one of the two and label again"
            )


@dataclass
class _Export:
    """One run over the images of a store."""

    config: ExportLabelsConfig
    store: LabelStore
    kind: str
    place: ExportPlace
    keys: Keys

    def run(self) -> ExportReport:
        """Write the files that are not there yet, block by block."""
        usable = self.store.status() == 0
        written = moved = found = 0
        with (
            ThreadPoolExecutor(self.config.workers, thread_name_prefix="fkd-export") as pool,
            progress_bar("export", unit="image", total=int(usable.sum())) as bar,
        ):
            for run in self.store.image_runs():
                labelled = run.start + np.flatnonzero(usable[run.start : run.stop])
                todo = [
                    n for n in labelled.tolist() if not _is_there(self.place.path(self.keys[n]))
                ]
                found += len(labelled) - len(todo)
                bar.initial += len(labelled) - len(todo)  # these took no time now
                bar.update(len(labelled) - len(todo))
                if not todo:
                    continue
                slab = self.store.read(run, range(self.store.spec.num_crops))
                rows = [n - run.start for n in todo]
                for was_moved in pool.map(
                    lambda row, at=run.start, s=slab: self._write(s, row, at), rows
                ):
                    moved += was_moved
                    written += 1
                    bar.update()
        left = len(usable) - int(usable.sum())
        names = list(self.store.class_names())
        return ExportReport(
            self.kind, self.place.folder, written, found, left, moved, names == sorted(names)
        )

    def _write(self, slab: Slab, row: int, first: int) -> bool:
        """Write the file of an image; return whether a box of it is read as another one."""
        path = self.place.path(self.keys[first + row])
        height, width = slab.size[row].tolist()
        box = slab.box[row]
        coords = fractions_of(box, height, width, self.config.dtype)
        arrays = [coords, slab.flip[row], self._labels(slab, row)]
        content = io.BytesIO()
        # Tensors, not arrays: FKD's loader takes both, and torch.load runs no code for these.
        torch.save([torch.from_numpy(np.ascontiguousarray(array)) for array in arrays], content)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # A power cut may cost the last few of a million files, and the next run finds them empty.
            write_whole(path, content.getvalue(), durable=False)
        except OSError as error:
            raise ConfigError(
                f"{path} could not be written ({error}); finished files are kept, run the same command "
                "again to go on"
            ) from error
        return self.config.dtype == "f2" and bool((boxes_in(coords, height, width)[0] != box).any())

    def _labels(self, slab: Slab, row: int) -> NDArray[Any]:
        kept = {name: torch.from_numpy(values[row]) for name, values in slab.kept.items()}
        labels = self.store.spec.labels.restore(kept, scheme_of(self.kind).whole)
        return labels_as(self.kind, labels, self.config.dtype)


def _is_there(path: Path) -> bool:
    """Say whether a file is there, and was not left empty by a power cut."""
    try:
        return os.path.getsize(path) > 0
    except OSError:
        return False
