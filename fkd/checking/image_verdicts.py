"""What a check says of images, their masks and texts: are they those that were labelled."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from fkd.checking.images import (
    changed_classes,
    changed_contents,
    changed_images,
    changed_masks,
    changed_texts,
    those_present,
)
from fkd.checking.report import Verdict, briefly, judge
from fkd.errors import ImagesError, StoreError
from fkd.images import ImageList
from fkd.orders import CheckConfig
from fkd.originals import PresentImages, find_labelled_masks, find_labelled_texts
from fkd.store import InspectedStore


def image_verdicts(
    config: CheckConfig, store: InspectedStore, images: ImageList
) -> Iterator[Verdict]:
    """Compare the folder with the list, which is the first verdict, and what is there with its hashes."""
    problems = changed_images(store, images) or changed_classes(store, images)
    verdict = judge("images", problems, f"{len(images):,} in {images.root}, as they were listed")
    present = those_present(store, images)
    if present is not None and not present.there.all():
        without = f"{verdict.detail}; `fkd train --drop-missing` trains without what is missing"
        verdict = replace(verdict, detail=without)
    yield verdict
    if config.deep and present is not None:
        yield _contents(config, store, present)
    if store.spec.masks and present is not None:
        yield _masks(config, store, present)
    if store.spec.texts and present is not None:
        yield _texts(config, store, present)


def _contents(config: CheckConfig, store: InspectedStore, present: PresentImages) -> Verdict:
    """Compare the files of the images that are there with those that were labelled."""
    try:
        changed = changed_contents(store, present.images, present.there, config.workers)
    except StoreError as error:
        return Verdict("contents", "FAILED", briefly(config.store, error))
    by = "height and width" if store.spec.format_version == 1 else "hash"
    which = "every image" if present.there.all() else "every image that is there"
    return judge("contents", changed, f"{which} is the one that was labelled, by its {by}")


def _masks(config: CheckConfig, store: InspectedStore, present: PresentImages) -> Verdict:
    """Look for the masks of the images that are there; if asked to, compare them with their hashes."""
    try:
        masks = find_labelled_masks(store, present.images)
        changed = changed_masks(masks, store, present, config.workers) if config.deep else []
    except (ImagesError, StoreError) as error:
        return Verdict("masks", "FAILED", briefly(config.store, error))
    there = f"{int(np.count_nonzero(present.there)):,} in {masks.masks.folder}, one for each image"
    if not config.deep:
        return Verdict("masks", "ok", f"{there}; --deep compares them with those that were there")
    return judge("masks", changed, f"{there}, as it was when that was labelled, by its hash")


def _texts(config: CheckConfig, store: InspectedStore, present: PresentImages) -> Verdict:
    """Compare the texts of the images that are there with their hashes."""
    try:
        texts = find_labelled_texts(store, present.images)
        changed = changed_texts(texts, store, present, config.workers)
    except (ImagesError, StoreError) as error:
        return Verdict("texts", "FAILED", briefly(config.store, error))
    there = f"{int(np.count_nonzero(present.there)):,} in {texts.texts.file}"
    return judge("texts", changed, f"{there}, as they were when their images were labelled")
