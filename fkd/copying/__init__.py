"""Stores to other stores: carried byte for byte between folders, zips and buckets."""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.copying.carry import CarryReport, carry_store
else:
    __getattr__, __dir__ = names_of(__name__, carry="CarryReport carry_store")

__all__ = ["CarryReport", "carry_store"]
