"""Generators of random numbers that a process has one of: seeded for a piece of work, and put back."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def seeded(key: np.random.SeedSequence) -> Iterator[None]:
    """Let Python's `random` and `numpy.random` draw from `key` inside; outside they go on as before."""
    python, numpy = random.getstate(), np.random.get_state()
    words = key.generate_state(4)
    random.seed(words.tobytes())
    np.random.seed(words)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
