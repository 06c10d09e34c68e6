"""What a loss loses where a store keeps K classes of a label: its gradient, against that of full labels.

    python benchmarks/label_fit.py full.zarr other.zarr --out docs/results/label-fit.md

Stores of full labels, whose crops are brought into each scheme and read back. Students are made: logits
whose correlation with the teacher's is ρ, and whose deviation is the same, so that 0 knows nothing and
0.9 is better than most students ever are. A cell has the cosine between the gradient of the loss to
labels as they are read and that to full labels, over all crops and classes, and in brackets what the
loss itself is of the one to full labels. Of standardised logits the last rows have the deviation of the
teacher's logits from the full label, as `topkK-std` keeps it in a byte.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import torch
from torch import Tensor

from fkd import LabelStore, Scheme
from fkd.config import Term, Weighed
from fkd.labels import SoftLabels, quantize, restore
from fkd.losses import term_losses

PATH = click.Path(path_type=Path)
FULL = Scheme("full")
RHOS = (0.0, 0.5, 0.9)
READINGS = ("topk5", "topk5-smooth", "topk20", "topk20-smooth")
KNOWN = "topk{k}-smooth, deviation known"
STANDARDIZED = "KL of standardised logits, T = 2"
NEED_THE_REST = ("mse", STANDARDIZED)
LOSSES = {
    "KL, T = 1": Term(by="kl"),
    "KL, T = 4": Term(by="kl", temperature=4.0),
    "WTTM, T = 2": Term(by="wttm", temperature=2.0),
    "DIST, T = 1": Term(by="dist"),
    "NKD, T = 1": Term(by="nkd"),
    "mse": Term(by="mse"),
    STANDARDIZED: Term(by="kl", temperature=2.0, standardize=True),
}

HEAD = """# What a loss loses to top-K labels

Made by `python benchmarks/label_fit.py`. A student is made: logits whose correlation with the teacher's
is ρ, of the same deviation; 0 knows nothing, and 0.9 is better than most students ever are. A cell has
the cosine between the gradient of the loss to labels that are read so and the gradient to full labels,
over all crops and classes; in brackets the loss as a share of that to full labels. "Deviation known": the
deviation of the teacher's logits is taken from the full label, as `topkK-std` keeps it in a byte.
"""


@dataclass(frozen=True)
class Taught:
    """The full labels of B crops with the classes of their images: f32 [B, C], int64 [B]."""

    log_probs: Tensor
    targets: Tensor

    def read(self, reading: str, temperature: float) -> SoftLabels:
        """Return the labels as a store of this reading's classes gives them."""
        stored = FULL if reading == "full" else Scheme.parse(reading.removesuffix("-smooth"))
        kept = (
            {"log_prob": self.log_probs.half()}
            if stored == FULL
            else quantize(self.log_probs.exp(), stored)
        )
        num_classes = self.log_probs.shape[1]
        return restore(kept, stored, Scheme.parse(reading), num_classes, temperature)

    def student(self, rho: float) -> Tensor:
        """Return logits [B, C] whose correlation with the teacher's is `rho`, of the same deviation."""
        centred = self.log_probs - self.log_probs.mean(dim=1, keepdim=True)
        noise = torch.randn(centred.shape, generator=torch.Generator().manual_seed(0))
        deviation = centred.std(dim=1, keepdim=True)
        logits: Tensor = rho * centred + (1 - rho**2) ** 0.5 * deviation * noise
        return logits

    def deviation(self) -> Tensor:
        """Return the deviation of each crop's logits, [B, 1], rounded to 1/16 as a byte could keep it."""
        rounded: Tensor = (16 * self.log_probs.std(dim=1, keepdim=True)).round() / 16
        return rounded


@click.command()
@click.argument("stores", nargs=-1, required=True, type=PATH)
@click.option("--crops", default=4096, show_default=True, help="Looked at in each store.")
@click.option("--out", type=PATH, help="A file for the tables.")
def main(stores: Sequence[Path], crops: int, out: Path | None) -> None:
    """Write a table for each of STORES, whose labels are full."""
    text = "\n".join([HEAD, *(line for store in stores for line in table(store, crops))])
    print(text)
    if out is not None:
        out.write_text(text + "\n", "utf-8")


