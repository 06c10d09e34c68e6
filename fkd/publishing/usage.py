"""Commands and code of a card that can be typed as they are, and how to cite it."""

import re
import shlex

from fkd.config import USUAL_MIXED_SCHEME, USUAL_SCHEME, Scheme, grid_training
from fkd.publishing.facts import teacher_name
from fkd.store import LabelStore

# The logits of a student, by the sides of the grid of a store's labels.
_LOGITS = ("[B, C]", "[B, T, C]", "[B, C, h, w]")

_PAPER = """@inproceedings{shen2022fkd,
  title     = {A Fast Knowledge Distillation Framework for Visual Recognition},
  author    = {Shen, Zhiqiang and Xing, Eric},
  booktitle = {European Conference on Computer Vision},
  year      = {2022}
}"""


def usage(store: LabelStore, name: str) -> str:
    """Return how to verify a set, train on it and read it; `IMAGES` stands for one's own folder."""
    quoted, spec = shlex.quote(name), store.spec
    m = max(c for c in (1, 2, 4) if c <= spec.num_crops)  # a batch is a multiple of these
    train, loop = f"--student resnet50 --crops-per-image {m}", _loop_of_vectors(name, store, m)
    if spec.labels.there:
        usual = (USUAL_MIXED_SCHEME if spec.mixes else USUAL_SCHEME).reading
        compress = usual if spec.scheme.can_be_read_as(usual) else spec.scheme.reading
        logits = f"  # of logits {_LOGITS[len(spec.grid)]}" if spec.grid else ""
        train, loop = f"{train} --compress {compress}", _loop_of_labels(name, m, compress) + logits
    if spec.grid:
        train = grid_training(spec.grid, spec.num_crops, truth=bool(spec.truth))
        train += f" --compress {compress}" if spec.mixes else ""
    each = "" if spec.unlabelled else ", with a folder a class"
    each = f", with their {spec.truth}" if spec.truth else each
    return f"""`IMAGES` is your folder of the images{each}.

    fkd info {quoted}
    fkd check --deep --images IMAGES {quoted}
    fkd train {quoted} --images IMAGES {train}

In a training loop of your own:

```python
{loop}
```"""


def _loop_of_labels(name: str, m: int, compress: Scheme) -> str:
    """Return a loop that lets a student learn labels."""
    return f"""from fkd import StudentLoader, soft_cross_entropy

loader = StudentLoader({name!r}, images="IMAGES", crops_per_image={m}, scheme="{compress}")
for views, labels in loader:
    loss = soft_cross_entropy(student(views), labels, reduction="mean")"""


def _loop_of_vectors(name: str, store: LabelStore, m: int) -> str:
    """Return a loop that lets a student learn the first vectors of a store."""
    vectors = next(iter(store.spec.vectors), "")
    return f"""from fkd import StudentLoader
from fkd.losses import vector_distance

loader = StudentLoader({name!r}, images="IMAGES", crops_per_image={m})
for batch in loader:
    said = student(batch.images)  # of the shape of the vectors
    loss = vector_distance(said, batch.vectors["{vectors}"], "cosine").mean()"""


def citation(store: LabelStore, title: str) -> str:
    """Return BibTeX of FKD's paper, and of this set, known by its digest."""
    year, digest = store.spec.created[:4], store.digest()
    names = ", ".join(teacher_name(teacher) for teacher in store.spec.teachers)
    set_ = f"""@misc{{labels{digest.removeprefix("sha256:")[:8]},
  title = {{{_plain(title)}}},
  note  = {{Label store of fkd by {_plain(names)}, {digest}}},
  year  = {{{year}}}
}}"""
    return f"```bibtex\n{_PAPER}\n\n{set_}\n```"


def _plain(text: str) -> str:
    """Return text with what BibTeX reads as more than text escaped."""
    return re.sub(r"([&%$#_{}])", r"\\\1", text)
