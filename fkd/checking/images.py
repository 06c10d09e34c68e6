"""Are the images of a folder still those that were labelled?"""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from fkd.errors import DecodeError, ImagesError
from fkd.images import MAX_NUM_BYTES, ImageList, Keys, composed, content_hash, decode, fingerprint
from fkd.originals import LabelledMasks, LabelledTexts, PresentImages, present_among
from fkd.progress import progress_bar
from fkd.store import LabelStore

_AT_ONCE = 1024


def changed_images(store: LabelStore, images: ImageList) -> list[str]:
    """Name every image that is missing, new, or of another size than when it was labelled."""
    stored = dict(zip(store.image_paths(), store.num_bytes().tolist(), strict=True))
    sizes = np.minimum(images.num_bytes, MAX_NUM_BYTES).tolist()
    present = dict(zip(images.paths, sizes, strict=True))
    problems = [f"{path} is missing" for path in stored if path not in present]
    problems += [f"{path} is new" for path in present if path not in stored]
    problems += [
        f"{path} has {present[path]:,} bytes, {size:,} when it was labelled"
        for path, size in stored.items()
        if present.get(path, size) != size
    ]
    if not problems and Keys.of(images.paths) != store.image_paths():
        problems = ["the images are in another order"]
    return problems


def changed_classes(store: LabelStore, images: ImageList) -> list[str]:
    """Name every class folder whose images are stored as another class, or as several.

    There is none where images have no classes. Of a part, folders may have no image in it.
    """
    names, targets = store.class_names(), store.targets()
    if targets is None:
        return []
    known = {composed(name) for name in names}
    problems = []
    for folder in np.unique(images.targets).tolist():
        of_folder = Counter(targets[images.targets == folder].tolist())
        name = images.classes[folder]
        if len(of_folder) > 1:
            problems.append(f"class folder {name} has images of {len(of_folder)} classes")
            continue
        stored = names[next(iter(of_folder))]
        if composed(name) in known and composed(name) != composed(stored):
            problems.append(f"class folder {name} is stored as {stored}")
    return problems


def other_prints(store: LabelStore, paths: Keys, num_bytes: NDArray[np.int64]) -> bool:
    """Say whether a segment that has images has others than its fingerprint says."""
    return any(
        fingerprint(
            paths[s.images.start : s.images.stop], num_bytes[s.images.start : s.images.stop]
        )
        != s.spec.fingerprint
        for s in store.segments
        if not s.spec.first_crop
    )


def those_present(store: LabelStore, images: ImageList) -> PresentImages | None:
    """Return the images that are there; None where none is, and where one is of another size."""
    try:
        return present_among(store, images)
    except ImagesError:
        return None


def changed_contents(
    store: LabelStore, images: ImageList, there: NDArray[np.bool_], workers: int
) -> list[str]:
    """Read every labelled image that is `there`, bool [N], and name those that are not what was labelled.

    Images are compared by the hash of their content. A store of format version 1 has no hashes: its
    images are decoded, and compared by their height and width.
    """
    hashes, sizes = store.content_hashes(), store.sizes()
    chosen = np.flatnonzero(sizes.any(axis=1) & there).tolist()

    def look(image_index: int) -> str | None:
        try:
            encoded = images.read(image_index)
            if hashes is not None:
                same = content_hash(encoded) == int(hashes[image_index])
            else:
                pixels = decode(images.name(image_index), encoded)
                same = list(pixels.shape[1:]) == sizes[image_index].tolist()
        except DecodeError as error:
            return str(error)
        return None if same else f"{images.paths[image_index]} is not the file that was labelled"

    return _each(chosen, look, workers)


def changed_masks(
    masks: LabelledMasks, store: LabelStore, images: PresentImages, workers: int
) -> list[str]:
    """Read the mask of every labelled image that is there, and name those that were others then."""
    sizes = store.sizes()
    chosen = np.flatnonzero(sizes.any(axis=1) & images.there).tolist()

    def look(image_index: int) -> str | None:
        try:
            masks.decode(image_index, sizes[image_index])
        except ImagesError as error:
            return str(error)
        return None

    return _each(chosen, look, workers)


def changed_texts(
    texts: LabelledTexts, store: LabelStore, images: PresentImages, workers: int
) -> list[str]:
    """Look at the text of every labelled image that is there, and name those that were others then."""
    chosen = np.flatnonzero(store.sizes().any(axis=1) & images.there).tolist()

    def look(image_index: int) -> str | None:
        try:
            texts.require_same(image_index)
        except ImagesError as error:
            return str(error)
        return None

    return _each(chosen, look, workers)


def _each(chosen: Sequence[int], look: Callable[[int], str | None], workers: int) -> list[str]:
    """Look at images in threads, a batch at a time: a million waiting futures would fill gigabytes."""
    problems: list[str] = []
    with (
        ThreadPoolExecutor(workers, thread_name_prefix="fkd-check") as pool,
        progress_bar("read images", unit="image", total=len(chosen)) as bar,
    ):
        for first in range(0, len(chosen), _AT_ONCE):
            batch = chosen[first : first + _AT_ONCE]
            problems += [problem for problem in pool.map(look, batch) if problem]
            bar.update(len(batch))
    return problems
