"""Are a teacher's outputs logits? A softmax makes labels of whatever it returns.

Labels of probabilities are nearly even, though their first class is right: softmax(p) of 1000 classes
gives the most likely one e / (e + 999) at most. So a look at the top-1 does not find them.
"""

import math

from torch import Tensor

from fkd.config import TeacherOutput

# How far from 1 the probabilities of a network in bfloat16 may sum. The sums of logits are nowhere near 1
# in every row, and all of them in [0, 1] as well.
_ROUNDING = 1e-2

# Logits of trained networks stay within some hundreds, and so does what the first is ahead by.
_ABSURD = 1e3

# Logits that are exactly 0 now and then are none where none is negative either; scaled cosines, as CLIP's
# logits, may all be positive.
_ZEROS = 0.01

# The largest probability that any two outputs so near each other can give.
_EVEN = 0.1


def not_logits(outputs: Tensor) -> str | None:
    """Say what is wrong with outputs, f32 [n, outputs], that are probabilities; None for all others.

    Log-probabilities are right: their softmax is the probabilities.
    """
    if not _can_be_judged(outputs):
        return None
    in_range = float(outputs.min()) >= 0 and float(outputs.max()) <= 1 + _ROUNDING
    if not in_range or float((outputs.double().sum(dim=1) - 1).abs().max()) > _ROUNDING:
        return None
    return (
        f"returns probabilities, not logits: {_range(outputs)}, and another softmax would make nearly "
        "even labels of them; say --teacher-output probs, or return the logits"
    )


def misread(outputs: Tensor, output: TeacherOutput) -> str | None:
    """Say where outputs, f32 [n, outputs], are not what they should be."""
    if output == "logits":
        return not_logits(outputs)
    if not outputs.isfinite().all():
        return None  # labelling refuses that, and names the image
    in_range = outputs.numel() == 0 or float(outputs.min()) >= 0
    if in_range and bool(((outputs.double().sum(dim=1) - 1).abs() <= _ROUNDING).all()):
        return None
    return (
        f"returns no probabilities: {_range(outputs)}; leave --teacher-output probs out if it returns "
        "logits"
    )


def suspicion(outputs: Tensor, temperature: float = 1.0) -> str | None:
    """Say what is odd about outputs, f32 [n, classes], of n views; None where nothing is.

    They are those that labels are made of, at a temperature: it may be what makes them right, or wrong.
    """
    if not _can_be_judged(outputs):
        return None
    logits = outputs / temperature
    low, high = float(logits.min()), float(logits.max())
    best = logits.topk(2, dim=1).values
    if len(outputs) > 1 and bool((outputs == outputs[0]).all()):
        return f"returns the same for all {len(outputs)} views that were looked at"
    if float((best[:, 0] - best[:, 1]).median()) > _ABSURD:
        return (
            f"returns no usual logits: {_range(outputs)}, so that labels will have one class each; "
            "scale what it returns, or choose a higher --temperature"
        )
    if low >= 0 and max(high, float(outputs.max())) <= 1:
        return f"may return the sigmoids of its logits: {_range(outputs)}; return the logits"
    if low == 0 and float((outputs == 0).float().mean()) >= _ZEROS:
        return f"may return its logits after a ReLU: {_range(outputs)}; return the logits"
    # The bound that no label can pass: all other classes as unlikely as the least likely one.
    odds = math.exp(min(high - low, 50.0))
    most = odds / (odds + outputs.shape[1] - 1)
    if most < _EVEN:
        return (
            f"makes nearly even labels: {_range(outputs)}, so that no class gets more than {most:.2g} "
            f"at a temperature of {temperature:g}; scale what it returns, or choose a lower --temperature"
        )
    return None


def _can_be_judged(outputs: Tensor) -> bool:
    """Leave out a single output, and what is not finite: labelling refuses that, and names the image."""
    return outputs.numel() > 0 and outputs.shape[1] > 1 and bool(outputs.isfinite().all())


def _range(outputs: Tensor) -> str:
    sums = outputs.double().sum(dim=1)
    return (
        f"its outputs lie in [{float(outputs.min()):.3g}, {float(outputs.max()):.3g}] and the rows sum "
        f"to {float(sums.min()):.3g} to {float(sums.max()):.3g}"
    )
