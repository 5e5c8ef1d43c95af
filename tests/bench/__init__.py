"""Benchmarks: each figure is a ratio against an alternative, or a cost, measured in one run (`make bench`)."""
