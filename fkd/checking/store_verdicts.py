"""What a check says of a store's own files, blocks apart: metadata, versions, lists, what is done."""

from collections import Counter

from fkd.amounts import as_count
from fkd.checking.images import other_prints
from fkd.checking.report import Verdict, briefly, counted
from fkd.errors import StoreError
from fkd.format import library_versions
from fkd.images import MAX_NUM_BYTES, REASONS
from fkd.orders import CheckConfig
from fkd.originals import drift
from fkd.store import InspectedStore


def structure_verdict(store: InspectedStore) -> Verdict:
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


def versions_verdict(store: InspectedStore) -> Verdict:
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


def lists_verdict(config: CheckConfig, store: InspectedStore) -> Verdict:
    """Compare the paths and sizes of the images with the fingerprint in the attributes."""
    try:
        paths, num_bytes, names = store.image_paths(), store.num_bytes(), store.class_names()
        store.targets(), store.class_titles()
        for name in store.spec.vectors:
            store.vectors(name)  # with what its scheme has learned
    except StoreError as error:
        return Verdict("lists", "FAILED", briefly(config.store, error))
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


def done_verdict(store: InspectedStore) -> Verdict:
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
        detail += f"; {as_count(leftover, 'file')} of unfinished blocks, no data"
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
