"""Prefect's logs without tracebacks of what is no bug: the text of our errors names the place and the way out."""

from __future__ import annotations

import logging

from prefect.exceptions import CancelledRun, FailedRun

from badc.errors import BadcError


class _Plain(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, BadcError):
            record.exc_info = None
        # A run that ends as Failed or Cancelled has said so; Prefect says it again, as an unexpected exception.
        return not isinstance(error, (CancelledRun, FailedRun))


_PLAIN = _Plain()


def log_plainly() -> None:
    """Let Prefect's loggers of this process write so from now on."""
    for name in ("prefect.flow_runs", "prefect.task_runs", "prefect.engine"):
        logging.getLogger(name).addFilter(_PLAIN)