def table(path: Path, crops: int) -> Iterator[str]:
    """Yield the lines of one store's table in Markdown."""
    taught = open_labels(path, crops)
    num_crops, num_classes = taught.log_probs.shape
    probs = taught.log_probs.exp()
    top5 = float(probs.topk(5, dim=1).values.sum(dim=1).mean())
    yield (
        f"**{num_classes:,} classes, {num_crops:,} crops**; the five largest probabilities have "
        f"{top5:.0%} of the label\n"
    )
    yield "| loss | labels read as | " + " | ".join(f"ρ = {rho:g}" for rho in RHOS) + " |"
    yield "|---|---|" + "--:|" * len(RHOS)
    for name, term in LOSSES.items():
        known = [KNOWN.format(k=5), KNOWN.format(k=20)] if name == STANDARDIZED else []
        whole = [gradient(taught, term, "full", rho) for rho in RHOS]
        smooth = [reading for reading in READINGS if reading.endswith("smooth")]
        # Where a class without probability has no logarithm, labels are not read without the rest.
        read = smooth if name in NEED_THE_REST else READINGS
        for reading in (*read, *known):
            found = [gradient(taught, term, reading, rho) for rho in RHOS]
            cells = [compared(one, other) for one, other in zip(found, whole, strict=True)]
            yield f"| {name} | {reading} | " + " | ".join(cells) + " |"
    yield ""


def open_labels(path: Path, crops: int) -> Taught:
    """Read the labels of `crops` crops, of images that lie evenly in the store."""
    store = LabelStore.open(path)
    if store.spec.scheme != FULL:
        raise click.UsageError(f"{path} holds {store.spec.scheme}; give a store of full labels")
    each = store.spec.num_crops
    slab = store.read_crops(range(each))
    targets = store.targets()
    assert targets is not None
    rows = torch.linspace(0, store.spec.num_images - 1, max(1, crops // each)).long()
    said = torch.from_numpy(slab.kept["log_prob"])[rows].float().flatten(0, 1)
    return Taught(
        said.log_softmax(dim=1), torch.from_numpy(targets)[rows].long().repeat_interleave(each)
    )


def gradient(taught: Taught, term: Term, reading: str, rho: float) -> tuple[Tensor, float]:
    """Return a loss's gradient at a student's logits, [B, C], and the loss."""
    logits = taught.student(rho).requires_grad_()
    at_start = term.at(0)
    if reading.endswith("known"):
        at_start, labels = with_deviation(taught, at_start, reading.split(",")[0])
        logits_asked = (logits - logits.mean(dim=1, keepdim=True)) / logits.std(dim=1, keepdim=True)
    else:
        logits_asked = logits

        def labels(temperature: float) -> SoftLabels:
            return taught.read(reading, temperature)

    loss = term_losses(logits_asked, (at_start,), labels, taught.targets).total.mean()
    (found,) = torch.autograd.grad(loss, logits)
    return found, float(loss.detach())


def with_deviation(
    taught: Taught, term: Weighed, reading: str
) -> tuple[Weighed, Callable[[float], SoftLabels]]:
    """Return what standardizing comes to where the deviation is known: KL to p^(1/σ) at T.

    The mean of the logits cancels in the softmax, so σ is all that standardizing needs.
    """
    plain = Term(by="kl", temperature=term.temperature)

    def labels(temperature: float) -> SoftLabels:
        kept = taught.read(reading, 1.0)
        power = 1 / (temperature * taught.deviation())
        value, tail = kept.value**power, kept.tail ** power[:, 0]
        others = taught.log_probs.shape[1] - value.shape[1]
        mass = value.sum(dim=1) + others * tail
        return SoftLabels(kept.index, value / mass[:, None], tail / mass, kept.num_classes)

    return plain.at(0), labels


def compared(one: tuple[Tensor, float], other: tuple[Tensor, float]) -> str:
    """Return the cosine of two gradients, and the one loss as a share of the other."""
    cosine = torch.nn.functional.cosine_similarity(one[0].flatten(), other[0].flatten(), dim=0)
    return f"{float(cosine):.3f} ({one[1] / other[1]:.2f})"


if __name__ == "__main__":
    main()
