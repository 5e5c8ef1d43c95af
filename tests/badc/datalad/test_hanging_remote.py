"""A remote from which nothing comes is given up, with all that was started for it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from badc.datalad.content import fetch
from badc.datalad.environment import DataladError, git

pytestmark = [pytest.mark.datalad, pytest.mark.long]

# https://git-annex.branchable.com/design/external_special_remote_protocol/
HANGING = """#!/bin/bash
echo VERSION 1
while read -r word what key _; do
  case $word in
    EXTENSIONS) echo EXTENSIONS ;;
    INITREMOTE | PREPARE) echo "$word-SUCCESS" ;;
    TRANSFER) if [[ $what == STORE ]]; then echo "TRANSFER-SUCCESS STORE $key"; else sleep 300; fi ;;
    CHECKPRESENT) echo "CHECKPRESENT-SUCCESS $what" ;;
    *) echo UNSUPPORTED-REQUEST ;;
  esac
done
"""


def test_a_remote_that_hangs_is_given_up(
    datalad_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "git-annex-remote-hanging"
    program.parent.mkdir()
    program.write_text(HANGING)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/local/bin:/usr/bin:/bin")
    external = ("type=external", "externaltype=hanging", "encryption=none")
    git(datalad_dataset, "annex", "initremote", "hanging", *external)
    git(datalad_dataset, "annex", "move", "--quiet", "--to=hanging", "audio/REC.wav")
    began = time.monotonic()
    with pytest.raises(DataladError, match="given up, as nothing came for 5 s"):
        fetch(datalad_dataset, ["audio/REC.wav"], idle_limit_s=5)
    assert time.monotonic() - began < 100
