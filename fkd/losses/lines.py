"""The texts of lines: are they of the logits, and how far are the logits from saying them (CTC).

Legend: b views, T frames, C classes, of which 0 is the blank, L characters of the longest text.
"""

import torch
from torch import Tensor
from torch.nn import functional

from fkd.config import BLANK
from fkd.errors import SoftLabelError
from fkd.losses.given import in_precision, shown

_FOUND = "batch.truth of StudentLoader(…, texts=True)"


def fitting_texts(logits: Tensor, texts: object) -> Tensor:
    """Return texts int64 [b, L]; raises `SoftLabelError` unless they are of the logits [b, T, C]."""
    wanted = f"int64 of shape [{len(logits)}, characters]"
    if texts is None:
        raise SoftLabelError(
            f"the loss looks at the text of each view and there are no texts; give {wanted} as targets "
            f"({_FOUND}), or a loss to soft labels alone"
        )
    if not isinstance(texts, Tensor):
        raise SoftLabelError(f"texts are of the class {type(texts).__name__}; give {wanted}")
    if (
        texts.dim() != 2
        or len(texts) != len(logits)
        or texts.dtype not in (torch.int32, torch.int64)
    ):
        raise SoftLabelError(f"texts are {shown(texts)}; give {wanted} ({_FOUND})")
    if texts.device != logits.device:
        raise SoftLabelError(
            f"texts are on {texts.device}, outputs on {logits.device}; move them by .to(device)"
        )
    looked_at = texts.device.type == "cpu" and not torch.compiler.is_compiling()
    if looked_at and texts.numel() and int(texts.max()) >= logits.shape[2]:
        raise SoftLabelError(
            f"texts name class {int(texts.max())}, counted from 0, and there are {logits.shape[2]} "
            "outputs; give classes of the model's own, 0 beyond the end of a text"
        )
    return texts.long()


def text_loss(logits: Tensor, texts: Tensor) -> Tensor:
    """Return the CTC loss of texts int64 [b, L] under logits [b, T, C], per view and character, [b].

    Graves et al., ICML 2006: -log Σ_π Π_t softmax(z_t)[π_t] over the paths π that say the text once
    repeats are merged and blanks, class 0, are taken out; over the number of its characters, as the mean
    of `torch.nn.CTCLoss` has it. A row ends where its numbers are 0, and one of -1 counts for nothing. A
    text of more characters than T frames can say has a loss of 0 (`zero_infinity`). All T frames count,
    those beyond the end of the text too: there the blank is right. A CPU waits for a GPU here, as in no
    other loss: torch's CTC wants the lengths of texts as numbers.
    """
    if not logits.numel():  # CTC is of one frame at least
        return in_precision(logits).sum(dim=(1, 2))
    if not texts.shape[1]:
        texts = texts.new_zeros((len(texts), 1))
    length, most = (texts > BLANK).cumprod(dim=1).sum(dim=1), logits.shape[1]
    counts = (texts[:, 0] >= BLANK) & (length <= most)
    # One text that is far too long would have all of its characters compared with every frame.
    texts, length = texts[:, :most], length.clamp(max=most)
    with torch.autocast(logits.device.type, enabled=False):
        log_probs = in_precision(logits).log_softmax(dim=2).transpose(0, 1)
        losses = functional.ctc_loss(
            log_probs,
            texts.clamp(min=BLANK),
            # Of lengths that are tensors torch reads both, more than once, and waits each time.
            (most,) * len(texts),  # type: ignore[arg-type]  # numbers are documented, too
            tuple(length.tolist()),  # type: ignore[arg-type]
            blank=BLANK,
            reduction="none",
            zero_infinity=True,
        )
        return torch.where(counts, losses / length.clamp(min=1), torch.zeros_like(losses))
