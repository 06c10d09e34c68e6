"""What can go wrong on the user's side, as one small tree that the command line catches in one place.

Every message names the thing, says what is wrong with it and what to do. A bug of ours is never an
``FkdError``: it keeps its traceback.
"""

from typing import Literal

# Why an image cannot be used. Stores keep a reason by its position, so the order stays.
Reason = Literal["missing", "unreadable", "empty", "damaged", "too large", "bad mask"]


class FkdError(Exception):
    """The base of every error that a user can mend; `fkd` prints it as one line and exits with 2."""


class ConfigError(FkdError):
    """A setting that is out of range, or two settings that do not go together."""


class ImagesError(FkdError):
    """An image folder that is missing, empty, without classes, or not the one that was labelled."""


class DecodeError(ImagesError):
    """One image file that cannot be used; `reason` says why, in a word or two."""

    def __init__(self, path: str, reason: Reason, detail: str) -> None:
        super().__init__(f"{path}: {reason} ({detail})")
        self.reason = reason


class ModelError(FkdError):
    """A teacher or student that is unknown, does not load, or does not fit the classes."""


class StoreError(FkdError):
    """A label store that is missing, unfinished, damaged, of another version or of other settings."""


class BlockError(StoreError):
    """A block of a store that cannot be read: its `number`, and `what` is wrong with it.

    `lost` says that no second look will find it whole; else the disk, or the memory, failed for now.
    """

    def __init__(
        self, where: object, number: int, what: str, *, lost: bool = True, remedy: str = ""
    ) -> None:
        remedies = (
            "see to the disk, the memory or the permissions, and try again",
            "restore the file, or send the block back to `fkd label` with `fkd check --repair`",
        )
        super().__init__(f"{where}: block {number}: {what}; {remedy or remedies[lost]}")
        self.number, self.what, self.lost = number, what, lost


class SoftLabelError(FkdError):
    """Probabilities that are no distribution, or a reading that the stored scheme cannot give."""


class Stopped(FkdError):
    """A run that a signal ended before its time, with all saved that it needs to go on."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number


class ToldElsewhere(FkdError):
    """The end of a run whose reason another of its processes tells; this one ends without a word."""


def of_compiler(error: BaseException) -> bool:
    """Say whether `torch.compile` raised an error, not the model that it was to compile."""
    return type(error).__module__.startswith(("torch._inductor", "torch._dynamo"))


def codec_words(error: BaseException) -> str:
    """Return what a codec says of damaged bytes, without the bytes that it quotes."""
    text = first_line(error)
    return "its checksum is wrong" if "checksum" in text else text


def first_line(error: BaseException) -> str:
    """Return the first line of what a library says, to quote it in a message of one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(". ")
