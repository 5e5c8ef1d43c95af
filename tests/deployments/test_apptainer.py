"""The Apptainer images: their steps in an empty Debian, as Apptainer itself cannot be installed everywhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

DEFINITIONS = ROOT / "deployments" / "apptainer"
# What a machine behind a proxy of its own needs to reach its package index, under a name that no package has.
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_COPIED = "/etc/ssl/certificates-of-the-host.crt"


def sections(definition: str) -> dict[str, str]:
    """Return the sections of a definition file by name."""
    text = (DEFINITIONS / definition).read_text()
    found = re.split(r"^%(\w+)\n", text, flags=re.MULTILINE)
    return dict(zip(found[1::2], found[2::2], strict=True))


class Image:
    """A Debian in a folder, in which the steps of a definition are run."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def build(self, definition: str) -> None:
        parts = sections(definition)
        for line in parts["files"].splitlines():
            if line.strip():
                source, target = line.split()
                self.copy(ROOT / source, target)
        self.run(parts["post"], "")
        self.run(parts["test"], self.environment)

    @property
    def environment(self) -> str:
        return sections("badc.def")["environment"]

    def copy(self, source: Path, target: str) -> None:
        path = self.root / target.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, path, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, path)

    def run(self, script: str, environment: str, user: str = "0:0", **variables: str) -> str:
        """Run a section as Apptainer does: with /bin/sh, after the environment of the image."""
        index = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        index |= {"PIP_CERT": _COPIED, "PIP_CONFIG_FILE": os.devnull} if _CERTIFICATES.exists() else {}
        done = subprocess.run(
            ["chroot", f"--userspec={user}", str(self.root), "/bin/sh", "-c", f"{environment}\n{script}"],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **index, **variables},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    if os.getuid() != 0 or shutil.which("debootstrap") is None:
        pytest.skip("needs root and debootstrap (Debian: debootstrap)")
    root = tmp_path_factory.mktemp("debian")
    root.chmod(0o755)
    subprocess.run(["debootstrap", "--variant=minbase", "bookworm", str(root)], check=True, capture_output=True)
    for path, target in ((Path("/etc/resolv.conf"), "/etc/resolv.conf"), (_CERTIFICATES, _COPIED)):
        if path.exists():
            Image(root).copy(path.resolve(), target)
    for folder in ("dev", "proc"):
        subprocess.run(["mount", "--rbind", f"/{folder}", str(root / folder)], check=True)
    try:
        yield Image(root)
    finally:
        for folder in ("dev", "proc"):
            subprocess.run(["umount", "--lazy", "--recursive", str(root / folder)], check=True)


def as_one_spells(requirement: str) -> str:
    """Return a pinned package with its name as packaging.python.org normalizes names."""
    name, _, version = requirement.partition("==")
    return f"{re.sub(r'[-_.]+', '-', name).lower()}=={version}"


@pytest.mark.long
def test_an_image_is_built_and_runs_without_a_home(debian: Image) -> None:
    debian.build("badc.def")
    installed = debian.run("python -m pip list --format freeze", debian.environment)
    assert "prefect==" in installed
    assert not re.search(r"^(pytest|mypy|zensical|playwright|datalad)==", installed, re.MULTILINE)
    pinned = {as_one_spells(line) for line in (ROOT / "requirements.lock").read_text().split() if "==" in line}
    for line in map(as_one_spells, installed.splitlines()):
        assert line in pinned or line.startswith(("badc==", "pip==", "setuptools==")), line
    size = subprocess.run(["du", "-sm", str(debian.root / "opt")], capture_output=True, text=True).stdout.split()[0]
    assert int(size) < 1200
    # A user whom the image does not know, without a home folder, on a node whose folder for temporary files is new.
    start = "from flows.server.local import PrefectApi; PrefectApi.begin().ready()"
    script = f"mkdir -p $TMPDIR && cd $TMPDIR && python -c '{start}'"
    debian.run(script, debian.environment, user="4711:4711", TMPDIR="/tmp/new")
    assert sorted(path.name for path in (debian.root / "tmp/new").iterdir())[:2] == [
        *("badc-cache-4711", "badc-prefect-4711"),
    ]
    # HawkEars takes 6 GB: of its definition, what can go wrong without them.
    assert sections("badc-hawkears.def")["post"].count("/opt/badc/.venv-hawkears") == 2
    found = "from badc.species.hawkears_files import OWN_PYTHON; print(OWN_PYTHON)"
    assert debian.run(f"python -c '{found}'", debian.environment) == "/opt/badc/.venv-hawkears/bin/python\n"
