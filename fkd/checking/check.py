"""`fkd check`: is a store whole, did a labeller write it, and are its images still the same?"""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from fkd.checking.block_verdicts import block_verdicts
from fkd.checking.blocks import check_blocks, check_mixes
from fkd.checking.image_verdicts import image_verdicts
from fkd.checking.recorded import load_recorded
from fkd.checking.report import CheckReport, Verdict, briefly
from fkd.checking.store_verdicts import (
    done_verdict,
    lists_verdict,
    structure_verdict,
    versions_verdict,
)
from fkd.checking.teacher import ask_again
from fkd.config import as_config
from fkd.errors import ImagesError, StoreError
from fkd.format import require_store
from fkd.images import ImageList
from fkd.machine import held, resolve_device
from fkd.orders import CheckConfig
from fkd.originals import image_root, is_file_of_images, listed_again
from fkd.sources import refuse_other_kinds
from fkd.store import InspectedStore
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
            return CheckReport((Verdict("structure", "FAILED", briefly(config.store, error)),))
        return _check(config, store)


def _check(config: CheckConfig, store: InspectedStore) -> CheckReport:
    lists = lists_verdict(config, store)
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
        structure_verdict(store),
        versions_verdict(store),
        lists,
        done_verdict(store),
        *block_verdicts(store, faults),
    ]
    verdicts += listed
    if images is not None:
        of_images = list(image_verdicts(config, store, images))
        verdicts += of_images
        if teachers is not None and of_images[0].state == "ok":
            whole = sorted({*store.readable_blocks()} - {fault.number for fault in faults})
            verdicts += _agreement(config, store, images, teachers, whole)
    return CheckReport(
        tuple(verdicts), tuple(damaged), tuple(sent_back), len(store.pending_blocks())
    )


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
        yield Verdict(part, "FAILED", briefly(config.store, error))
        return
    if asked is None:
        yield Verdict(part, "skipped", "no labelled view was there to be asked about")
        return
    if asked.labels is not None:
        yield Verdict("labels", "ok" if asked.labels.ok else "FAILED", str(asked.labels))
    others = "; these are not the weights that labelled" if asked.other_weights else ""
    for one in asked.vectors:
        yield Verdict("teacher", "ok" if one.ok else "FAILED", f"{one}{others}")
