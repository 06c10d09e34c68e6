"""Whether stores have labels of the same views, so that their labels can be averaged view by view."""

from fkd.config import grid_text
from fkd.errors import StoreError
from fkd.images import Keys
from fkd.store import LabelStore


def refuse_other_views(first: LabelStore, other: LabelStore) -> None:
    """Raise `StoreError`, naming the difference, unless two finished stores are of the same views.

    Boxes that are stored are compared where they are read.
    """
    mine, theirs = first.spec, other.spec
    pairs = {
        "the number of images": (mine.num_images, theirs.num_images),
        "--crops": (mine.num_crops, theirs.num_crops),
        **{name: (had, theirs.views.settings[name]) for name, had in mine.views.settings.items()},
        "the sampler of views": (mine.sampler, theirs.sampler),
        "whether its mixes are stored": (mine.stored_mixes, theirs.stored_mixes),
        "--temperature": (mine.temperature, theirs.temperature),
        "the number of classes": (mine.num_classes, theirs.num_classes),
        "the truth beside its images": (mine.truth or "none", theirs.truth or "none"),
        "the grid of its labels": (
            grid_text(mine.grid) or "none",
            grid_text(theirs.grid) or "none",
        ),
    }
    for name, (had, has) in pairs.items():
        if had != has:
            raise unlike(first, other, f"{name} is {has}, not {had}")
    difference = _other_images(first, other) or _other_classes(first, other)
    if difference:
        raise unlike(first, other, difference)


def refuse_vectors(store: LabelStore) -> None:
    """Raise `StoreError` for a store of vectors, of which no mean is made."""
    store.require_labels("vectors are one teacher's, and have no mean with another's")
    if store.spec.targets:
        without = " ".join(f"--without {name}" for name in store.spec.vectors)
        raise StoreError(
            f"{store.path} keeps vectors, which are one teacher's and have no mean with another's; take "
            f"a copy without them (`fkd copy {without}`)"
        )


def unlike(first: LabelStore, other: LabelStore, difference: str) -> StoreError:
    """Return the refusal of a store whose views, or classes, are not those of the first."""
    return StoreError(
        f"{other.path} cannot be averaged with {first.path}, whose labels are of others: {difference}"
    )


def _other_images(first: LabelStore, other: LabelStore) -> str | None:
    """Name the first image that differs in its key, its file or its pixels, or return None."""
    paths, others = first.image_paths(), other.image_paths()
    if Keys.of(paths) != Keys.of(others):
        pair = next((a, b) for a, b in zip(paths, others, strict=True) if a != b)
        if set(paths) == set(others):
            return (
                f"its images are the same in another order, as where one of the two has grown, so that "
                f"their views are others ({pair[1]} is in the place of {pair[0]}); `fkd label "
                "--add-teacher` labels the views of a store by one more teacher"
            )
        return f"its images have {pair[1]} in the place of {pair[0]}"
    facts = {"file size": first.num_bytes() != other.num_bytes()}
    both = (first.status() == 0) & (other.status() == 0)
    hashes, other_hashes = first.content_hashes(), other.content_hashes()
    if hashes is not None and other_hashes is not None:
        facts["content"] = (hashes != other_hashes) & both
    truth, other_truth = first.truth_hashes(), other.truth_hashes()
    if truth is not None and other_truth is not None:
        facts[first.spec.truth.removesuffix("s")] = (truth != other_truth) & both
    facts["height and width"] = (first.sizes() != other.sizes()).any(axis=1) & both
    if not first.spec.stores_views:
        facts["number that its views are drawn by"] = first.image_numbers() != other.image_numbers()
    for what, differs in facts.items():
        if differs.any():
            return f"{paths[int(differs.argmax())]} has another {what}"
    return None


def _other_classes(first: LabelStore, other: LabelStore) -> str | None:
    """Name the first class that is another one; the same ones in another order are refused too."""
    pairs = zip(first.class_names(), other.class_names(), strict=True)
    for number, (had, has) in enumerate(pairs):
        if had != has:
            return f"its class {number} is {has}, not {had}"
    return None
