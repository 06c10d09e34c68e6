"""The folder that `fkd export-labels` writes to: its settings, its files, and one run at a time.

FKD's trainer is given OUT/NAME, with the name of the data root, and looks for train/CLASS/NAME.tar in it.
"""

import json
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from fkd.errors import ConfigError
from fkd.exchanging.fkd_folder import label_name
from fkd.machine import aside_of, held, write_whole
from fkd.orders import ExportLabelsConfig
from fkd.store import LabelStore

SETTINGS, CLASSES = "fkd-export.json", "classes.txt"
_FALLBACK = "images"


@dataclass(frozen=True)
class ExportPlace:
    """Where the file of each image goes: `folder` is what FKD's trainer is given."""

    out: Path
    folder: Path

    @classmethod
    def of(cls, config: ExportLabelsConfig, store: LabelStore) -> "ExportPlace":
        """Name the folder after the data root of a store, as FKD's generator does."""
        root = PurePosixPath(store.spec.images_root)
        name = root.parent.name if root.name == "train" else root.name
        return cls(config.out, config.out / (name if name.strip(".") else _FALLBACK))

    def path(self, key: str) -> Path:
        """Return the file of an image."""
        return self.folder / "train" / key.partition("/")[0] / label_name(key)

    def prepare(self, config: ExportLabelsConfig, store: LabelStore, kind: str) -> None:
        """Make the folder and its settings; refuse a folder of something else, or of other settings."""
        wanted = {
            "made_by": "fkd export-labels", "store": store.digest(), "format": config.format,
            "kind": kind, "dtype": config.dtype,
        }  # fmt: skip
        made = self._settings()
        if made is not None:
            different = next((name for name in wanted if made.get(name) != wanted[name]), None)
            if different is not None:
                raise ConfigError(
                    f"{self.out} holds an export with {different} {made.get(different)}, not "
                    f"{wanted[different]}; name another folder"
                )
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            names = "".join(f"{name}\n" for name in store.class_names())
            write_whole(self.out / CLASSES, names.encode("utf-8", "surrogateescape"))
            write_whole(self.out / SETTINGS, (json.dumps(wanted, indent=2) + "\n").encode())
        except OSError as error:
            raise ConfigError(
                f"{self.out} cannot be made ({error}); name another folder"
            ) from error

    def alone(self) -> AbstractContextManager[None]:
        """Keep other runs away, which would write to the same files."""
        busy = ConfigError(
            f"another `fkd export-labels` is at work on {self.out}; wait for it or stop it"
        )
        return held(self.out / SETTINGS, busy, "fkd export-labels")

    def _settings(self) -> dict[str, Any] | None:
        """Return the settings of an earlier run, or None where the folder is new or empty."""
        try:
            ours = {aside_of(Path(name)).name for name in (SETTINGS, CLASSES)} | {
                CLASSES,
                self.folder.name,
            }
            found = set(os.listdir(self.out))
            if SETTINGS not in found and not (found - ours) and not _holds_files(self.folder):
                return None
            made = json.loads((self.out / SETTINGS).read_text("utf-8"))
            if made["made_by"] == "fkd export-labels":
                return {**made}
        except FileNotFoundError:
            if not os.path.lexists(self.out):
                return None
        except (OSError, ValueError, TypeError, KeyError):
            pass
        raise ConfigError(
            f"{self.out} is there already and holds no {SETTINGS} of `fkd export-labels`, so it is left "
            "alone; name another folder"
        )


def _holds_files(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())
