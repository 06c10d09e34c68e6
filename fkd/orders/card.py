"""One card of a label set, for whoever finds it on a hub: `fkd card`."""

from dataclasses import dataclass
from pathlib import Path

from fkd.config import Url, settle
from fkd.errors import ConfigError


@dataclass(frozen=True)
class CardConfig:
    """What a card is of, and what a store does not say of itself.

    `run` is the run of a student that was trained on it, a baseline for others. `license` is that of the
    labels, as the hub names licences ("cc-by-4.0"). `source` says in words which images it is of and
    where they are to be had. `name` is what the store is called where the card lies; None takes its own.
    """

    store: Path | Url
    run: Path | None = None
    license: str | None = None
    title: str | None = None
    source: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        settle(self)
        for flag, text in (("--license", self.license), ("--title", self.title)):
            if text is not None and (not text.strip() or not text.isprintable()):
                raise ConfigError(f"{flag} {text!r} is no line of text; give one, or leave it out")
        if self.license is not None and " " in self.license:
            raise ConfigError(
                f"--license {self.license!r} is none of the hub's names of licences; give one as "
                "cc-by-4.0 or other"
            )
