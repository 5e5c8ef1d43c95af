from pathlib import Path
from types import SimpleNamespace


def resolve_application_paths(data_root):
    return SimpleNamespace(data_root=Path(data_root or "/nowhere/hawkears"))
