"""The label that a student learns: the stored one as the run reads it, or a calibrated one.

FerKD (Shen, ICCV 2023, arXiv:2312.17473) gives crops on which the teacher is least sure a softened hard
label instead of the soft one; here `--calibrate` does, see docs/recipes.md.

Legend: B crops, C classes, K kept classes.
"""

import math

import torch
from torch import Tensor

from fkd.amounts import as_count
from fkd.config import HottestLabel, LoaderConfig, Scheme
from fkd.labels import Fidelity, GridLabels, KeptLabels, Labels, Quantized, SoftLabels

# Re-norm may drop this share of re-tempered labels without a word; and of labels that are read with
# smoothing, the kept classes may have as little as this: else most of a label is a guess.
_DROPPED, _GUESSED = 0.05, 0.5


def training_labels(
    kept: Quantized,
    targets: Tensor,
    stored: KeptLabels,
    config: LoaderConfig,
    temperature: float | None = None,
) -> Labels:
    """Restore the quantized labels of B crops by the run's configuration; `targets` int64 [B].

    Those of maps know their grid. `temperature` is the one to read them at, None the configuration's.
    Raises `SoftLabelError` where `stored` cannot be read so.
    """
    tempered = config.label_temperature if temperature is None else temperature
    labels = stored.restore(kept, config.reading, tempered)
    if stored.grid:
        return GridLabels(labels, stored.grid)
    selection = config.selection
    if not selection.calibrate:
        return labels
    unsure = stored.restore(kept).confidence < selection.unsure_below
    return harden(labels, unsure, targets, stored.num_classes, selection.unsure_smoothing)


def temper_warning(
    scheme: Scheme,
    hottest: HottestLabel,
    stored: KeptLabels,
    kept: Quantized,
    fidelity: Fidelity | None = None,
) -> str | None:
    """Say what a label temperature does to labels that are not read whole, or None.

    At a higher temperature the classes that are not kept have more of the teacher's probability. Re-norm
    drops that, and smoothing has only their number to share it by. How much it is, is measured on the
    quantized labels `kept` of B crops where they have every class, and else known by the store's
    `fidelity`. A store without one can say how much it is at most.
    """
    temperature, asked, storable = hottest
    if temperature == 1:
        return None
    if scheme.kind == "hard":
        return f"{asked} does nothing to labels that are read as hard"
    if temperature < 1 or scheme.kind == "full":
        return None
    renorm = scheme.kind == "topk" and scheme.tail == "renorm"
    known = stored.keeps_all or fidelity is not None
    now, before = (_held(kept, stored, scheme, t, fidelity) for t in (temperature, 1.0))
    if now > (1 - _DROPPED if renorm else _GUESSED) or not (renorm or known):
        return None
    rest = (
        "re-norm drops the rest"
        if renorm
        else "smoothing shares the rest evenly, as no teacher does"
    )
    remedy = (
        "--compress full reads all of it"
        if stored.keeps_all
        else "a store of more classes bears it, one of all best (`fkd label --compress full-8bit`)"
    )
    count = scheme.kept(stored.num_classes)
    classes = "class that it reads" if count == 1 else f"{as_count(count, 'class')} that it reads"
    hold = "may hold as little as" if not known else "holds" if count == 1 else "hold"
    if storable:
        remedy += (
            f", and `fkd label --temperature {temperature:g}` tempers before anything is dropped"
        )
    return (
        f"{asked} with --compress {scheme}: at that temperature the "
        f"{classes} {hold} {now:.0%} of the teacher's probability ({before:.0%} at 1), and {rest}; "
        f"{remedy}"
    )


def _held(
    kept: Quantized,
    stored: KeptLabels,
    scheme: Scheme,
    temperature: float,
    fidelity: Fidelity | None,
) -> float:
    """Return the share of the teacher's probability in the classes that `scheme` reads, on average."""
    if stored.keeps_all or fidelity is None:
        whole = stored.restore(kept, scheme.whole, temperature)
        return float(whole.value.sum(dim=1).mean())
    ranks = stored.restore(kept, Scheme("topk", stored.num_ranks), temperature).value
    share = ranks[:, : scheme.kept(stored.num_classes)].sum(dim=1).mean()
    return fidelity.kept_share(temperature) * float(share)


def harden(
    labels: SoftLabels, rows: Tensor, targets: Tensor, num_classes: int, smoothing: float
) -> SoftLabels:
    """Replace the soft labels in `rows`, bool [B], by softened hard labels.

    The class `targets` int64 [B] gets 1 - `smoothing`, each other class an even share of the rest. Sparse
    labels stay sparse: a class that is not among the K takes the place of the last, so ids stay distinct.
    """
    if num_classes == 1:
        return labels
    share = smoothing / (num_classes - 1)
    index, each = labels.index, rows[:, None]
    if index is None:
        at_target = torch.arange(num_classes, device=targets.device) == targets[:, None]
    else:
        missing = rows & (index != targets[:, None]).all(dim=1)
        last = torch.where(missing, targets, index[:, -1])
        index = torch.cat([index[:, :-1], last[:, None]], dim=1)
        at_target = index == targets[:, None]
    softened = torch.where(at_target, 1 - smoothing, share)
    tail = 0.0 if index is None or index.shape[1] == num_classes else share
    deviation = labels.deviation
    if deviation is not None:
        deviation = torch.where(rows, _deviation(1 - smoothing, share, num_classes), deviation)
    return SoftLabels(
        index,
        torch.where(each, softened, labels.value),
        torch.where(rows, tail, labels.tail),
        num_classes,
        deviation,
    )


def _deviation(one: float, each_other: float, num_classes: int) -> float:
    """Return the standard deviation of the logits of a label that gives all classes but one the same."""
    least = torch.finfo(torch.float32).tiny
    gap = math.log(max(one, least)) - math.log(max(each_other, least))
    return abs(gap) / math.sqrt(num_classes)
