"""The domain of BADC: recordings, chunks, runners, detections, and the files that hold them.

Nothing in this package imports Prefect, Dask, Typer or Rich, so that a Dask worker, a notebook or another tool can
use it alone.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("badc")
except PackageNotFoundError:  # a source tree on the path that was never installed
    __version__ = "0+unknown"
