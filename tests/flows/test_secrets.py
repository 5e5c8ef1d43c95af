"""Where the secrets of a run are, and where they are not; and who may read what it writes."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.flows.test_infer_ends import family, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.long]
TOKEN = "licence-8f2c61d0"


def _files(folder: Path) -> list[Path]:
    return [Path(base, name) for base, _, names in os.walk(folder) for name in names]


def _seen(processes: list[psutil.Process]) -> dict[str, dict[str, str]]:
    """Return the command lines of processes, each with its environment."""
    found = {}
    for one in processes:
        with suppress(psutil.NoSuchProcess):  # a command that has done its chunk
            found[" ".join(one.cmdline())] = one.environ()
    return found


def test_secrets_are_in_no_record_and_no_process_list(badc, make_recording, make_manifest, fake, tmp_path) -> None:
    manifest = make_manifest(make_recording(seconds=20))
    before = set(_files(tmp_path))
    mask = 0o027
    mine = os.umask(mask)
    try:
        process = badc(
            *("infer", "run", manifest, "--output-dir", "out", "--telemetry-log", "run.jsonl", "--cpu-workers", 1),
            *("--runner-cmd", fake("detector", "--seconds", 0.5), "--runner-env", "LICENCE"),
            PREFECT_API_URL="",
            PREFECT_HOME=str(tmp_path / "prefect"),
            LICENCE=TOKEN,
        )
    finally:
        os.umask(mine)
    seen: dict[str, dict[str, str]] = {}

    def of(what: str) -> dict[str, str]:
        return next((variables for words, variables in seen.items() if what in words and variables), {})

    def look() -> bool:
        seen.update(_seen(family(process)))
        return bool(of("flows.server.app") and of("detector.py"))

    try:
        wait_until(look)
        out, err = process.communicate(timeout=240)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, err
    auth = of("flows.server.app")["PREFECT_SERVER_API_AUTH_STRING"]
    assert of("detector.py")["LICENCE"] == TOKEN
    assert auth not in of("detector.py").values()
    written = set(_files(tmp_path)) - before
    assert len(written) > 20
    for secret in (TOKEN, auth):
        assert not [words for words in seen if secret in words]
        assert secret not in out + err
        assert not [path for path in written if secret.encode() in path.read_bytes()]
    # SQLite lets nobody else write, whatever the mask.
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in written if "prefect" not in path.parts}
    assert set(modes.values()) == {0o666 & ~mask}, modes
