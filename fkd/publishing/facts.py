"""What a card says of a store, in rows of a name and a text."""

from collections import Counter
from pathlib import PurePosixPath, PureWindowsPath

from fkd.amounts import as_bytes, as_count
from fkd.config import as_typed, size_text
from fkd.format import TeacherRecord
from fkd.images import visible_name
from fkd.info import bad_images, bytes_per_crop, fidelity_words, kept_lines, mix_words, per_label
from fkd.statistics import sampled_agreement, sampled_certainty
from fkd.store import LabelStore
from fkd.views import STORED

Rows = list[tuple[str, str]]

_SHOWN = 5


def teacher_name(teacher: TeacherRecord) -> str:
    """Return the name of a teacher; of a file or a run somewhere on a machine, its last part."""
    name = teacher.name.removeprefix("hf:")
    for path in (PurePosixPath(name), PureWindowsPath(name)):
        if path.is_absolute() or name.startswith(("~", "..")):
            return path.name
    return teacher.name


def teacher_rows(store: LabelStore) -> Rows:
    """Say who labelled, with the hash of the weights and what the teacher saw."""
    spec, rows = store.spec, Rows()
    for number, teacher in enumerate(spec.teachers):
        seen = teacher.preprocessing
        share = f", weight {spec.weights[number]:.4g}" if spec.weights else ""
        rows += [
            (teacher_name(teacher), f"weights `{teacher.weights_hash}`{share}"),
            (
                "",
                f"{size_text(seen.size)} px, {seen.interpolation}, mean {as_typed(seen.mean)}, "
                f"std {as_typed(seen.std)}",
            ),
        ]
    if len(spec.teachers) > 1:
        how = "weighted as above" if spec.weights else "with equal weights"
        rows.append(("together", f"their probabilities are averaged, {how}"))
    return rows


def image_rows(store: LabelStore) -> Rows:
    """Say how many images of how many classes, and by what they are known."""
    spec, keys = store.spec, store.image_paths()
    titles = [visible_name(title) for title in store.class_titles()[: _SHOWN + 1]]
    named = spec.labels.there or not spec.unlabelled
    kept = "labels" if spec.labels.there else "vectors"
    classes = ", ".join(titles[:_SHOWN]) + (" …" if len(titles) > _SHOWN else "")
    whose = "the teacher's" if spec.unlabelled else "the folders'"
    whose = f"the {spec.truth}'" if spec.truth else whose
    reasons = Counter(reason for _, reason in bad_images(store))
    without = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
    return [
        ("images", f"{spec.num_images:,}, {as_bytes(float(store.num_bytes().sum()))}"),
        *([("classes", f"{spec.num_classes:,}, {whose}: {classes}")] if named else []),
        *([(f"without {kept}", f"{reasons.total():,} ({without})")] if reasons else []),
        ("first and last", f"`{keys[0]}`, `{keys[len(keys) - 1]}`"),
        ("fingerprint", f"`{spec.fingerprint}`, over names and sizes in bytes"),
    ]


def view_rows(store: LabelStore) -> Rows:
    """Say which crops were labelled, and what a student sees of them."""
    spec, views = store.spec, store.spec.views
    mirrored = " and flips" if views.flip else ""
    drawn = (
        f"random resized crops{mirrored} by the rule `{spec.sampler}`: scale {as_typed(views.scale)}, "
        + ", ".join([f"ratio {as_typed(views.ratio)}, seed {views.seed}", *views.manner])
    )
    if spec.sampler == STORED:
        drawn = "boxes and flips that another program drew, stored with the labels"
    return [
        ("crops an image, M", f"{spec.num_crops:,}, {spec.num_images * spec.num_crops:,} in all"),
        ("drawn", drawn),
        *([] if views.tone.plain else [("tone", str(views.tone))]),
        *([("mixed", mix_words(spec))] if spec.mixes else []),
        ("a student sees", f"{size_text(spec.size)} px, {spec.interpolation}"),
    ]


def label_rows(store: LabelStore) -> Rows:
    """Say what is kept of a view, and how near and how right its label is."""
    spec, fidelity = store.spec, fidelity_words(store)
    empty = store.num_bad() == spec.num_images
    known = spec.labels.there and not empty
    agreement = sampled_agreement(store) if known else None
    certainty = sampled_certainty(store) if known else None
    whose = "a class of the view's images" if spec.mixes else "the image's class"
    return [
        *kept_lines(spec),
        *([("fidelity", fidelity)] if fidelity else []),
        *([("how flat", str(certainty))] if certainty is not None else []),
        *([("agreement", f"{agreement:.1%} of the crops' top-1 is {whose}")]
          if agreement is not None else []),
    ]  # fmt: skip


def size_rows(store: LabelStore) -> Rows:
    """Say how large the store is, by array and by crop."""
    sizes, parts = store.stored_bytes(), bytes_per_crop(store)
    each = ", ".join(
        f"{name} {size:.2f}" for name, size in parts.items() if name != "total" and size
    )
    arrays = sorted(sizes.items(), key=lambda item: -item[1])
    return [
        ("all", f"{as_bytes(float(sum(sizes.values())))} in {as_count(store.num_blocks, 'block')}"),
        ("a crop", f"{parts['total']:.2f} bytes ({each})"),
        *([("a label", per_label(store.spec, parts))] if store.spec.grid else []),
        *((f"`{name}`", as_bytes(float(size))) for name, size in arrays if size),
    ]
