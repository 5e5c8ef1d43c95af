"""Classifiers as processes: one per attempt (`once`), or a host that loads a model once (`resident`, `serve`).

`serve` runs in the interpreter that has the model, which may not be BADC's own, so it needs only the standard library.
"""
