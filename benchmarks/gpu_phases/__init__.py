"""What `benchmarks/gpu.py` runs on a GPU, phase by phase, and the page it writes of it."""
