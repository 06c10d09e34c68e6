"""`fkd info`: what a store holds, on one screen."""

from pathlib import Path

from fkd.amounts import as_count
from fkd.config import Url, as_typed, grid_text, is_line, size_text
from fkd.format import StoreSpec
from fkd.info.fidelity import fidelity_words
from fkd.info.labelled import num_crops_labelled
from fkd.info.sizes import bytes_per_crop, per_label
from fkd.info.targets import target_words
from fkd.store import LabelStore


def info_lines(path: Path | Url) -> list[tuple[str, str]]:
    """Return the lines of `fkd info`: a name and a text each."""
    store = LabelStore.open(path)
    spec, views = store.spec, store.spec.views
    num_bad, num_crops = store.num_bad(), spec.num_images * spec.num_crops
    # Some images may have more crops than all have: those of segments that a killed run began.
    begun = sum(store.block(number).num_labels for number in range(store.num_blocks))
    sizes, parts = store.stored_bytes(), bytes_per_crop(store)
    blocks, fidelity = store.num_blocks - len(store.pending_blocks()), fidelity_words(store)
    lines = [
        ("store", str(path)),
        ("images", _images(store)),
        ("classes", _classes(store)),
        ("crops", f"{spec.num_crops} per image, {num_crops:,} in all"),
        (
            "labelled",
            f"{num_crops_labelled(store) / begun:.1%} ({blocks} of "
            f"{as_count(store.num_blocks, 'block')}), {as_count(num_bad, 'image')} "
            f"unusable{_growing(store)}",
        ),
    ]
    for number, teacher in enumerate(spec.teachers):
        seen = teacher.preprocessing
        share = f", counts {spec.weights[number]:.4g}" if spec.weights else ""
        lines += [
            ("teacher", f"{teacher.name}, weights {teacher.weights_hash[:19]}…{share}"),
            (
                "",
                f"size {size_text(seen.size)}, mean {as_typed(seen.mean)}, std {as_typed(seen.std)}",
            ),
        ]
    lines += [
        (
            "views",
            f"{size_text(spec.size)} px, {spec.interpolation}, scale {as_typed(views.scale)}, "
            + ", ".join([f"ratio {as_typed(views.ratio)}, seed {views.seed}", *views.manner])
            + f", rendered by {spec.renderer}",
        ),
        *([] if views.tone.plain else [("tone", str(views.tone))]),
        *([("mixed", mix_words(spec))] if spec.mixes else []),
        *kept_lines(spec),
        ("on disk", f"{sum(sizes.values()):,} bytes"),
        (
            "per crop",
            f"{parts['total']:.2f} bytes ("
            + ", ".join(f"{name} {size:.2f}" for name, size in parts.items() if name != "total")
            + ")",
        ),
        *([("per label", per_label(spec, parts))] if spec.grid else []),
        *([("fidelity", fidelity)] if fidelity else []),
        ("made", f"{spec.created} by " + ", ".join(f"{k} {v}" for k, v in spec.versions.items())),
        ("digest", store.digest()),
    ]
    return lines


def kept_lines(spec: StoreSpec) -> list[tuple[str, str]]:
    """Say how labels are kept, if they are, and which vectors: a name and a text each."""
    lines = [("vectors", target_words(record)) for record in spec.targets]
    if not spec.labels.there:
        return lines
    return [
        *([(_kind(spec), f"{grid_text(spec.grid)} labels of each crop")] if spec.grid else []),
        ("scheme", f"{spec.scheme}, temperature {spec.temperature:g}"),
        ("reads as", spec.scheme.readings()),
        *lines,
    ]


def _kind(spec: StoreSpec) -> str:
    return "lines" if is_line(spec.grid) else "maps"


def mix_words(spec: StoreSpec) -> str:
    """Say with what the views of a store are mixed, if they are."""
    if not spec.mixes:
        return "none"
    if spec.stored_mixes:
        return "with views of other images that another program drew, stored with the labels"
    mix = spec.views.mix
    kinds = [f"{n} {a:g}" for n, a in (("mixup", mix.mixup), ("cutmix", mix.cutmix)) if a]
    share = "all views" if mix.share == 1 else f"{mix.share:.4g} of all views"
    return (
        f"{' or '.join(kinds)} (of {share}), partner changes every {as_count(mix.period, 'crop')}"
    )


def _growing(store: LabelStore) -> str:
    """Say which crops every image has of a store that grows, if it does."""
    least = int(store.finished_crops().min())
    if not 0 < least < store.spec.num_crops:
        return ""
    return f"; the first {as_count(least, 'crop')} of every image are there"


def _images(store: LabelStore) -> str:
    spec = store.spec
    without = " without classes" if spec.unlabelled else ""
    without = f" with {spec.truth}" if spec.truth else without
    part = ", a part of those there" if spec.part else ""
    return f"{spec.num_images:,}{without} in {spec.images_root}{part}"


def _classes(store: LabelStore) -> str:
    """Say how many classes there are, whose where they are not the images', and some titles."""
    count = f"{store.spec.num_classes:,}"
    if store.spec.unlabelled and not store.spec.labels.there:
        return "none"
    whose = ", the teacher's" if store.spec.unlabelled else ""
    whose = f", the {store.spec.truth}'" if store.spec.truth else whose
    if not store.spec.class_title_bytes:
        return count + whose
    titles = store.class_titles()
    return f"{count}{whose} ({', '.join(titles[:3])}{' …' if len(titles) > 3 else ''})"
