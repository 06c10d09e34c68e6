"""The sparse loss against the dense one: time, and memory above logits and stored labels.

    python benchmarks/loss_speed.py

Both start from what a top-5 store keeps and end with the gradient of the logits. Memory is the peak of a
process of its own for each; time is the median of rounds that take turns in one.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import click
import torch
from peak import peak_mib
from torch import Tensor
from torch.nn import functional

from fkd import Scheme, soft_cross_entropy
from fkd.labels import Quantized, restore

CLASSES = (1000, 21_841)
TOP5 = Scheme("topk", 5)
Way = Callable[[Tensor, Quantized], Tensor]


def sparse(logits: Tensor, kept: Quantized) -> Tensor:
    """Gather K logits."""
    return soft_cross_entropy(logits, restore(kept, TOP5, TOP5, logits.shape[1])).mean()


def dense(logits: Tensor, kept: Quantized) -> Tensor:
    """Build targets of all classes."""
    targets = restore(kept, TOP5, TOP5, logits.shape[1]).dense(logits.shape[1])
    return functional.cross_entropy(logits, targets)


WAYS: dict[str, Way] = {"sparse": sparse, "dense": dense}


@click.command()
@click.option("--batch-size", default=1024, show_default=True)
@click.option("--rounds", default=10, show_default=True)
@click.option("--memory", nargs=2, type=str, hidden=True, help="A way and a number of classes.")
def main(batch_size: int, rounds: int, memory: tuple[str, str] | None) -> None:
    """Print time and memory of both ways at 1,000 and 21,841 classes."""
    if memory is not None:
        print(above(WAYS[memory[0]], batch_size, int(memory[1])))
        return
    print(f"torch {torch.__version__}, {batch_size} crops, top-5; loss and its gradient, medians\n")
    print("| classes | loss | ms | MiB above logits |\n|--:|---|--:|--:|")
    for classes in CLASSES:
        logits, kept = inputs(batch_size, classes)
        seconds: dict[str, list[float]] = {name: [] for name in WAYS}
        for _ in range(rounds + 1):
            for name, way in WAYS.items():
                began = time.perf_counter()
                way(logits, kept).backward()  # type: ignore[no-untyped-call]
                seconds[name].append(time.perf_counter() - began)
                logits.grad = None
        for name, values in seconds.items():
            mib = in_its_own_process(name, batch_size, classes)
            print(
                f"| {classes:,} | {name} | {1e3 * statistics.median(values[1:]):.1f} | {mib:.0f} |"
            )


def inputs(batch_size: int, classes: int) -> tuple[Tensor, Quantized]:
    """Return logits that want a gradient, and stored top-5 labels."""
    torch.manual_seed(0)
    logits = torch.randn(batch_size, classes, requires_grad=True)
    kept = {
        "index": torch.randint(classes, (batch_size, 5)),
        "code": torch.arange(0, 100, 20, dtype=torch.uint8).repeat(batch_size, 1),
    }
    return logits, kept


def above(way: Way, batch_size: int, classes: int) -> float:
    """Return the peak memory of one loss and gradient above what was held before, in MiB."""
    logits, kept = inputs(4, 10)
    way(logits, kept).backward()  # type: ignore[no-untyped-call]  # loads what is loaded late
    logits, kept = inputs(batch_size, classes)
    before = peak_mib()
    way(logits, kept).backward()  # type: ignore[no-untyped-call]
    return peak_mib() - before


def in_its_own_process(name: str, batch_size: int, classes: int) -> float:
    """Return what `above` measures, from a process that did nothing else."""
    command = [sys.executable, __file__, "--batch-size", str(batch_size), "--memory", name]
    return float(subprocess.run([*command, str(classes)], capture_output=True, check=True).stdout)


if __name__ == "__main__":
    main()
