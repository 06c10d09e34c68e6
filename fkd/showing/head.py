"""The head of the page: who labelled and how, the first numbers, and what a reader must know of them."""

from pathlib import Path

import numpy as np

from fkd.amounts import as_count
from fkd.config import as_typed, grid_text, is_line, size_text
from fkd.format import StoreSpec
from fkd.info import (
    bytes_per_crop,
    bytes_per_label,
    mix_words,
    num_finished,
    num_labelled,
    target_words,
)
from fkd.statistics import LabelStatistics, LineStatistics, Sweep, TruthStatistics
from fkd.store import LabelStore
from fkd.vectors import KeptVectors

_HASH = len("sha256:") + 12  # so much of a hash tells files apart


def what_is_read(
    store: LabelStore, other: LabelStore | None, images_root: Path, out: Path
) -> list[tuple[str, str]]:
    """Return what is said on stderr before the work begins: a name and a text each."""
    spec = store.spec
    sweep = Sweep.over(store)
    num_images = int(np.count_nonzero(sweep.labelled))
    classes = f", {as_count(spec.num_classes, 'class')}" if spec.labels.there else ""
    lines = [("store", f"{store.path} ({spec.kept_words}{classes})")]
    if other is not None:
        other.require_labels("compare stores of labels")
        lines.append(("against", f"{other.path} ({other.spec.kept_words})"))
    return [
        *lines,
        ("images", str(images_root)),
        (
            "crops",
            f"{as_count(num_images * sweep.num_crops, 'crop')}: the first {sweep.num_crops} of "
            f"{spec.num_crops} of {as_count(num_images, 'image')}",
        ),
        ("page", str(out)),
    ]


def settings_of(store: LabelStore) -> list[tuple[str, str]]:
    """Return who labelled the store, and by which settings: a name and a text each."""
    spec, views = store.spec, store.spec.views
    rows = []
    for number, teacher in enumerate(spec.teachers, 1):
        seen = teacher.preprocessing
        name = f"teacher {number}" if len(spec.teachers) > 1 else "teacher"
        rows += [
            (name, f"{teacher.name}, weights {teacher.weights_hash[:_HASH]}"),
            (
                "sees",
                f"{size_text(seen.size)} px, {seen.interpolation}, mean {as_typed(seen.mean)}, "
                f"std {as_typed(seen.std)}",
            ),
        ]
    return [
        *rows,
        *([("labels", _labels(spec))] * spec.labels.there),
        *(("vectors", target_words(record)) for record in spec.targets),
        (
            "crops",
            f"M = {spec.num_crops} of each image, scale {as_typed(views.scale)}, "
            + ", ".join([f"ratio {as_typed(views.ratio)}, seed {views.seed}", *views.manner]),
        ),
        *([] if views.tone.plain else [("tone", str(views.tone))]),
        *([("mixed", mix_words(spec))] if spec.mixes else []),
        ("made", spec.created.replace("T", " ").replace("+00:00", " UTC")),
        ("by", ", ".join(f"{name} {version}" for name, version in spec.versions.items())),
    ]


def _labels(spec: StoreSpec) -> str:
    of_map = f", {grid_text(spec.grid)} of each crop" if spec.grid else ""
    return f"{spec.scheme} at temperature {spec.temperature:g}{of_map}"


def notes_on(store: LabelStore, changed: str | None) -> list[str]:
    """Return what a reader must know first; `changed` says how today's pixels are others."""
    notes, pending = [], len(store.pending_blocks())
    if pending:
        least = num_finished(store)
        firsts = f" and of their first {as_count(least, 'crop')}"
        notes.append(
            f"The store is unfinished: {pending} of {as_count(store.num_blocks, 'block')} are not "
            "labelled, and all numbers are of images that have "
            f"labels{firsts if least < store.spec.num_crops else ''}. The same `fkd label` command goes "
            "on."
        )
        if store.spec.mixes:
            notes.append(
                "Crops that are mixed with images that are not labelled yet are not drawn."
            )
    if changed:
        notes.append(f"{changed}. The crops below are drawn by today's libraries.")
    if not store.spec.labels.there:
        return notes
    if store.spec.unlabelled and store.spec.grid and not store.spec.truth:
        what = "texts" if is_line(store.spec.grid) else "masks"
        notes.append(
            f"The images have no {what}, so it is not known how often the teacher is right."
        )
    elif store.spec.unlabelled and not store.spec.truth:
        notes.append(
            "The images have no classes of their own, so it is not known how often the teacher is right."
        )
    if not store.spec.labels.keeps_first:
        notes.append(
            f"The store keeps classes that are drawn from each label ({store.spec.scheme}), so top-1, "
            "probabilities, entropies, kept mass and the least sure crops are not known."
        )
    elif not store.spec.labels.keeps_values:
        notes.append(
            "The store keeps the top class alone (hard), so probabilities, entropies, kept mass and the "
            "least sure crops are not known."
        )
    return notes


def headline(
    store: LabelStore,
    statistics: LabelStatistics | None,
    truth: TruthStatistics | LineStatistics | None = None,
) -> list[tuple[str, str]]:
    """Return the first numbers: a name and a number each; without labels there are no `statistics`.

    `truth` is what masks say of maps, and texts of lines, where there are any.
    """
    spec, known = store.spec, num_labelled(store)
    lines = [
        ("labelled images", f"{known[0] - known[1]:,}"),
        ("crops an image, M", f"{spec.num_crops:,}"),
        *([] if spec.unlabelled and statistics is None else [("classes", f"{spec.num_classes:,}")]),
    ]
    lines += [(f"numbers of {name}", _sides(kept)) for name, kept in spec.vectors.items()]
    parts = bytes_per_crop(store)
    size = ("bytes a crop", f"{parts['total']:.1f}")
    if statistics is None:
        return [*lines, size]
    if spec.grid:
        lines.append(("labels a crop", " × ".join(map(str, spec.grid))))
    if isinstance(truth, LineStatistics):
        lines += [
            ("exact match", f"{truth.read.exact_match:.1%}"),
            ("character error rate", f"{truth.read.character_error_rate:.1%}"),
        ]
    elif truth is not None:
        lines += [
            ("pixels that are right", f"{truth.confusion.pixel_accuracy:.1%}"),
            ("mIoU", f"{truth.confusion.miou:.3f}"),
        ]
    if statistics.agreement is not None:
        whose = "a class in the view" if spec.mixes else "the class"
        lines.append((f"top-1 is {whose}", f"{statistics.agreement:.1%}"))
    if statistics.certainty is not None:
        lines += [
            ("mean top probability", f"{statistics.certainty.top_probability.mean:.3f}"),
            ("mean entropy, nats", f"{statistics.certainty.entropy.mean:.3f}"),
        ]
        five = statistics.certainty.mass_of_five
        lines += [] if five is None else [("mass of the top 5", f"{five:.1%}")]
    fidelity = store.fidelity()
    if fidelity is not None and fidelity.kl is not None:
        lines.append(("mean KL to the teacher, nats", f"{fidelity.kl:.2g}"))
    if spec.grid:
        lines.append(("bytes a label", f"{bytes_per_label(spec, parts):.2f}"))
    return [*lines, size]


def _sides(kept: KeptVectors) -> str:
    return " × ".join(f"{side:,}" for side in kept.shape)
