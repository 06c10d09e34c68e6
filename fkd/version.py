"""Which version of fkd this is, and of what it is built on. `setup.cfg` has the one number of ours."""

from configparser import ConfigParser, Error
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_TREE = Path(__file__).parents[1] / "setup.cfg"


def version_of(package: str) -> str:
    """Return the version of an installed package; "unknown" for one that is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown" if package != "fkd" else _of_tree(_TREE)


def _of_tree(file: Path) -> str:
    """Return the version of a source tree that is not installed, from its setup.cfg."""
    config = ConfigParser(interpolation=None)
    try:
        config.read(file, "utf-8")
    except (Error, OSError, ValueError):
        return "unknown"
    ours = config.get("metadata", "name", fallback="") == "fkd"
    return config.get("metadata", "version", fallback="unknown") if ours else "unknown"


__version__ = version_of("fkd")
