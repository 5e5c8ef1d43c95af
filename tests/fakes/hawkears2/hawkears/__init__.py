"""A stand-in for HawkEars 2.x: what `badc.runners.hawkears.host` uses of it, with a model that takes no time.

HAWKEARS2_LOADS names a file to which each loading of a checkpoint adds a line.
HAWKEARS2_CALLS names one to which each call adds whether the low-band classifier is on, and how many models it may use.
HAWKEARS2_NETWORK_S makes each call read and transform the audio, and wait so long without the interpreter's lock.
HAWKEARS2_SPANS names a file that gets the begin and the end of each such call, in seconds.
HAWKEARS2_SLEEP_S makes each call wait so long, and nothing else.
HAWKEARS2_CRASH crashes the process at the recordings with this text in their names, once the others that it has then
wait too. HAWKEARS2_FITS is the number of calls for which the memory of the GPU is large enough.
"""

__version__ = "2.3.0+standin"
