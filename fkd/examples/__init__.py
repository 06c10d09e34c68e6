"""Example images, rendered: objects that a network can learn to tell apart in minutes.

They come from `fkd.examples.scenes`, which is imported as a module: only scripts and tests need it.
"""

__all__: list[str] = []
