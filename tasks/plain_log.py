"""Prefect's logs without tracebacks of BADC's own errors, whose text names the place and the way out."""

from __future__ import annotations

import logging

from prefect.exceptions import CancelledRun, FailedRun

from badc.errors import BadcError


class _Plain(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, BadcError):
            record.exc_info = None
        # The end of a Failed or Cancelled run is logged already; Prefect logs it again, as an unexpected exception.
        return not isinstance(error, (CancelledRun, FailedRun))


_PLAIN = _Plain()


def log_plainly() -> None:
    """Filter Prefect's loggers of this process in this way from now on."""
    for name in ("prefect.flow_runs", "prefect.task_runs", "prefect.engine"):
        logging.getLogger(name).addFilter(_PLAIN)
