"""Stored labels in trainers that people already have: one room a library, imported by its own name.

A room imports its library, so this face imports no room, and nothing else in fkd imports this wing.
"""

__all__: list[str] = []
