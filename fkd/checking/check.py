"""`fkd check`: is a store whole, did a labeller write it, and are its images still the same?"""

from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np

from fkd.checking.block_verdicts import block_verdicts
from fkd.checking.blocks import check_blocks, check_mixes
from fkd.checking.images import (
    changed_classes,
    changed_contents,
    changed_images,
    changed_masks,
    changed_texts,
    other_prints,
    those_present,
)
from fkd.checking.recorded import load_recorded
from fkd.checking.report import CheckReport, Verdict, counted, judge
from fkd.checking.teacher import ask_again
from fkd.config import as_config
from fkd.errors import ImagesError, StoreError
from fkd.format import (
    library_versions,
    require_store,
)
from fkd.images import MAX_NUM_BYTES, REASONS, ImageList
from fkd.machine import held, resolve_device
from fkd.orders import CheckConfig
from fkd.originals import (
    PresentImages,
    drift,
    find_labelled_masks,
    find_labelled_texts,
    image_root,
    is_file_of_images,
    listed_again,
)
from fkd.sources import refuse_other_kinds
from fkd.store import (
    InspectedStore,
)
from fkd.teachers import Ensemble

# Images whose stored views are drawn anew by a check that is not deep; the first sampler takes half a
# millisecond each.
_DRAWN_IMAGES = 2000


def check_store(config: CheckConfig) -> CheckReport:
    """Check a store, part by part; with `repair`, send its damaged blocks back to `fkd label`.

    What is wrong with the store or its images is in the report. Raises `FkdError` where there is no
    store, and where the check that was asked for cannot be made.
    """
    as_config(config, CheckConfig)
    require_store(config.store)
    if config.repair and not (isinstance(config.store, Path) and config.store.is_dir()):
        raise StoreError(
            f"--repair: {config.store} can be read alone; copy it to a folder with `fkd copy`, and "
            "repair that"
        )
    busy = StoreError(
        f"a `fkd label` is at work on {config.store}; repair it when that is done, or stop that first"
    )
    # The lock is held from the check to the repair, so that nothing changes in between.
    file = Path(str(config.store), "zarr.json")
    with held(file, busy, "fkd check --repair") if config.repair else nullcontext():
        try:
            store = InspectedStore.open(config.store, writable=config.repair)
        except StoreError as error:
            return CheckReport((Verdict("structure", "FAILED", _briefly(config, error)),))
        return _check(config, store)


def _check(config: CheckConfig, store: InspectedStore) -> CheckReport:
    lists = _lists(config, store)
    listed, images = _list_images(config, store) if lists.state == "ok" else ([], None)
    teachers = _load_teachers(config, store, images)
    faults = check_blocks(store, config.workers, None if config.deep else _DRAWN_IMAGES)
    if not faults:
        faults = check_mixes(store, config.workers)
    damaged = sorted({fault.number for fault in faults if fault.lost})
    # Without its lists a store cannot be labelled on, and sending its blocks back would lose them.
    sent_back = damaged if config.repair and lists.state == "ok" else []
    store.unseal(sent_back)
    verdicts = [
        _structure(store),
        _versions(store),
        lists,
        _done(store),
        *block_verdicts(store, faults),
    ]
    verdicts += listed
    if images is not None:
        whole = sorted({*store.readable_blocks()} - {fault.number for fault in faults})
        verdicts += _images(config, store, images, teachers, whole)
    return CheckReport(
        tuple(verdicts), tuple(damaged), tuple(sent_back), len(store.pending_blocks())
    )


# -- one part each --------------------------------------------------------------------------------


def _structure(store: InspectedStore) -> Verdict:
    """Describe a store that could be opened: its attributes and metadata were compared then."""
    strange, spec = store.strange_files(), store.spec
    detail = (
        f"format {spec.format_version}, {counted(store.num_blocks, 'block')} of {spec.block_images}"
    )
    if len(store.segments) > 1:
        detail += f" in {len(store.segments)} segments"
    if strange:
        named = ", ".join(strange[:3])
        more = f" and {len(strange) - 3:,} more" if len(strange) > 3 else ""
        return Verdict("structure", "note", f"{detail}; no part of a store: {named}{more}")
    return Verdict("structure", "ok", detail)


def _versions(store: InspectedStore) -> Verdict:
    """Say who wrote the store, and whether today's pixels are those that were labelled."""
    try:
        changed = drift(store.spec, store.path)
    except StoreError as error:
        return Verdict("versions", "FAILED", str(error).removeprefix(f"{store.path} "))
    if changed:
        return Verdict("versions", "note", changed)
    made = ", ".join(f"{name} {number}" for name, number in store.spec.versions.items())
    libraries = library_versions()
    # A store that is older than a key of them says nothing that could differ.
    unchanged = all(libraries.get(name) == number for name, number in store.spec.versions.items())
    same = "the same" if unchanged else "others now, but the same"
    return Verdict("versions", "ok", f"{made}: {same} pixels")


