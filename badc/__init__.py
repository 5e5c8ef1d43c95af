"""The domain of BADC: recordings, chunks, runners, detections, and the files that hold them.

Nothing in this package imports Prefect, Dask, Typer or Rich, so that a Dask worker, a notebook or another tool can
use it alone. This file and those of `badc.runners` import nothing at all: a model's own interpreter may have no more
than the standard library.
"""


def __getattr__(name: str) -> str:
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("badc")
    except PackageNotFoundError:  # a source tree on the path that was never installed
        return "0+unknown"
