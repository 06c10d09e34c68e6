"""`fkd check`: is a store whole, is it what a labeller wrote, and are the images still those?"""

from collections.abc import Iterator

from fkd.arrays import read_attributes
from fkd.audit_blocks import audit_blocks
from fkd.audit_images import changed_classes, changed_contents, changed_images
from fkd.audit_labels import ask_again, load_recorded
from fkd.config import CheckConfig
from fkd.crops import SAMPLER
from fkd.errors import ImagesError, StoreError
from fkd.images import MAX_NUM_BYTES, ImageList, fingerprint, list_images
from fkd.layout import library_versions
from fkd.locks import held
from fkd.probe import drift
from fkd.store import LabelStore
from fkd.teachers import Ensemble
from fkd.training_data import image_root
from fkd.verdicts import BlockFault, CheckReport, Verdict, judge
from fkd.zoo import resolve_device

# Images whose views are drawn anew by a check that is not deep; drawing costs half a millisecond each.
_DRAWN_IMAGES = 2000


def check_store(config: CheckConfig) -> CheckReport:
    """Check a store, part by part; with `repair`, send its damaged blocks back to `fkd label`.

    Raises `FkdError` where there is no store, or where what was asked for cannot be done; all that is
    wrong with the store and its images is in the report.
    """
    if "fkd" not in read_attributes(config.store):
        raise StoreError(f"{config.store} is not a label store of fkd; name the folder of one")
    try:
        store = LabelStore.open(config.store, forgiving=True)
    except StoreError as error:
        return CheckReport((Verdict("structure", "FAILED", _briefly(config, error)),))
    lists = _lists(config, store)
    usable = lists.state == "ok"
    images = _list_images(config, store) if usable else None
    teachers = None
    if config.teacher and images is not None:
        device = resolve_device(config.device)
        teachers = load_recorded(store, images, config.teacher, device)
    faults = audit_blocks(store, config.workers, None if config.deep else _DRAWN_IMAGES)
    damaged = sorted({fault.number for fault in faults if fault.lost})
    verdicts = [_structure(store), _versions(store), lists, _done(store), *_blocks(store, faults)]
    if usable:
        verdicts += _images(config, store, images)
    if teachers is not None and images is not None:
        whole = sorted({*store.done_blocks()} - {fault.number for fault in faults})
        verdicts.append(_labels(config, store, images, teachers, whole))
    if config.repair and damaged:
        _send_back(config, damaged)
    return CheckReport(
        tuple(verdicts),
        tuple(damaged),
        tuple(damaged) if config.repair else (),
        len(store.pending_blocks()),
    )


# -- one part each --------------------------------------------------------------------------------


def _structure(store: LabelStore) -> Verdict:
    """The attributes and the metadata of all arrays were compared when the store was opened."""
    strange = store.strange_files()
    spec = store.spec
    detail = f"format {spec.format_version}, {spec.num_blocks} blocks of {spec.block_images} images"
    if strange:
        named = ", ".join(str(path) for path in strange[:3])
        more = f" and {len(strange) - 3:,} more" if len(strange) > 3 else ""
        return Verdict("structure", "note", f"{detail}; no part of a store: {named}{more}")
    return Verdict("structure", "ok", detail)


def _versions(store: LabelStore) -> Verdict:
    """Say who wrote the store, and whether today's pixels are those that were labelled."""
    changed = drift(store.spec, store.path)
    made = ", ".join(f"{name} {number}" for name, number in store.spec.versions.items())
    if changed:
        return Verdict("versions", "note", changed)
    same = (
        "the same"
        if dict(store.spec.versions) == library_versions()
        else "others now, but the same"
    )
    return Verdict("versions", "ok", f"{made}: {same} pixels")


