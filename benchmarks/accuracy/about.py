"""What is known of a study, in one small file: what it was begun with, and figures that no run has."""

import json
from pathlib import Path
from typing import Any

from fkd import FkdError

LABELLING = "labelling"  # among the views a second of a study


class About:
    """What is known of a study, in `about.json`: the figures in the report that no run has."""

    def __init__(self, out: Path) -> None:
        self._file = out / "about.json"
        self.said: dict[str, Any] = {"seconds": {}, "agreement": {}, "kl": {}, "views_per_s": {}}
        if self._file.exists():
            try:
                self.said |= json.loads(self._file.read_text("utf-8"))
                _ = self.said["given"]  # the first that is written
            except (ValueError, TypeError, KeyError) as error:
                raise FkdError(
                    f"{self._file} is damaged ({error}); choose another --out"
                ) from error

    def note(self, **more: Any) -> None:
        """Add what is known by name, and write it down."""
        self.said |= more
        write_json(self._file, self.said)

    def settle(self, **more: Any) -> None:
        """Note settings; raises `FkdError` where the study was begun with others."""
        more = json.loads(json.dumps(more))
        for name, value in more.items():
            parts = value if isinstance(value, dict) else {name: value}
            before = self.said if parts is not value else self.said.get(name, value)
            for part, now in parts.items():
                if before.get(part, now) != now:
                    raise FkdError(
                        f"{self._file.parent} was begun with {part} {before[part]}, not {now}; "
                        "choose another --out"
                    )
        self.note(**more)

    def note_in(self, group: str, name: str, value: float) -> None:
        """Add one figure to a group, and write it down."""
        self.note(**{group: self.said[group] | {name: value}})


def write_json(path: Path, content: Any) -> None:
    """Write a small file whole or not at all."""
    aside = path.with_suffix(".partial")
    aside.write_text(json.dumps(content, indent=1))
    aside.replace(path)
