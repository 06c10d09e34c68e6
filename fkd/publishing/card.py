"""`fkd card`: a page in Markdown that says what a label set is, as the Hugging Face hub shows it.

It names no place of the machine that labelled: neither the folder of the images nor that of a teacher.
"""

import json
from collections.abc import Sequence

from fkd.amounts import as_count
from fkd.config import as_config, grid_text, is_line
from fkd.format import StoreSpec
from fkd.orders import CardConfig
from fkd.publishing.baseline import baseline_rows
from fkd.publishing.facts import (
    image_rows,
    label_rows,
    size_rows,
    teacher_name,
    teacher_rows,
    view_rows,
)
from fkd.publishing.usage import citation, usage
from fkd.store import LabelStore

Rows = Sequence[tuple[str, str]]

# The hub's own classes of size, by the number of images.
_SIZES = (
    (10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"), (10**8, "10M<n<100M"), (10**9, "100M<n<1B"),
)  # fmt: skip
_LARGEST = "n>1B"


def store_card(config: CardConfig) -> str:
    """Return the card of a store, Markdown with a head in YAML.

    Raises `StoreError` for an unfinished or damaged store, and `ConfigError` for a run that is none.
    """
    as_config(config, CardConfig)
    store = LabelStore.open(config.store)
    store.require_complete()
    name = config.name or store.path.name
    title = config.title or _title(store)
    sections = [
        ("Use it", usage(store, name)),
        ("Teachers", table(teacher_rows(store))),
        ("Images", _images(config, store)),
        ("Views", table(view_rows(store))),
        ("Labels" if store.spec.labels.there else "Vectors", table(label_rows(store))),
        ("Size", table(size_rows(store))),
        *([("A student", table(baseline_rows(config.run)))] if config.run is not None else []),
        ("Identity", _identity(store)),
        ("Licence", _licence(config, store)),
        ("Cite", citation(store, title)),
    ]
    body = "\n\n".join(f"## {heading}\n\n{text}" for heading, text in sections)
    return f"{_head(config, store, title)}\n# {title}\n\n{_lead(store)}\n\n{body}\n"


def table(rows: Rows) -> str:
    """Return rows of a name and a text as a table."""
    lines = [f"| {name} | {text.replace('|', '&#124;')} |" for name, text in rows]
    return "\n".join(["| | |", "|---|---|", *lines])


def _head(config: CardConfig, store: LabelStore, title: str) -> str:
    """Return what the hub reads: YAML, whose strings are those of JSON."""
    size = next((text for most, text in _SIZES if store.spec.num_images < most), _LARGEST)
    lines = [
        "---",
        f"license: {json.dumps(config.license or 'unknown')}",
        f"pretty_name: {json.dumps(title, ensure_ascii=False)}",
        "task_categories:",
        f"- {_task(store.spec)}",
        "size_categories:",
        f"- {size}",
        "tags:",
        *(f"- {tag}" for tag in _tags(store.spec)),
        "viewer: false",
        "---",
    ]
    return "\n".join(lines) + "\n"


def _task(spec: StoreSpec) -> str:
    """Return what students of a store learn, as the hub calls it."""
    if spec.grid:
        return "image-to-text" if is_line(spec.grid) else "image-segmentation"
    return "image-classification" if spec.labels.there else "image-feature-extraction"


def _tags(spec: StoreSpec) -> tuple[str, ...]:
    kept = ["soft-labels"] if spec.labels.there else []
    kept += ["image-features"] if spec.targets else []
    return ("knowledge-distillation", *kept, "fkd", "zarr")


def _title(store: LabelStore) -> str:
    names = ", ".join(dict.fromkeys(teacher_name(teacher) for teacher in store.spec.teachers))
    what = "Soft labels" if store.spec.labels.there else "Vectors"
    return f"{what} of {names} for {as_count(store.spec.num_images, 'image')}"


def _lead(store: LabelStore) -> str:
    spec = store.spec
    places = "frames" if is_line(spec.grid) else "positions"
    at_each = f" at each of {grid_text(spec.grid)} {places}" if spec.grid else ""
    kept = []
    if spec.labels.there:
        kept = [f"over {as_count(spec.num_classes, 'class')}{at_each}"]
    kept += [f"in vectors ({', '.join(spec.vectors)})"] if spec.targets else []
    return (
        f"What a teacher says of {as_count(spec.num_crops, 'random crop')} of each of "
        f"{as_count(spec.num_images, 'image')}, {' and '.join(kept)}: a label store of "
        "[fkd](https://arxiv.org/abs/2112.01528), fast knowledge distillation. Whoever has the images "
        "trains students on it without the teacher. No image and no model is in it."
    )


def _images(config: CardConfig, store: LabelStore) -> str:
    source = config.source or "Where the images are to be had is not said here."
    return (
        f"{source}\n\n{table(image_rows(store))}\n\n"
        "These are the same images if `fkd check --deep` says so: it compares the hash of every file."
    )


def _identity(store: LabelStore) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in store.spec.versions.items())
    rows = [
        ("digest", f"`{store.digest()}`"),
        ("format", f"version {store.spec.format_version}"),
        ("made", f"{store.spec.created} by {versions}"),
    ]
    what = "The digest is over the settings and the seals of all blocks; `fkd info` shows it."
    return f"{table(rows)}\n\n{what}"


def _licence(config: CardConfig, store: LabelStore) -> str:
    terms = "Terms of the images and of the teacher may bear on them."
    what = "labels" if store.spec.labels.there else "vectors"
    own = f"No licence is given for these {what}."
    if config.license is not None:
        own = f"The {what}: {config.license}."
    return f"{own} {terms}"
