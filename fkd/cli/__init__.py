"""The command line: each command parses, calls one function, and prints.

This is the only wing that knows click. A command imports what it does when it runs, so `fkd --help`
loads no torch.
"""

from fkd.cli.group import main

__all__ = [
    "main",
]
