"""Text files that a user wrote: they are in UTF-8, or one line says what to do."""

from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from pathlib import Path
from typing import Literal

from fkd.errors import FkdError


def read_text(
    file: Path,
    named: str,
    remedy: str,
    error: type[FkdError],
    *,
    undecodable: Literal["strict", "surrogateescape"] = "strict",
) -> str:
    """Return the text of a file in UTF-8, without the mark that Windows' editors begin with.

    Bytes that are no UTF-8 are refused, or kept as names of files have them ("surrogateescape").
    Where it cannot be read, raises `error`, which calls it as `named` and says the `remedy`.
    """
    try:
        refuse_utf16(file, named, error)
        return file.read_text("utf-8-sig", undecodable)
    except FileNotFoundError as missing:
        raise error(f"{named}: no such file; {remedy}") from missing
    except (OSError, UnicodeDecodeError) as failure:
        raise error(f"{named} cannot be read ({failure}); {remedy}") from failure


def refuse_utf16(file: Path, named: str, error: type[FkdError]) -> None:
    """Raise `error` for a file in UTF-16, as Windows' editors also write."""
    if is_utf16(file):
        raise error(f"{named} is in UTF-16; save it in UTF-8 (iconv -f UTF-16 -t UTF-8)")


def is_utf16(file: Path) -> bool:
    """Say whether a file begins with the mark of UTF-16; raises `OSError` where it cannot be read."""
    with file.open("rb") as opened:
        return opened.read(2) in (BOM_UTF16_BE, BOM_UTF16_LE)
