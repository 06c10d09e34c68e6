"""What a term of a loss costs: time against a whole step of a student, and memory above the logits.

    python benchmarks/term_speed.py --out docs/results/term-speed.md

A term starts from what a store keeps, top-5 or full labels, or from a peer's logits, and ends with the
gradient of the student's logits. A step is a forward and a backward pass of the student on a batch in
channels-last, without input and optimizer. Times are medians of rounds that take turns; memory is the
peak of a process of its own for each term.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import torch
from peak import peak_mib
from torch import Tensor

from fkd import Scheme
from fkd.config import Term
from fkd.labels import Quantized, SoftLabels, quantize, restore
from fkd.losses import term_losses
from fkd.machine import resolve_device
from fkd.models import build

CLASSES = 1000
TOP5, SMOOTH, FULL = (Scheme.parse(name) for name in ("topk5", "topk5-smooth", "full"))
HEAD = """# What a term of a loss costs

Made by `python benchmarks/term_speed.py`. A term begins with what a store keeps or with a peer's logits,
and ends with the gradient of the student's logits. The step is a forward and a backward pass of the
student alone, without input and optimizer. Times are medians of rounds that take turns, memory is the
peak of a process of its own.
"""


@dataclass(frozen=True)
class Asked:
    """One row: a term, and as what stored labels are read."""

    term: Term
    read: Scheme | None = None


def asked_terms() -> dict[str, Asked]:
    """Return the rows by name: each distance from top-5 and from full labels, and to a peer."""
    terms = {
        "ce": Term(),
        "kl, T = 4": Term(by="kl", temperature=4.0),
        "symmetric_kl": Term(by="symmetric_kl"),
        "mse": Term(by="mse"),
        "wttm, T = 2": Term(by="wttm", temperature=2.0),
        "dist": Term(by="dist"),
        "nkd": Term(by="nkd"),
        "kl, standardised, T = 2": Term(by="kl", temperature=2.0, standardize=True),
    }
    rows = {"ce to truth": Asked(Term(to="truth")), "kl to a peer": Asked(Term("peers", "kl"))}
    for name, term in terms.items():
        rows |= {f"{name}, {read}": Asked(term, read) for read in (SMOOTH, FULL)}
    return rows


@dataclass(frozen=True)
class Batch:
    """Logits that want a gradient, [B, C], with stored labels, classes and a peer's logits."""

    logits: Tensor
    kept: Mapping[Scheme, Quantized]
    targets: Tensor
    peer: Tensor

    @classmethod
    def draw(cls, size: int, num_classes: int, device: torch.device) -> "Batch":
        """Draw a batch."""
        torch.manual_seed(0)
        said = (3 * torch.randn(size, num_classes)).softmax(dim=1)
        kept = {
            scheme: {name: value.to(device) for name, value in quantize(said, scheme).items()}
            for scheme in (TOP5, FULL)
        }
        logits = torch.randn(size, num_classes, device=device, requires_grad=True)
        targets = torch.randint(num_classes, (size,), device=device)
        return cls(logits, kept, targets, torch.randn(size, num_classes, device=device))

    def take(self, asked: Asked) -> None:
        """Work out a term's loss and its gradient."""
        num_classes = self.logits.shape[1]

        def labels(temperature: float) -> SoftLabels:
            read = asked.read or FULL
            stored = FULL if read == FULL else TOP5
            return restore(self.kept[stored], stored, read, num_classes, temperature)

        peers = {"other": self.peer}
        losses = term_losses(
            self.logits, (asked.term.at(0),), labels, self.targets, peers=peers
        ).total
        self.logits.grad = None
        losses.mean().backward()  # type: ignore[no-untyped-call]


@click.command()
@click.option("--student", default="resnet18", show_default=True, help="A model of torchvision.")
@click.option("--size", default=224, show_default=True, help="Of a view, in pixels.")
@click.option("--batch-size", default=64, show_default=True)
@click.option("--rounds", default=10, show_default=True)
@click.option("--steps", default=2, show_default=True, help="Of the student, timed.")
@click.option("--out", type=click.Path(path_type=Path), help="A file for the table.")
@click.option("--memory", type=str, hidden=True, help="A row.")
def main(
    student: str,
    size: int,
    batch_size: int,
    rounds: int,
    steps: int,
    out: Path | None,
    memory: str | None,
) -> None:
    """Print what each term costs."""
    if memory is not None:
        print(above(asked_terms()[memory], batch_size))
        return
    device = resolve_device("auto")
    step = step_seconds(student, size, batch_size, steps, device)
    batch, rows = Batch.draw(batch_size, CLASSES, device), asked_terms()
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(rounds + 1):
        for name, asked in rows.items():
            seconds[name].append(timed(lambda asked=asked: batch.take(asked), device))  # type: ignore[misc]
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{device.type}, one thread"
    lines = [
        HEAD,
        f"A step of {student}, {batch_size} views of {size} px, {CLASSES:,} classes, forward and "
        f"backward: {1e3 * step:,.0f} ms ({where}, torch {torch.__version__})\n",
        "| term | ms | of the step | MiB above logits |",
        "|---|--:|--:|--:|",
    ]
    for name, values in seconds.items():
        took = statistics.median(values[1:])
        mib = in_its_own_process(name, batch_size)
        lines.append(f"| {name} | {1e3 * took:.2f} | {took / step:.2%} | {mib:.1f} |")
    text = "\n".join(lines)
    print(text)
    if out is not None:
        out.write_text(text + "\n", "utf-8")


def step_seconds(name: str, size: int, batch_size: int, steps: int, device: torch.device) -> float:
    """Return the seconds of a student's forward and backward pass: the median after a first one."""
    if device.type == "cpu":
        torch.set_num_threads(1)
    model = build(name, CLASSES).to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    views = torch.rand(batch_size, 3, size, size, device=device)
    views = views.contiguous(memory_format=torch.channels_last)

    def step() -> None:
        model(views).logsumexp(dim=1).mean().backward()

    return statistics.median([timed(step, device) for _ in range(steps + 1)][1:])


def timed(work: Callable[[], None], device: torch.device) -> float:
    """Return how long some work takes, until the device has done it."""
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def above(asked: Asked, batch_size: int) -> float:
    """Return the peak memory of one term and its gradient above what was held before, in MiB."""
    cpu = torch.device("cpu")
    Batch.draw(4, 10, cpu).take(asked)  # loads what is loaded late
    batch = Batch.draw(batch_size, CLASSES, cpu)
    before = peak_mib()
    batch.take(asked)
    return peak_mib() - before


def in_its_own_process(name: str, batch_size: int) -> float:
    """Return what `above` measures, from a process that did nothing else."""
    command = [sys.executable, __file__, "--batch-size", str(batch_size), "--memory", name]
    return float(subprocess.run(command, capture_output=True, check=True).stdout)


if __name__ == "__main__":
    main()
