from types import SimpleNamespace


def get_initialization_status(root):
    missing = () if (root / "data" / "ckpt").is_dir() else ("main",)
    return SimpleNamespace(missing_resources=(), missing_bundles=missing)
