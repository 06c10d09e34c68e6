"""A student as a program: it normalises pixels itself, and has its head or does without."""

import torch
from torch import Tensor, nn

from fkd.errors import ModelError
from fkd.models import OUTPUT, find_logits, last_linear, resized, without_head
from fkd.progress import note
from fkd.students.head import feature_layer
from fkd.students.student import StudentCard

_TOLERANCE = 1e-3


class Packaged(nn.Module):
    """A student that takes pixels in [0, 1], f32 [B, 3, H, W], and normalises them itself.

    Its maps are as large as the views, as they are evaluated. `returns` says what it is that it returns:
    "logits" or "features". Features of each frame, token or cell return as their mean, by which a student
    is judged.
    """

    def __init__(self, student: nn.Module, card: StudentCard, returns: str = "logits") -> None:
        super().__init__()
        self.student, self.returns = student, returns
        mean, std = (torch.tensor(v) for v in (card.preprocessing.mean, card.preprocessing.std))
        self.scale = nn.Buffer((1 / std).view(3, 1, 1))
        self.shift = nn.Buffer((-mean / std).view(3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits, f32 [B, C], [B, C, H, W] of maps or [B, T, C] of lines, or features [B, D]."""
        answer = self.student(pixels * self.scale + self.shift)
        logits: Tensor = find_logits(answer, pixels.shape[0], "the student")  # len() is a constant
        if self.returns == "features":
            return _one_a_view(logits)
        return resized(logits, pixels.shape[2:]) if logits.dim() == 4 else logits


def _one_a_view(features: Tensor) -> Tensor:
    if features.dim() == 4:
        return features.mean(dim=(2, 3))
    return features.mean(dim=1) if features.dim() == 3 else features


def packaged_without_head(
    network: nn.Module, card: StudentCard, pixels: Tensor
) -> tuple[Packaged, Tensor]:
    """Return a student whose last linear layer is gone, and its features of pixels, f32 [B, D].

    They are compared with what went into that layer; those of frames count as their mean. Where no loss
    was on classes and there is no such layer, the output is what learned, and is returned. Raises
    `ModelError` for another student that has none, and for one that does more with it than to return
    what it gives.
    """
    what, seen = f"student {card.name}", list[Tensor]()
    if feature_layer(network, card) == OUTPUT:
        note(f"{what} has no linear layer: its features are what it says, of maps the mean")
        model = Packaged(network, card, "features").eval()
        with torch.inference_mode():
            return model, model(pixels)
    try:
        head = last_linear(network, what)
    except ModelError as error:
        raise ModelError(
            f"{what} has no linear layer that could be left out; export it with its head"
        ) from error
    hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        Packaged(network, card).eval()(pixels)
        hook.remove()
        model = Packaged(without_head(network, what), card, "features").eval()
        features = _or_none(model, pixels)
    if not seen or features is None or not _are_alike(features, _one_a_view(seen[-1])):
        raise ModelError(
            f"{what}: its last linear layer is not what it ends with, so that it cannot do without; "
            "export it with its head"
        )
    return model, features


def _or_none(model: Packaged, pixels: Tensor) -> Tensor | None:
    """Return what a student says without its head, or None where it fails: a user's may do anything."""
    try:
        said = model(pixels)
    except Exception:
        return None
    return said if isinstance(said, Tensor) else None


def _are_alike(features: Tensor, seen: Tensor) -> bool:
    if features.dim() != 2 or features.shape != seen.shape:
        return False
    return torch.allclose(features, seen, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True)
