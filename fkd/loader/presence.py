"""The images of a run: those that it takes, as far as they are there."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fkd.amounts import as_count
from fkd.config import LoaderConfig
from fkd.errors import ImagesError
from fkd.images import ImageList
from fkd.loader.part import chosen_images
from fkd.originals import PresentImages, find_images, find_present
from fkd.progress import note_once, printable
from fkd.store import LabelStore

_NAMED = 3  # missing images that a line names


@dataclass(frozen=True)
class RunImages:
    """The images of a run, by their index in the store.

    `images` has a row for each of the store. `chosen`, int64 [n], are those that the run takes, and
    `missing`, int64 [k], those that it would take if they were there; both rise.
    """

    images: ImageList
    chosen: NDArray[np.int64]
    missing: NDArray[np.int64]

    @property
    def of_part(self) -> NDArray[np.int64]:
        """What the run's part chooses, there or not: int64 [n + k], rising."""
        return np.union1d(self.chosen, self.missing)

    def missing_keys(self) -> list[str]:
        """Return the keys of the images that are not there."""
        return [self.images.paths[row] for row in self.missing.tolist()]


def run_images(config: LoaderConfig, store: LabelStore) -> RunImages:
    """Find the images that a run takes of a complete store.

    With `config.drop_missing`, those that are not there are left out, and a warning counts them. Raises
    `ImagesError` for an image of another size than when it was labelled, where none is left and, without
    `config.drop_missing`, for any that is missing or new. Where views are mixed, each image is a part of
    others' views, so one that is missing is refused.
    """
    chosen = chosen_images(config.part, store)
    if not config.drop_missing:
        return RunImages(find_images(store, config.images), chosen, chosen[:0])
    present = find_present(store, config.images)
    if store.spec.mixes:
        _refuse_gaps(store, present)
    there = present.there[chosen]
    run = RunImages(present.images, chosen[there], chosen[~there])
    if not len(run.chosen):
        raise ImagesError(
            f"none of {as_count(len(chosen), 'labelled image')} is in {run.images.root}; give the right "
            "folder with --images"
        )
    if len(run.missing):
        note_once(_missing_words(run))
    if present.num_others and not store.spec.part:
        others = as_count(present.num_others, "image")
        note_once(
            f"warning: {others} of {run.images.root} {_are(present.num_others)} not in {store.path}, "
            f"so without labels; {_they(present.num_others)} not used"
        )
    return run


def find_all(config: LoaderConfig, store: LabelStore) -> ImageList:
    """List the images of a store as `run_images` does, without a word of those that are missing."""
    if config.drop_missing:
        return find_present(store, config.images).images
    return find_images(store, config.images)


def missing_identity(missing: NDArray[np.int64]) -> str:
    """Say which images are missing, int64 [k]: "none", or their number and a hash over them."""
    if not len(missing):
        return "none"
    digest = hashlib.sha256(missing.astype("<i8").tobytes()).hexdigest()
    return f"{as_count(len(missing), 'image')} (sha256:{digest[:16]})"


def _refuse_gaps(store: LabelStore, present: PresentImages) -> None:
    """Raise `ImagesError` where an image that views may be mixed with is not there."""
    labelled = store.labelled_images()
    missing = labelled[~present.there[labelled]]
    if len(missing):
        first = printable(present.images.paths[int(missing[0])])
        raise ImagesError(
            f"--drop-missing: {len(missing):,} of {as_count(len(labelled), 'labelled image')} "
            f"{_are(len(missing))} not in {present.images.root}, the first of them {first}, and views of "
            f"{store.path} are mixed with those of others; restore the images, or label the folder anew"
        )


def _missing_words(run: RunImages) -> str:
    """Name the first images that are missing, count them, and say what is likely where they are many."""
    count, total = len(run.missing), len(run.missing) + len(run.chosen)
    named = ", ".join(printable(run.images.paths[row]) for row in run.missing[:_NAMED].tolist())
    more = f" and {count - _NAMED:,} more" if count > _NAMED else ""
    line = (
        f"warning: {count:,} of {as_count(total, 'labelled image')} {_are(count)} not in "
        f"{run.images.root}: {named}{more}; {_they(count)} dropped"
    )
    if 2 * count > total:
        line += ". That is the most of them: is it the right folder (--images)?"
    return line


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _they(count: int) -> str:
    return "it is" if count == 1 else "they are"
