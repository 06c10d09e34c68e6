"""Is every block as it was sealed, and are its values such as a labeller writes?"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from fkd.checking.report import BlockFault
from fkd.errors import BlockError
from fkd.format import (
    VIEW_BYTES,
)
from fkd.progress import progress_bar
from fkd.store import (
    InspectedStore,
    StoredCrops,
    StoredMixes,
)
from fkd.views import OTHER_VIEWS, SAMPLERS, hash_views, outside

_BYTES_AT_ONCE = 2**26  # of labels that are read; to check them takes a few times as much


def check_blocks(store: InspectedStore, workers: int, drawn_images: int | None) -> list[BlockFault]:
    """Compare every finished block with its seal, decode it and check its values.

    Views that are stored are drawn anew by the store's own policy, those of about `drawn_images` images,
    spread over the store, or of all where that is None. Views that are not stored are drawn in any case.
    """
    done = store.readable_blocks()
    torn = store.torn_seals().items()
    faults = [_fault(number, "checksums", error) for number, error in torn]
    total = sum(store.block(number).num_labels for number in done)
    share = 1.0 if drawn_images is None else min(1.0, drawn_images / store.spec.num_images)
    with (
        ThreadPoolExecutor(workers, thread_name_prefix="fkd-check") as pool,
        progress_bar("check", unit="crop", total=total) as bar,
    ):
        for number, faults_of_block in zip(
            done, pool.map(lambda number: _check_block(store, number, share), done), strict=True
        ):
            faults += faults_of_block
            bar.update(store.block(number).num_labels)
    return faults


def check_mixes(store: InspectedStore, workers: int) -> list[BlockFault]:
    """Compare how views are mixed with what was sealed of it; all blocks must be whole otherwise.

    What a block is mixed with lies in any other block.
    """
    mixes, done = StoredMixes.of_store(store), store.readable_blocks()
    if mixes is None:
        return []
    with (
        ThreadPoolExecutor(workers, thread_name_prefix="fkd-check") as pool,
        progress_bar("check mixes", unit="block", total=len(done), delay=1) as bar,
    ):
        faults = []
        for some in pool.map(lambda number: _mix_faults(store, number, mixes), done):
            faults += some
            bar.update()
    return faults


def _check_block(store: InspectedStore, number: int, share: float) -> list[BlockFault]:
    """Check one block: its values only where its files are those that were sealed."""
    try:
        store.require_sealed(number)
    except BlockError as error:
        return [_fault(number, "checksums", error)]
    try:
        return [BlockFault(number, *fault) for fault in _value_faults(store, number, share)]
    except BlockError as error:
        return [_fault(number, _part_of_codes(store) if error.lost else "checksums", error)]


def _mix_faults(store: InspectedStore, number: int, mixes: StoredMixes) -> list[BlockFault]:
    """Look at the mixes of a block, a chunk of crops at a time."""
    place, each = store.block(number), store.spec_of(number).chunk_crops
    for first in range(place.crops.start, place.crops.stop, each):
        try:
            mixes.require(place.images, range(first, min(first + each, place.crops.stop)))
        except BlockError as error:
            return [_fault(number, "mixes", error)]
    return []


def _fault(number: int, part: str, error: BlockError) -> BlockFault:
    return BlockFault(number, part, error.what, error.lost)


def _part_of_codes(store: InspectedStore) -> str:
    """Return the part of the report that says whether codes can be read."""
    return "ids" if store.spec.labels.there else "vectors"


def _value_faults(store: InspectedStore, number: int, share: float) -> Iterator[tuple[str, str]]:
    """Yield (part of the report, what is wrong) for the values of a block."""
    spec, images = store.spec_of(number), store.block(number).images
    yield from _image_faults(store, number)
    crop_bytes = VIEW_BYTES + sum(field.num_bytes for field in spec.fields)
    at_once = _BYTES_AT_ONCE // (len(images) * crop_bytes)
    step = max(1, at_once // spec.chunk_crops) * spec.chunk_crops
    disordered = np.zeros(len(images), np.int64)
    for first in range(0, spec.num_crops, step):
        crops = slice(first, min(first + step, spec.num_crops))
        slab = store.read_raw(number, crops)
        beyond = outside(slab.box, slab.size)
        if beyond.any():
            image = images[int(beyond.any(axis=1).argmax())]
            yield "boxes", f"{beyond.sum():,} boxes leave their images, the first of image {image}"
        fault = spec.labels.fault(slab.kept)
        if fault:
            yield fault
        for name, vectors in spec.vectors.items():
            what = vectors.fault(slab.kept)
            if what:
                yield "vectors", f"{name}: {what}"
        labelled = slab.size.any(axis=1)
        disordered[labelled] += spec.labels.disordered(slab.kept)[labelled].sum(axis=1)
        yield from _view_faults(store, number, crops, slab, share)
    if disordered.any():
        image = images[int((disordered > 0).argmax())]
        yield (
            "values",
            f"{disordered.sum():,} labels are no distribution, the first of image {image}",
        )


def _image_faults(store: InspectedStore, number: int) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the status, size and hash of a block's images, and with their fidelity."""
    values = "values" if store.spec.labels.there else "vectors"
    fault = store.fidelity_fault(number)
    if fault:
        yield values, f"its fidelity: {fault}"
    facts = store.image_facts(number)
    if not facts:
        return
    labelled = facts["status"] == 0
    sized = facts["size"].all(axis=1)
    for name in ("content_hash", "mask_hash", "text_hash"):
        if name in facts:
            sized = sized & (facts[name] != 0)
    if (labelled != sized).any():
        image = store.block(number).images[int((labelled != sized).argmax())]
        yield (
            values,
            f"image {image} is labelled without a size or hash, or has them without labels",
        )


def _view_faults(
    store: InspectedStore,
    number: int,
    crops: slice,
    slab: StoredCrops,
    share: float,
) -> Iterator[tuple[str, str]]:
    """Compare the views that are drawn here with those stored, or with the hash of those labelled."""
    if not store.spec.stores_views:
        yield from _hash_faults(store, number, crops, slab)
        return
    sampler = SAMPLERS.get(store.spec.sampler)
    if sampler is None:
        return
    images = store.block(number).images
    count = max(1, round(share * len(images)))
    rows = np.sort(np.random.default_rng(number).choice(len(images), count, replace=False))
    rows = rows[slab.size[rows].all(axis=1)]
    numbers = store.image_numbers()[rows + images.start]
    slots = np.arange(crops.start, crops.stop) + store.block(number).crops.start
    box, flip = sampler.draw(store.spec.views, numbers, slots, slab.size[rows])
    others = (box != slab.box[rows]).any(axis=(1, 2)) | (flip != slab.flip[rows]).any(axis=1)
    if others.any():
        image = images[int(rows[others.argmax()])]
        yield "views", f"image {image} has other boxes or flips than its seed draws"


def _hash_faults(
    store: InspectedStore, number: int, crops: slice, slab: StoredCrops
) -> Iterator[tuple[str, str]]:
    """Compare the hashes of drawn views, of whole chunks of crops, with those that were sealed."""
    each = store.spec_of(number).chunk_crops
    drawn = hash_views(slab.box, slab.flip, each)
    first = crops.start // each
    others = drawn != store.view_hashes(number)[first : first + len(drawn)]
    if others.any():
        crop = crops.start + int(others.argmax()) * each
        yield "views", f"{OTHER_VIEWS} (from crop {crop} on)"
