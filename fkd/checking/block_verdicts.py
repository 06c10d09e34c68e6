"""What a check says of the blocks of a store, part by part."""

from collections.abc import Iterator

from fkd.amounts import as_count
from fkd.checking.report import BlockFault, Verdict, counted, judge
from fkd.store import InspectedStore
from fkd.views import SAMPLERS, STORED


def block_verdicts(store: InspectedStore, faults: list[BlockFault]) -> Iterator[Verdict]:
    """Yield a verdict for each part of the blocks; the values of a damaged block were not checked."""
    unread = {fault.number for fault in faults if fault.part == "checksums"}
    looked_at = [number for number in store.readable_blocks() if number not in unread]
    crops = sum(store.block(number).num_labels for number in looked_at)
    good = {
        "checksums": f"{counted(len(looked_at), 'block')} as sealed",
        "boxes": f"{as_count(crops, 'box')} in their images",
    }
    if store.spec.labels.there:
        good["ids"] = f"all below {store.spec.num_classes:,}"
        good["values"] = "labels are distributions"
    if store.spec.targets:
        good["vectors"] = f"codes of {', '.join(store.spec.vectors)} are such as a labeller writes"
    good["views"] = "boxes and flips are what the seed draws"
    if store.spec.sampler == STORED:
        good["views"] = "not drawn anew: boxes come from elsewhere"
    elif store.spec.sampler not in SAMPLERS:
        good["views"] = f"not drawn anew: sampler {store.spec.sampler!r} is unknown"
    if store.spec.mixes and (not faults or any(fault.part == "mixes" for fault in faults)):
        good["mixes"] = _good_mixes(store)
    for part, detail in good.items():
        problems = [f"block {f.number}: {f.what}" for f in faults if f.part == part]
        if looked_at or problems:
            yield judge(part, problems, detail)
        else:
            yield Verdict(part, "skipped", "there is no block to look at")
    if store.spec.mixes and "mixes" not in good:
        yield Verdict("mixes", "skipped", "they are compared when no block is damaged")


def _good_mixes(store: InspectedStore) -> str:
    """Say what was found to be right of views that are mixed."""
    if store.spec.stored_mixes:
        return "partners, boxes, shares and holes are possible; they come from elsewhere"
    detail = "partners, shares and holes are what the seed draws, and partners are the same images"
    if store.pending_blocks():
        detail += "; those with images that are not labelled yet are not compared"
    return detail
