"""Where HawkEars 2.x is installed for BADC, and its list of classes."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

# What `make hawkears` makes: an environment beside BADC's own.
OWN_PYTHON = Path(sys.prefix).with_name(".venv-hawkears") / "bin" / "python"
_CLASSES = "install/*/data/classes.csv"


def classes_file() -> Path | None:
    """Return HawkEars' list of classes (`Name,Code,AltName,AltCode`), or None where HawkEars is not installed.

    HawkEars is only located, never imported.
    """
    found = importlib.util.find_spec("hawkears")
    folders = [Path(place) for place in (found.submodule_search_locations or ())] if found is not None else []
    folders += OWN_PYTHON.parents[1].glob("lib/python*/site-packages/hawkears")
    return next((path for folder in folders for path in sorted(folder.glob(_CLASSES))), None)
