"""The description of the package, for readers who have no repository beside it.

Everything else is in setup.cfg. README.md links to files of the repository; on a page of its own those
links would lead nowhere, so there they are paths in the source distribution.
"""

import re
from pathlib import Path

from setuptools import setup

_LINK = re.compile(r"\[([^\]]+)\]\((?!https?://)([^)#]+)[^)]*\)")


def description() -> str:
    """Return README.md with links to files in words: "Label (docs/labelling.md)"."""
    text = Path(__file__).with_name("README.md").read_text("utf-8")

    def in_words(link: re.Match[str]) -> str:
        named = link[1] if link[1] == link[2] else f"{link[1]} ({link[2]})"
        return named.replace("`", "")

    return _LINK.sub(in_words, text)


setup(long_description=description(), long_description_content_type="text/markdown")
