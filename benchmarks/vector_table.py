"""Bytes of stored vectors against what they still tell: neighbours, a linear probe, speed.

    python benchmarks/vector_table.py photos/ --teacher mobilenet_v2 --layer features
    python benchmarks/vector_table.py photos/ --teacher dino:backbone --layer "" --keep int8 --keep pca512

One run of `fkd label` keeps the vectors of a teacher's layer in every scheme, as targets of one store. So
a row is what a store really takes, and what is read back from it. Beside the schemes that are asked for,
all numbers are kept in half precision (f16): the truth of all rows.

Every fifth image of a class is a query. The views of the others are the bank that neighbours are looked
for in, and what the probe is trained on.

Columns. Bytes: of a view, compressed, without what is learned once. 1 - cos: of restored and true
vectors, mean. kNN: 20 neighbours by cosine. Probe: multinomial logistic regression, its L2 chosen on a
tenth of the bank. Read: vectors/s on one core, whole blocks, and the time as a multiple of what zarr
alone takes to read the same arrays. Restored: the same with float32 vectors made of them, which a
device does if there is one.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import numpy as np
import torch
import zarr
from numpy.typing import NDArray
from torch import Tensor

from fkd import FkdError, LabelConfig, LabelStore, Scheme, TeacherChoice, label_images
from fkd.config import POOLS, Pool, Target, VectorScheme
from fkd.labels import StoredArray
from fkd.probing import knn_top1, linear_probe
from fkd.progress import progress

SCHEMES = ("int8", "pca64", "pca128", "pca256", "pca352", "pca512")
TRUTH = "f16"
QUERIES = 5  # one image in so many
ROUNDS = 5


@dataclass(frozen=True)
class Row:
    """One scheme: bytes a view, and what is left; accuracies are shares, speeds vectors/s."""

    scheme: str
    num_bytes: float
    distance: float
    knn: float
    probe: float
    zarr: float
    read: float
    restored: float

    def __str__(self) -> str:
        return (
            f"| {self.scheme} | {self.num_bytes:,.1f} | {self.distance:.5f} | {self.knn:.2%} "
            f"| {self.probe:.2%} | {self.read / 1e6:.2f} M ({self.zarr / self.read:.2f} ×) "
            f"| {self.restored / 1e6:.3f} M |"
        )


HEAD = """| kept | bytes | 1 - cos | kNN | probe | read, /s (× zarr's time) | restored, /s |
|---|--:|--:|--:|--:|--:|--:|"""


@click.command()
@click.argument("images", type=click.Path(path_type=Path))
@click.option("--teacher", default="mobilenet_v2", show_default=True)
@click.option("--teacher-weights", default="default", show_default=True)
@click.option(
    "--layer", default="features", show_default=True, help='A layer, or "" for the output.'
)
@click.option("--pool", default="auto", show_default=True, type=click.Choice(POOLS))
@click.option("--mean", nargs=3, type=float)
@click.option("--std", nargs=3, type=float)
@click.option("--size", type=int, help="Side of a view.")
@click.option("--crops", default=1, show_default=True, help="Views of an image.")
@click.option(
    "--keep", multiple=True, default=SCHEMES, show_default=True, help="A scheme; repeatable."
)
@click.option("--out", type=click.Path(path_type=Path), help="Also write the table to this file.")
def main(  # noqa: PLR0913  one argument an option
    images: Path,
    teacher: str,
    teacher_weights: str,
    layer: str,
    pool: Pool,
    mean: tuple[float, float, float] | None,
    std: tuple[float, float, float] | None,
    size: int | None,
    crops: int,
    keep: tuple[str, ...],
    out: Path | None,
) -> None:
    """Print the table of the vectors of IMAGES, a folder with class folders."""
    torch.set_num_threads(1)
    try:
        choice = TeacherChoice(
            teacher, teacher_weights, size=size, mean=mean or None, std=std or None
        )
        with tempfile.TemporaryDirectory() as folder:
            store = labelled(
                Path(folder) / "vectors.zarr", images, choice, layer, pool, crops, keep
            )
            lines = [note(store, images, teacher, layer), "", HEAD, *map(str, table(store))]
    except FkdError as error:
        click.echo(f"fkd: error: {error}", err=True)
        raise SystemExit(2) from error
    click.echo("\n".join(lines))
    if out is not None:
        out.write_text("\n".join(lines) + "\n")


def labelled(
    path: Path,
    images: Path,
    teacher: TeacherChoice,
    layer: str,
    pool: Pool,
    crops: int,
    keep: tuple[str, ...],
) -> LabelStore:
    """Keep the vectors of a layer in every scheme."""
    schemes = dict.fromkeys((TRUTH, *keep))
    targets = tuple(Target(layer, VectorScheme.parse(name), pool, name) for name in schemes)
    return label_images(
        LabelConfig(
            images,
            teacher,
            path,
            num_crops=crops,
            scheme=Scheme("none"),
            targets=targets,
            workers=1,
        )
    )


def note(store: LabelStore, images: Path, teacher: str, layer: str) -> str:
    """Say what the vectors are of."""
    spec = store.spec
    return (
        f"**{images.name}**: {spec.num_images:,} images × {spec.num_crops} views of {spec.size} px, "
        f"{spec.num_classes:,} classes; {teacher}, {layer or 'its output'}, "
        f"{' x '.join(map(str, store.vectors(TRUTH).shape))} numbers"
    )


def table(store: LabelStore) -> list[Row]:
    """Return a row for each target of a store; raises `FkdError` where its images have no classes."""
    classes = store.targets()
    if classes is None:
        raise FkdError("these images lie in no class folders, which kNN and the probe are about")
    crops = store.spec.num_crops
    split = Split(np.repeat(classes, crops), np.repeat(queries(classes), crops))
    truth = vectors(store, TRUTH)
    names = [target.name for target in store.spec.targets]
    return [row(store, name, split, truth) for name in progress(names, "schemes", unit="scheme")]


@dataclass(frozen=True)
class Split:
    """Of each view its class, and whether its image is a query: int64 and bool [N · M]."""

    classes: NDArray[np.int64]
    asked: NDArray[np.bool_]

    def bank(self, restored: Tensor) -> tuple[Tensor, Tensor]:
        """Return vectors of the images that are no queries, and their classes."""
        return restored[torch.from_numpy(~self.asked)], torch.from_numpy(self.classes[~self.asked])

    def queries(self, restored: Tensor) -> tuple[Tensor, Tensor]:
        """Return vectors of the queries, and their classes."""
        return restored[torch.from_numpy(self.asked)], torch.from_numpy(self.classes[self.asked])


def row(store: LabelStore, name: str, split: Split, truth: Tensor) -> Row:
    """Measure one target, beside the true vectors f32 [N · M, L]."""
    restored, stored, count = vectors(store, name), store.stored_bytes(), len(truth)
    arrays = [field.name for field in store.vectors(name).kept.fields]
    bank, asked = split.bank(restored), split.queries(restored)
    return Row(
        name,
        sum(stored[array] for array in arrays) / count,
        float(1 - torch.cosine_similarity(restored, truth).mean()),
        knn_top1(*asked, bank),
        linear_probe(*bank, *asked).top1,
        count / fastest(partial(read_by_zarr, store, arrays)),
        count / fastest(partial(slabs, store, name)),
        count / fastest(partial(vectors, store, name)),
    )


def queries(targets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which images are queries: every fifth of each class, bool [N]."""
    asked = np.zeros(len(targets), np.bool_)
    for number in np.unique(targets):
        asked[np.flatnonzero(targets == number)[::QUERIES]] = True
    return asked


def slabs(store: LabelStore, name: str) -> list[dict[str, Tensor]]:
    """Read all that is kept of a target, block by block."""
    some = store.of_targets([name])
    return [
        {array: flat(values) for array, values in some.read_block(number).kept.items()}
        for number in range(some.num_blocks)
    ]


def flat(values: StoredArray) -> Tensor:
    """Turn an array of a slab, [n, M, L], into a tensor [n · M, L]."""
    return torch.from_numpy(values.reshape(-1, values.shape[-1]))


def vectors(store: LabelStore, name: str) -> Tensor:
    """Read all vectors of a target and restore them, f32 [N · M, L]."""
    stored = store.vectors(name)
    return torch.cat([stored.restore(kept) for kept in slabs(store, name)])


def read_by_zarr(store: LabelStore, arrays: list[str]) -> None:
    """Read arrays of the store as zarr alone does it."""
    for array in arrays:
        zarr.open_array(Path(store.path) / array, mode="r")[:]


def fastest(work: Callable[[], object]) -> float:
    """Return the seconds of a core that the fastest of a few rounds takes, whoever else is at work."""
    seconds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
    return min(seconds)


if __name__ == "__main__":
    main()
