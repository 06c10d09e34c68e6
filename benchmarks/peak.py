"""The peak memory of a process, as benchmarks report it."""

import resource
import sys
from pathlib import Path


def peak_mib() -> float:
    """Return this process's peak resident memory so far, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage says on Linux includes the process that started this one
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
