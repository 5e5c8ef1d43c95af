"""The programs that run inside a host process: they load a model once and answer requests over their pipes.

These modules run in the interpreter that has the model, which may be another one than BADC's own, so `serve` needs
the standard library only.
"""
