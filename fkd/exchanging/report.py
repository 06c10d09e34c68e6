"""What an import says of itself: what it is about to do, and what it has done."""

from collections import Counter

from fkd.amounts import as_bytes, as_count, as_duration, as_rate
from fkd.config import size_text
from fkd.exchanging.joint import ForeignLabels
from fkd.exchanging.opening import Plan
from fkd.images import ImageList
from fkd.info import bad_images, bytes_per_crop, fidelity_words
from fkd.orders import ImportConfig
from fkd.statistics import sampled_agreement
from fkd.store import LabelStore

Lines = list[tuple[str, str]]

# A teacher that names the folder's class hardly more often than this times chance is no teacher of it.
_GUESSING = 1.5


def opening_lines(config: ImportConfig, images: ImageList, plan: Plan, num_pending: int) -> Lines:
    """Say what an import works with: a name and a text each."""
    spec = plan.spec
    done = spec.num_blocks - num_pending
    goes_on = f", goes on: {done:,} of {as_count(spec.num_blocks, 'block')} are done"
    return [
        ("images", f"{as_count(len(images), 'image')} in {images.root}"),
        (
            "labels",
            f"{config.labels}, {plan.traits.kind}, {as_count(spec.num_crops, 'crop')} an image over "
            f"{as_count(spec.num_classes, 'class')}",
        ),
        ("store", f"{config.out}, kept as {spec.scheme}{goes_on if done else ''}"),
        ("student", f"sees {size_text(spec.size)} px, {spec.interpolation}"),
    ]


def closing_lines(
    store: LabelStore,
    plan: Plan,
    source: ForeignLabels,
    num_images: int,
    clamped: int,
    seconds: float,
) -> Lines:
    """Say what an import has done: so many images in `seconds`, into a store that is whole now."""
    size, per_crop = sum(store.stored_bytes().values()), bytes_per_crop(store)["total"]
    lines = [
        (
            "imported",
            f"{as_count(num_images, 'image')} in {as_duration(seconds)}, "
            f"{as_rate(num_images / seconds, 'image')}",
        ),
        ("store", f"{store.path}, {as_bytes(size)}, {per_crop:.1f} bytes per crop"),
    ]
    fidelity = fidelity_words(store)
    if fidelity:
        lines.append(("fidelity", f"to the labels in the files: {fidelity}"))
    agreement = None if store.num_bad() == store.spec.num_images else sampled_agreement(store)
    if agreement is not None:
        lines.append(
            ("top-1", f"{agreement:.1%} of the crops' labels name the class of the folder")
        )
        if agreement < _GUESSING / store.spec.num_classes:
            lines.append(("warning", _guessing(store)))
    if clamped:
        lines.append(
            ("boxes", f"{as_count(clamped, 'box')} left the image by rounding; moved into it")
        )
    reasons = Counter(reason for _, reason in bad_images(store))
    if reasons:
        listed = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
        lines.append(("unlabelled", f"{as_count(reasons.total(), 'image')}: {listed}"))
    count, few = source.extra()
    if count:
        names = ", ".join(few) + (" …" if count > len(few) else "")
        lines.append(("left out", f"{as_count(count, 'label file')} of no image here: {names}"))
    return lines


def _guessing(store: LabelStore) -> str:
    return (
        f"the labels are no better than guessing among {as_count(store.spec.num_classes, 'class')}; are "
        "class ids in the order of the class folders? --teacher-classes FILE gives another one"
    )
