"""What a model's own interpreter imports of BADC, where nothing but the standard library may be installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGES = sorted(path.parent.relative_to(ROOT) for path in (ROOT / "badc" / "runners").rglob("__init__.py"))


@pytest.mark.parametrize("package", [Path("badc"), *PACKAGES], ids=str)
def test_packages_of_the_runners_import_nothing(package: Path) -> None:
    name = ".".join(package.parts)
    code = f"import sys; before = set(sys.modules); import {name}; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [".".join(package.parts[: n + 1]) for n in range(len(package.parts))]


@pytest.mark.parametrize(
    "module", ["process.serve", "birdnet.host", "hawkears.host", "hawkears.checkpoints", "onnx.host"]
)
def test_hosts_start_with_the_standard_library_only(module: str) -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import badc.runners.{module}"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