def _lists(config: CheckConfig, store: LabelStore) -> Verdict:
    """Compare paths and sizes with the fingerprint that the attributes have of them."""
    try:
        paths, num_bytes, names = store.image_paths(), store.num_bytes(), store.class_names()
        store.targets()
    except StoreError as error:
        return Verdict("lists", "FAILED", _briefly(config, error))
    known = num_bytes.max() < MAX_NUM_BYTES
    if known and fingerprint(paths, num_bytes) != store.spec.fingerprint:
        return Verdict("lists", "FAILED", "paths and sizes are not those of its fingerprint")
    return Verdict("lists", "ok", f"{len(paths):,} images, {len(names):,} classes")


def _done(store: LabelStore) -> Verdict:
    """Compare the map of finished blocks with the files that are there."""
    pending = store.pending_blocks()
    leftover = store.unsealed_files()
    detail = (
        f"{store.spec.num_blocks - len(pending)} of {store.spec.num_blocks} blocks are finished"
    )
    if pending:
        detail += "; `fkd label` goes on with the others"
    if leftover:
        detail += f"; {leftover:,} files of unfinished blocks are no data"
    return Verdict("done", "note" if pending else "ok", detail)


def _blocks(store: LabelStore, faults: list[BlockFault]) -> Iterator[Verdict]:
    """Sort the faults of blocks by part."""
    count = len(store.done_blocks())
    crops = sum(len(store.spec.block_range(n)) for n in store.done_blocks()) * store.spec.num_crops
    good = {
        "checksums": f"{count:,} blocks are what was sealed",
        "boxes": f"{crops:,} boxes lie in their images",
        "ids": f"all below {store.spec.num_classes:,}",
        "values": "labels are distributions",
        "views": "boxes and flips are what the seed draws",
    }
    if store.spec.sampler != SAMPLER:
        good["views"] = f"not drawn anew: sampler {store.spec.sampler!r} is unknown"
    for part, detail in good.items():
        problems = [f"block {f.number}: {f.what}" for f in faults if f.part == part]
        yield judge(part, problems, detail)


def _list_images(config: CheckConfig, store: LabelStore) -> ImageList | None:
    """List the image folder; None where nobody said where it is and nothing needs it."""
    try:
        return list_images(image_root(store, config.images))
    except ImagesError:
        if config.images or config.deep or config.teacher:
            raise
        return None


def _images(config: CheckConfig, store: LabelStore, images: ImageList | None) -> Iterator[Verdict]:
    """Compare the folder with the list and, if the check is deep, every file with its hash."""
    if images is None:
        where = store.spec.images_root
        yield Verdict("images", "skipped", f"not at {where}; say where they are with --images")
        return
    problems = changed_images(store, images)
    if not problems:
        problems = changed_classes(store, images)
    yield judge("images", problems, f"{len(images):,} in {images.root}, as they were listed")
    if config.deep and not problems:
        changed = changed_contents(store, images, config.workers)
        yield judge("contents", changed, "every image is the file that was labelled")


def _labels(
    config: CheckConfig,
    store: LabelStore,
    images: ImageList,
    teachers: Ensemble,
    blocks: list[int],
) -> Verdict:
    """Ask the teacher again about views of undamaged blocks."""
    if not blocks:
        return Verdict("labels", "skipped", "no block is undamaged")
    if changed_images(store, images):
        return Verdict("labels", "skipped", "the images are others")
    views, seed = config.num_views, config.seed
    agreement = ask_again(store, images, teachers, blocks, views, seed, config.workers)
    return Verdict("labels", "ok" if agreement.ok else "FAILED", str(agreement))


def _send_back(config: CheckConfig, damaged: list[int]) -> None:
    busy = StoreError(
        f"a `fkd label` is at work on {config.store}; repair it when that is done, or stop that first"
    )
    with held(config.store / "zarr.json", busy, "fkd check --repair"):
        LabelStore.open(config.store, writable=True, forgiving=True).unseal(damaged)


def _briefly(config: CheckConfig, error: StoreError) -> str:
    return str(error).removeprefix(f"{config.store}: ").removeprefix(f"{config.store} ")
