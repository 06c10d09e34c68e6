"""What the code runs on: devices, memory, files, locks, signals and generators of random numbers.

A device is chosen by name. A file is written aside and renamed, so that it is whole or not there. A
user's text is read in UTF-8. A lock keeps other processes out of a folder, and a signal waits until the
work is safe. Generators that all code of a process shares are seeded for a piece of work and put back.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.machine.caches import cache_folder
    from fkd.machine.device import (
        autocast,
        device_memory,
        make_current,
        own_device,
        place,
        resolve_device,
        widest_float,
    )
    from fkd.machine.files import aside_of, sync, write_aside, write_whole
    from fkd.machine.generators import seeded
    from fkd.machine.locks import held
    from fkd.machine.memory import physical_memory
    from fkd.machine.signals import StopRequest, remembered_signals
    from fkd.machine.transfer import Download, page_locked, upload
    from fkd.machine.utf8 import is_utf16, read_text, refuse_utf16
else:
    __getattr__, __dir__ = names_of(
        __name__,
        caches="cache_folder",
        device="autocast device_memory make_current own_device place resolve_device widest_float",
        files="aside_of sync write_aside write_whole",
        generators="seeded",
        locks="held",
        memory="physical_memory",
        signals="StopRequest remembered_signals",
        transfer="Download page_locked upload",
        utf8="is_utf16 read_text refuse_utf16",
    )

__all__ = [
    "Download",
    "StopRequest",
    "aside_of",
    "autocast",
    "cache_folder",
    "device_memory",
    "held",
    "is_utf16",
    "make_current",
    "own_device",
    "page_locked",
    "physical_memory",
    "place",
    "read_text",
    "refuse_utf16",
    "remembered_signals",
    "resolve_device",
    "seeded",
    "sync",
    "upload",
    "widest_float",
    "write_aside",
    "write_whole",
]