def _lists(config: CheckConfig, store: InspectedStore) -> Verdict:
    """Compare the paths and sizes of the images with the fingerprint in the attributes."""
    try:
        paths, num_bytes, names = store.image_paths(), store.num_bytes(), store.class_names()
        store.targets(), store.class_titles()
        for name in store.spec.vectors:
            store.vectors(name)  # with what its scheme has learned
    except StoreError as error:
        return Verdict("lists", "FAILED", _briefly(config, error))
    known = num_bytes.max() < MAX_NUM_BYTES
    if known and other_prints(store, paths, num_bytes):
        return Verdict("lists", "FAILED", "paths and sizes are not those of its fingerprint")
    images, classes = counted(len(paths), "image"), counted(len(names), "class")
    if store.spec.truth:
        classes = f", {classes} of their {store.spec.truth}"
    elif store.spec.unlabelled:
        of_teacher = f", {classes} of the teacher; images have none"
        classes = of_teacher if store.spec.labels.there else " without classes"
    else:
        classes = f", {classes}"
    return Verdict("lists", "ok", images + classes)


def _done(store: InspectedStore) -> Verdict:
    """Count the unfinished blocks, the files that belong to none, and the images without labels."""
    pending, leftover = store.pending_blocks(), store.unsealed_files()
    total = store.num_blocks
    detail = f"{total - len(pending)} of {counted(total, 'block')} finished"
    if pending:
        detail += "; `fkd label` goes on with the others"
        least = int(store.finished_crops().min())
        if least:
            detail += f", and every image has its first {counted(least, 'crop')}"
    if leftover:
        detail += f"; {leftover:,} files of unfinished blocks are no data"
    try:
        bad = Counter(REASONS[code] for code in store.status().tolist() if code)
    except StoreError:
        return Verdict("done", "note", f"{detail}; which images have labels cannot be read")
    kept = "labels" if store.spec.labels.there else "vectors"
    if bad:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in bad.items())
        detail += f"; images without {kept}: {reasons}"
    if bad.total() == store.spec.num_images:
        return Verdict("done", "FAILED", f"no image has {kept} ({reasons})")
    return Verdict("done", "note" if pending else "ok", detail)


def _list_images(
    config: CheckConfig, store: InspectedStore
) -> tuple[list[Verdict], ImageList | None]:
    """List the image folder, or return the verdict that says why it is not listed."""
    if config.images:
        refuse_other_kinds(config.images)
    needed = config.images or config.deep or config.teacher
    root = Path(config.images or store.spec.images_root)
    if not root.is_dir() and not is_file_of_images(root):
        if needed:
            raise ImagesError(
                f"the images of {config.store} are not at {root}; say where they are with --images"
            )
        where = f"there is no {root}; say where they are with --images"
        return [Verdict("images", "skipped", where)], None
    try:
        return [], listed_again(store, image_root(store, config.images))
    except ImagesError as error:
        return [Verdict("images", "FAILED", str(error))], None


def _load_teachers(
    config: CheckConfig, store: InspectedStore, images: ImageList | None
) -> Ensemble | None:
    if not config.teacher or images is None:
        return None
    return load_recorded(store, images, config.teacher, resolve_device(config.device))


def _images(
    config: CheckConfig,
    store: InspectedStore,
    images: ImageList,
    teachers: Ensemble | None,
    whole: list[int],
) -> Iterator[Verdict]:
    """Compare the folder with the list; if asked to, files with hashes and labels with a teacher."""
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
    if teachers is not None and not problems:
        yield from _agreement(config, store, images, teachers, whole)


def _contents(config: CheckConfig, store: InspectedStore, present: PresentImages) -> Verdict:
    """Compare the files of the images that are there with those that were labelled."""
    try:
        changed = changed_contents(store, present.images, present.there, config.workers)
    except StoreError as error:
        return Verdict("contents", "FAILED", _briefly(config, error))
    by = "height and width" if store.spec.format_version == 1 else "hash"
    which = "every image" if present.there.all() else "every image that is there"
    return judge("contents", changed, f"{which} is the one that was labelled, by its {by}")


def _masks(config: CheckConfig, store: InspectedStore, present: PresentImages) -> Verdict:
    """Look for the masks of the images that are there; if asked to, compare them with their hashes."""
    try:
        masks = find_labelled_masks(store, present.images)
        changed = changed_masks(masks, store, present, config.workers) if config.deep else []
    except (ImagesError, StoreError) as error:
        return Verdict("masks", "FAILED", _briefly(config, error))
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
        return Verdict("texts", "FAILED", _briefly(config, error))
    there = f"{int(np.count_nonzero(present.there)):,} in {texts.texts.file}"
    return judge("texts", changed, f"{there}, as they were when their images were labelled")


def _agreement(
    config: CheckConfig,
    store: InspectedStore,
    images: ImageList,
    teachers: Ensemble,
    blocks: list[int],
) -> Iterator[Verdict]:
    """Ask the teacher again about views of undamaged blocks."""
    views, seed = config.num_views, config.seed
    part = "labels" if store.spec.labels.there else "teacher"
    try:
        asked = (
            ask_again(store, images, teachers, blocks, views, seed, config.workers)
            if blocks
            else None
        )
    except (ImagesError, StoreError) as error:
        yield Verdict(part, "FAILED", _briefly(config, error))
        return
    if asked is None:
        yield Verdict(part, "skipped", "no labelled view was there to be asked about")
        return
    if asked.labels is not None:
        yield Verdict("labels", "ok" if asked.labels.ok else "FAILED", str(asked.labels))
    others = "; these are not the weights that labelled" if asked.other_weights else ""
    for one in asked.vectors:
        yield Verdict("teacher", "ok" if one.ok else "FAILED", f"{one}{others}")


def _briefly(config: CheckConfig, error: StoreError | ImagesError) -> str:
    return str(error).removeprefix(f"{config.store}: ").removeprefix(f"{config.store} ")
