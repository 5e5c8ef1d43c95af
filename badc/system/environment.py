"""What programs that BADC starts inherit of its environment: all but the credentials for Prefect's server."""

from __future__ import annotations

import os
import re

# With these, a classifier could read and change every run of a lab. The URL of a database has its password in it.
_CREDENTIALS = re.compile(r"PREFECT_\w*(API_KEY|AUTH_STRING|PASSWORD|CONNECTION_URL|CUSTOM_HEADERS)")


def inherited() -> dict[str, str]:
    """Return this process's environment without credentials for a Prefect server or its database."""
    return {name: value for name, value in os.environ.items() if not _CREDENTIALS.fullmatch(name)}
