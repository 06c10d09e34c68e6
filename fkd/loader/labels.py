"""The label that a student learns: the stored one as the run reads it, or a calibrated one.

FerKD (Shen, ICCV 2023, arXiv:2312.17473) gives crops on which the teacher is least sure a softened hard
label instead of the soft one; here `--calibrate` does, see docs/recipes.md.

Legend: B crops, C classes, K kept classes.
"""

import torch
from torch import Tensor

from fkd.config import LoaderConfig
from fkd.labels import KeptLabels, Quantized, SoftLabels

# Re-norm may drop this share of re-tempered labels without a word.
_DROPPED = 0.05


def training_labels(
    kept: Quantized, targets: Tensor, stored: KeptLabels, config: LoaderConfig
) -> SoftLabels:
    """Restore the quantized labels of B crops by the run's configuration; `targets` int64 [B].

    Raises `SoftLabelError` where `stored` cannot be read as configured.
    """
    labels = stored.restore(kept, config.scheme, config.label_temperature)
    selection = config.selection
    if not selection.calibrate:
        return labels
    unsure = stored.restore(kept).confidence < selection.unsure_below
    return harden(labels, unsure, targets, stored.num_classes, selection.unsure_smoothing)


def temper_warning(config: LoaderConfig, stored: KeptLabels, kept: Quantized) -> str | None:
    """Say what a label temperature does to labels that are not read whole, or None.

    Re-norm gives the wanted K classes the whole label. What the others had is dropped, and at a higher
    temperature they had more: of B crops' quantized labels, here as much as there can be of it.
    """
    scheme, temperature = config.scheme, config.label_temperature
    if temperature == 1:
        return None
    if scheme.kind == "hard":
        return f"--label-temperature {temperature:g} does nothing to labels that are read as hard"
    if temperature < 1 or scheme.kind != "topk" or scheme.tail != "renorm":
        return None
    now, before = (
        float(1 - stored.restore(kept, scheme.whole, t).value.sum(dim=1).mean())
        for t in (temperature, 1.0)
    )
    if now < _DROPPED:
        return None
    remedy = "--compress full" if stored.keeps_all else f"--compress {scheme.whole}"
    spreads = "drops nothing" if stored.keeps_all else "shares that evenly among the other classes"
    return (
        f"--label-temperature {temperature:g} with --compress {scheme} drops up to {now:.0%} of the "
        f"labels ({before:.0%} at 1), since re-norm leaves only the classes that it keeps; {remedy} "
        f"{spreads}, and `fkd label --temperature {temperature:g}` tempers before it drops anything"
    )


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
    return SoftLabels(
        index,
        torch.where(each, softened, labels.value),
        torch.where(rows, tail, labels.tail),
        num_classes,
    )
