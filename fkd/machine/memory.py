"""This machine's memory, and its C library's allocator.

The allocator is told to keep what a network frees until the next batch wants it.

By default glibc gives every large block back to the system at once and asks for it anew a moment
later, and the system clears each page again: on two virtual cores that was three quarters of a
MobileNetV2's forward pass (190 against 750 views/s at 128 px, batches of 256).

Blocks above 1 GiB still go back to the system after each use. So `fkd label` gives a CPU batches whose
activations are smaller; `fkd.labelling.batches` has what that is worth.

It serves the main thread, where the network runs: other threads have arenas, which hold no block above
64 MiB. One arena for all would make threads that render wait for each other at every small block.
"""

import ctypes
import os

# From glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_NEVER_TRIM, _ONE_GIB = 2**31 - 1, 2**30


def keep_freed_memory() -> bool:
    """Make freed memory stay with this process; returns False where the C library is not glibc."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = ((_MMAP_THRESHOLD, _ONE_GIB), (_TRIM_THRESHOLD, _NEVER_TRIM))
    accepted = [mallopt(name, value) == 1 for name, value in settings]
    return all(accepted)


def physical_memory() -> int:
    """Return the bytes of memory that this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
