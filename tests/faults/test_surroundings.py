"""What surrounds a run: proxies, odd folders, odd configurations."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from badc.errors import RequestError
from badc.inference.config_file import load_run_config
from badc.recordings.dataset_file import kept_layout
from badc.reports.bundle import make_bundle
from badc.reports.files.frames import open_bundle
from badc.reports.settings import BundleSettings
from badc.system.sql import quoted_path
from tests.conftest import ROOT

TABLE = {"recording_id": ["R"], "chunk_id": ["c"], "absolute_time_ms": [0], "label": ["Ovenbird"], "confidence": [0.5]}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("[" * 5000 + "]" * 5000, "nested too deeply"),
        ("9" * 5000, "digits"),
        ('"~nobody-of-that-name/m.csv"', "no such user"),
    ],
)
def test_a_configuration_that_python_cannot_take_is_refused(tmp_path, value, reason) -> None:
    path = tmp_path / "run.toml"
    path.write_text(f"[runner]\nmanifest = {value}\n")
    with pytest.raises(RequestError, match=reason):
        load_run_config(path)


def test_so_is_the_file_of_a_dataset(tmp_path) -> None:
    (tmp_path / ".badc.toml").write_text(f"layout = {'[' * 5000}{']' * 5000}\n")
    with pytest.raises(RequestError, match="nested too deeply"):
        kept_layout(tmp_path)


@pytest.mark.long
@pytest.mark.slow
def test_a_proxy_is_not_asked_for_this_machine(make_recording, make_manifest, tmp_path) -> None:
    """A run with a server and workers of its own, where every proxy refuses."""
    proxy = "http://127.0.0.1:9"  # the port of `discard`, where nobody listens
    environment = {name: proxy for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "ALL_PROXY")}
    words = ["infer", "run", str(make_manifest(make_recording(seconds=1))), "--stub-runner", "--cpu-workers", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "flows", *words],
        cwd=tmp_path,
        env=_environment() | environment | {"no_proxy": "example.org"},
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"} | {"PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize("name", ["what?", "a*b", "[x]", "50%"])
def test_reports_work_in_a_folder_of_any_name(tmp_path, name) -> None:
    folder = tmp_path / name
    folder.mkdir()
    pq.write_table(pa.table(TABLE), folder / "t.parquet")
    make_bundle(BundleSettings(parquet=folder / "t.parquet", output_dir=folder / "out", no_plots=True))
    (database,) = folder.rglob("*.duckdb")
    with open_bundle(str(database)) as bundle:
        assert len(bundle.label_summary) == 1


def test_a_database_below_a_backslash_is_refused_before_anything_is_written(tmp_path) -> None:
    folder = tmp_path / "back\\slash"
    pq.write_table(pa.table(TABLE), tmp_path / "t.parquet")
    with pytest.raises(RequestError, match="choose another folder"):
        make_bundle(BundleSettings(parquet=tmp_path / "t.parquet", output_dir=folder, no_plots=True))
    assert not folder.exists()


def test_a_folder_that_duckdb_cannot_read_is_refused_in_words(tmp_path) -> None:
    with pytest.raises(RequestError, match="rename the folder"):
        quoted_path(tmp_path / "a\\b[c]" / "t.parquet")


def _told(words, tmp_path, **environment):
    """Run `badc` in `tmp_path`, and return its exit code and what it said."""
    done = subprocess.run(
        [*words], cwd=tmp_path, env=_environment() | environment, capture_output=True, timeout=100, check=False
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("options", [["audio", "--output-dir"], ["audio", "--manifest"]])
def test_a_path_that_is_not_utf_8_is_refused(tmp_path, options) -> None:
    words = [sys.executable, "-m", "flows", "chunk", "run", *options, b"\xe9t\xe9"]
    code, _, err = _told(words, tmp_path)
    assert code == 2, err
    assert err == f"badc: {tmp_path}/\ufffdt\ufffd: this path is not UTF-8; rename the file, or the folder at fault\n"


def test_letters_of_all_scripts_work_in_an_ascii_locale(tmp_path, make_recording) -> None:
    make_recording("\u00e9t\u00e9 \u590f.wav")
    words = [sys.executable, "-m", "flows", "chunk", "split", "audio/\u00e9t\u00e9 \u590f.wav", "--chunk-duration", "2"]
    words = [word.encode() for word in words]
    code, out, err = _told(words, tmp_path, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert code == 0, err
    assert out.splitlines() == ["\u00e9t\u00e9 \u590f_chunk_0_2000", "\u00e9t\u00e9 \u590f_chunk_2000_4000"]


@pytest.mark.skipif(os.getuid() != 0 or shutil.which("setpriv") is None, reason="only root can act as another user")
def test_a_user_without_a_home_is_told_to_set_one(tmp_path) -> None:
    caps = "+dac_read_search"  # to read a checkout that only root can
    words = ["setpriv", "--reuid=12345", f"--inh-caps={caps}", f"--ambient-caps={caps}"]
    words += ["env", "-u", "HOME", sys.executable, "-m", "flows", "version"]
    code, _, err = _told(words, tmp_path)
    assert code == 2
    assert err.startswith("badc: the system knows no home folder of user 12345; set HOME to a folder")


@pytest.mark.long
@pytest.mark.skipif(shutil.which("prlimit") is None, reason="the system has no prlimit")
def test_a_run_needs_few_file_descriptors(badc, make_recording, make_manifest) -> None:
    words = ["infer", "run", make_manifest(make_recording(seconds=4)), "--max-gpus", 0, "--cpu-workers", 2]
    process = badc(*words, before=["prlimit", "--nofile=64:64"], PREFECT_API_URL="")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "completed: 4/4 chunks" in out
