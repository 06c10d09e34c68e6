"""A page that shows what a store holds: `fkd show`.

`show_store` writes one HTML file with pictures of crops and figures of statistics. It needs
matplotlib.
"""

from fkd.showing.show import show_store

__all__ = [
    "show_store",
]
