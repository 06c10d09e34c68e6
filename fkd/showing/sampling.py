"""Which images the page draws: some at random, or those that the user names."""

import difflib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fkd.errors import ImagesError
from fkd.images import REASONS
from fkd.info import num_finished, reached
from fkd.orders import ShowConfig
from fkd.originals import PresentImages
from fkd.store import LabelStore, StoredMixes

_TRIED = 1000  # images at a time, whether they can be drawn
_COMPARED = 20_000  # paths: comparing letters with a million of them takes minutes


def sampled_images(store: LabelStore, present: PresentImages, config: ShowConfig) -> list[int]:
    """Return the indices of the images to draw, of those that are `present`.

    Where views are mixed, they are such that all images in the drawn crops are labelled and present.
    Raises `ImagesError` for a named image that the store does not have, has no labels of, or that is
    missing.
    """
    root = present.images.root
    if config.chosen:
        paths = store.image_paths()
        place = {path: index for index, path in enumerate(paths)}
        found = [_find(name, root, place, paths) for name in config.chosen]
        _require_labels(store, found, config.chosen)
        for index, name in zip(found, config.chosen, strict=True):
            if not present.there[index]:
                raise ImagesError(f"--image {name} is not in {root}; name another image")
        return list(dict.fromkeys(found))
    known = _Known(store, present, config)
    labelled = np.flatnonzero(reached(store) & (store.status() == 0) & present.there)
    drawn = np.random.default_rng(config.seed).permutation(labelled)
    return known.first(drawn, config.samples)


class _Known:
    """Which images are drawn with images that are labelled and present alone."""

    def __init__(self, store: LabelStore, present: PresentImages, config: ShowConfig) -> None:
        self._mixes, self._there = StoredMixes.of_store(store), present.there
        self._crops = np.arange(min(config.crops, num_finished(store)))

    def first(self, images: NDArray[np.int64], most: int) -> list[int]:
        """Return the first of images, int64 [n], of which it is so, at most so many."""
        found: list[int] = []
        for start in range(0, len(images), _TRIED):
            some = images[start : start + _TRIED]
            found += some[self._of(some)].tolist()
            if len(found) >= most:
                break
        return found[:most]

    def _of(self, images: NDArray[np.int64]) -> NDArray[np.bool_]:
        if self._mixes is None:
            return np.ones(len(images), np.bool_)
        known = self._mixes.known(images, self._crops)
        if known.any():
            known[known] = self._there[self._mixes.of(images[known], self._crops).image].all(axis=1)
        return known


def _find(name: str, root: Path, place: dict[str, int], paths: Sequence[str]) -> int:
    """Look for a path in the image folder, in the folder above (`train/…`), and in the current one."""
    tried = (name, os.path.join(root.parent, name), name and os.path.abspath(name))
    for path in tried:
        inside = os.path.relpath(os.path.join(root, path), root).replace(os.sep, "/")
        if inside in place:
            return place[inside]
    near = _near(name, paths)
    hint = f"did you mean {' or '.join(near)}?" if near else "give a path below the image folder"
    raise ImagesError(f"--image {name}: the store has no such image; {hint}")


def _near(name: str, paths: Sequence[str]) -> list[str]:
    folder, _, file = name.replace(os.sep, "/").rpartition("/")
    same_file = [path for path in paths if path.rpartition("/")[2] == file]
    if same_file:
        return same_file[:3]
    beside = [path for path in paths if path.startswith(folder.rpartition("/")[2] + "/")]
    return difflib.get_close_matches(name, (beside or paths)[:_COMPARED], n=3, cutoff=0.5)


def _require_labels(store: LabelStore, found: Sequence[int], names: Sequence[str]) -> None:
    labelled, status = reached(store), store.status()
    for index, name in zip(found, names, strict=True):
        if not labelled[index]:
            raise ImagesError(f"--image {name} is not labelled yet; run `fkd label` to go on")
        if status[index]:
            raise ImagesError(
                f"--image {name} has no labels: it was {REASONS[status[index]]}; name another image"
            )
