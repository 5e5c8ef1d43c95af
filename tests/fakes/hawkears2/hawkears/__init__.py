"""A stand-in for HawkEars 2.x: what `badc.runners.hawkears.host` uses of it, with a model that takes no time.

HAWKEARS2_LOADS names a file to which each loading of a checkpoint adds a line.
"""

__version__ = "2.3.0+standin"
