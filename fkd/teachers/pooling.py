"""A teacher's tokens and maps to vectors: as a student's, by one rule. Its views are square."""

from fkd.models import as_vectors

__all__ = ["as_vectors"]
