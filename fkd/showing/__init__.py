"""A page that shows what a store holds: `fkd show`.

`show_store` writes one HTML file with pictures of crops and figures of statistics. It needs
matplotlib.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.showing.show import show_store
else:
    __getattr__, __dir__ = names_of(
        __name__,
        show="show_store",
    )

__all__ = [
    "show_store",
]
