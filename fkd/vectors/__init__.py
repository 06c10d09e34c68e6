"""Vectors that a teacher said of a view: what is kept of them, and how they are read.

`KeptVectors` says which arrays a store has of a target, what is wrong with them, and how numbers become
codes and codes numbers. A label is a distribution and lies in `fkd.labels`; a vector has no classes.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.vectors.kept import MAX_NUMBERS, Constants, KeptVectors, StoredVectors, hash_constants
else:
    __getattr__, __dir__ = names_of(
        __name__, kept="MAX_NUMBERS Constants KeptVectors StoredVectors hash_constants"
    )

__all__ = ["MAX_NUMBERS", "Constants", "KeptVectors", "StoredVectors", "hash_constants"]
