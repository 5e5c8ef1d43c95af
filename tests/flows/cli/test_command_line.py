"""The command line as users meet it: refusals, exit codes, output that can be piped."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from flows.cli.main import GROUPS, build
from tests.conftest import ROOT
from tests.fakes.command_line import badc

CHUNK_MANIFEST = ("chunk", "manifest")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such manifest"),
        ("", "the manifest is empty"),
        ("recording_id;chunk_id;source_path;start_ms;end_ms\n", "separated by ';'"),
        ("recording_id,chunk_id,source_path,start_ms\n", "the column end_ms is missing"),
        ("recording_id,chunk_id,source_path,start_ms,end_ms\nR,../x,a.wav,0,1\n", "m.csv:2: chunk_id '../x'"),
        (
            "recording_id,chunk_id,source_path,start_ms,end_ms\nR,c,a.wav,60,60\n",
            "m.csv:2: end_ms 60 is not after start_ms 60",
        ),
        ("recording_id,chunk_id,source_path,start_ms,end_ms\nR,c,a.wav,0,1\n", "no such audio file"),
    ],
)
def test_a_bad_manifest_is_refused_before_anything_starts(content, message, tmp_path):
    if content is not None:
        (tmp_path / "m.csv").write_text(content)
    done = badc("infer", "run", "m.csv", cwd=tmp_path)

    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert {path.name for path in tmp_path.iterdir()} <= {"m.csv"}, "nothing is written"


def test_a_header_alone_is_no_chunks_and_no_error(tmp_path):
    (tmp_path / "m.csv").write_text("recording_id,chunk_id,source_path,start_ms,end_ms\n")
    done = badc("infer", "run", "m.csv", cwd=tmp_path)

    assert done.returncode == 0
    assert "no chunks" in done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--runner-cmd", "x", "--use-birdnet"], "--runner-cmd and --use-birdnet exclude each other"),
        (["--max-retries", "-1"], "--max-retries: input should be greater than or equal to 0"),
        (["--cpu-workers", "-1"], "--cpu-workers: input should be greater than or equal to 0"),
        (["--species-list", "s.txt"], "--species-list is for --use-birdnet"),
        (["--hawkears-root", "x"], "--hawkears-root is for --use-hawkears"),
        (["--use-hawkears", "--hawkears-root", "x"], "--hawkears-root x: has no analyze.py"),
        (["--use-hawkears", "--hawkears-python", "x"], "make hawkears"),
        (["--use-birdnet", "--species-list", "none.txt"], "none.txt: no such species list"),
        (["--resume-summary", "none.json"], "none.json: the run to resume cannot be read"),
        (["--output-dir", "m.csv/out"], "the output folder cannot be made"),
        (["--telemetry-log", "."], "--telemetry-log is a folder"),
        (["--print-datalad-run"], "lies in no DataLad dataset"),
    ],
)
def test_a_wrong_request_is_refused(options, message, make_recording, tmp_path):
    audio = make_recording(seconds=2)
    (tmp_path / "m.csv").write_text(
        f"recording_id,chunk_id,source_path,start_ms,end_ms\nREC,REC_chunk_0_1000,{audio},0,1000\n"
    )
    done = badc("infer", "run", "m.csv", *options, cwd=tmp_path)

    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"m.csv", "audio"}, "nothing is written"


def test_a_runs_options_can_be_saved_and_run_again(tmp_path):
    (tmp_path / "m.csv").write_text("recording_id,chunk_id,source_path,start_ms,end_ms\n")
    options = ("--use-birdnet", "--min-confidence", 0.4, "--max-gpus", 0)
    assert badc("infer", "run", "m.csv", *options, "--save-config", "saved/run.toml", cwd=tmp_path).returncode == 0
    assert "min_confidence = 0.4" in (tmp_path / "saved" / "run.toml").read_text()
    done = badc("infer", "run-config", "saved/run.toml", "--set", "keep_going=true", cwd=tmp_path)
    assert (done.returncode, f"{tmp_path / 'm.csv'}: no chunks" in done.stdout) == (0, True)
    done = badc("infer", "run-config", "saved/run.toml", "--set", "min_confidence=2", cwd=tmp_path)
    assert done.returncode == 2
    assert "runner.min_confidence: " in done.stderr


def test_manifest_run_split_and_dry_run_agree_on_ids_and_offsets(make_recording, tmp_path):
    audio = make_recording("with space.wav", seconds=5.5)
    cut = (audio, "--chunk-duration", 2, "--overlap", 0.5)
    assert badc("chunk", "manifest", *cut, "--output", "virtual.csv", "--hash-chunks", cwd=tmp_path).returncode == 0
    assert badc("chunk", "run", *cut, "--output-dir", "wavs", "--manifest", "wavs.csv", cwd=tmp_path).returncode == 0
    ids = badc("chunk", "split", *cut, cwd=tmp_path).stdout.splitlines()
    planned = [
        line.split("\t")[:3] for line in badc("chunk", "run", *cut, "--dry-run", cwd=tmp_path).stdout.splitlines()
    ]

    def rows(name: str) -> list[list[str]]:
        with (tmp_path / name).open() as stream:
            return [[r["chunk_id"], r["start_ms"], r["end_ms"], r["sha256"]] for r in csv.DictReader(stream)]

    assert rows("virtual.csv") == rows("wavs.csv"), "hashes included"
    assert [row[:3] for row in rows("virtual.csv")] == planned
    assert [row[0] for row in rows("virtual.csv")] == ids
    assert ids[0] == "with space_chunk_0_2000"
    assert len(list((tmp_path / "wavs").glob("*.wav"))) == len(ids)


def test_a_dry_run_writes_nothing(make_recording, tmp_path):
    done = badc("chunk", "run", make_recording(), "--chunk-duration", 1, "--dry-run", cwd=tmp_path)

    assert len(done.stdout.splitlines()) == 4
    assert {path.name for path in tmp_path.iterdir()} == {"audio"}


def test_inside_a_dataset_the_defaults_are_its_folders(make_recording, tmp_path):
    (tmp_path / ".datalad").mkdir()
    audio = make_recording()
    assert badc("chunk", "run", audio, "--chunk-duration", 2, cwd=tmp_path / "audio").returncode == 0

    assert (tmp_path / "artifacts/chunks/REC/REC_chunk_0_2000.wav").is_file()
    assert (tmp_path / "artifacts/chunks/REC/.chunk_status.json").is_file()
    assert "artifacts/chunks/REC/REC_chunk_0_2000.wav" in (tmp_path / "manifests/REC.csv").read_text()


def test_the_modules_take_the_options_of_their_commands(tmp_path):
    (tmp_path / "m.csv").write_text("recording_id,chunk_id,source_path,start_ms,end_ms\n")
    assert "no chunks" in badc("m.csv", "--max-retries", 0, cwd=tmp_path, module="flows.infer").stdout
    (tmp_path / "empty").mkdir()
    done = badc("empty", "--output", "x.csv", cwd=tmp_path, module="flows.aggregate")
    assert done.returncode == 0
    assert "WARNING: empty: no detections files" in done.stderr


def test_telemetry_prints_the_last_events(tmp_path):
    lines = [
        f'{{"chunk_id":"c{n}","recording_id":"r","status":"success","timestamp":"2026-01-01T00:00:0{n}+00:00",'
        f'"runtime_s":1.5,"worker":"gpu-0","details":{{"attempt":1}}}}\n'
        for n in range(5)
    ]
    (tmp_path / "run.jsonl").write_text("".join(lines) + '{"chunk_id":"half')
    done = badc("telemetry", "--log", "run.jsonl", "--tail", 2, cwd=tmp_path)

    assert [line.split("\t")[3] for line in done.stdout.splitlines()] == ["c3", "c4"]
    assert badc("telemetry", "--log", "none.jsonl", cwd=tmp_path).returncode == 2
    place = tmp_path / "set/artifacts/telemetry/infer"
    place.mkdir(parents=True)
    (tmp_path / "run.jsonl").rename(place / "REC.jsonl")
    assert badc("telemetry", "set", "--tail", 2, cwd=tmp_path).stdout == done.stdout
    assert badc("telemetry", "--tail", 2, cwd=tmp_path / "set").stdout == done.stdout
    nowhere = badc("telemetry", cwd=tmp_path)
    assert nowhere.returncode == 2
    assert "no telemetry log in artifacts/telemetry, data/telemetry/infer" in nowhere.stderr


# The on/off options that scripts of the first users give, by command.
PAIRS = {
    "chunk manifest": ("--hash-chunks/--no-hash-chunks",),
    "chunk run": ("--dry-run/--write-chunks",),
    "chunk orchestrate": (
        *("--apply/--plan-only", "--include-existing/--skip-existing", "--record-datalad/--no-record-datalad"),
        "--hash-chunks/--no-hash-chunks",
    ),
    "infer run": ("--use-hawkears/--stub-runner",),
    "infer orchestrate": (
        *("--allow-partial-chunks/--require-complete-chunks", "--include-existing/--skip-existing"),
        *("--use-hawkears/--stub-runner", "--apply/--plan-only", "--record-datalad/--no-record-datalad"),
        *("--resume-completed/--rerun-all", "--sockeye-resume-completed/--sockeye-rerun-all"),
        *("--sockeye-bundle/--sockeye-no-bundle", "--bundle/--no-bundle", "--bundle-rollup/--bundle-no-rollup"),
    ),
    "infer monitor": ("--follow/--once",),
    "pipeline run": (
        *("--chunk-include-existing/--chunk-skip-existing", "--infer-include-existing/--infer-skip-existing"),
        *("--resume-completed/--rerun-all", "--bundle/--no-bundle", "--bundle-rollup/--bundle-no-rollup"),
        *("--use-hawkears/--stub-runner", "--record-datalad/--no-record-datalad"),
    ),
    "report bundle": (
        *("--quicklook/--no-quicklook", "--parquet-report/--no-parquet-report", "--duckdb-report/--no-duckdb-report"),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_on_off_options_have_both_spellings(name):
    command = typer.main.get_command(build(list(GROUPS)))
    for word in name.split():
        command = command.commands[word]
    with command.make_context(name, [], resilient_parsing=True) as context:
        told = " ".join(command.get_help(context).split())
        for pair in PAIRS[name]:
            values = []
            for option in pair.split("/"):
                assert re.search(rf"(?<![\w-]){option}(?![\w-])", told), f"{option} is not in the help"
                (parameter,) = (p for p in command.params if option in (*p.opts, *p.secondary_opts))
                given, _, _ = command.make_parser(context).parse_args([option])
                values.append((parameter.name, given[parameter.name]))
            assert values[0][0] == values[1][0], f"{pair}: of two settings"
            assert {value for _, value in values} == {True, False}, f"{pair}: not opposites"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("connect", "--url", "x", "bogus set", "--pull"), "datalad clone URL 'bogus set'"),
        (("disconnect", "bogus", "--drop-content"), "datalad drop --what all --recursive --dataset bogus"),
        (("status", "--details"), "datalad -C DATASET status --annex all"),
    ],
)
def test_the_data_commands_of_other_scripts_say_what_to_do_instead(words, told, tmp_path):
    done = badc("data", *words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"`badc data {words[0]}` does nothing; plain DataLad does this (docs/datalad.md):" in done.stderr
    assert told in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_gpus_says_why_there_is_none(tmp_path):
    done = badc("gpus", cwd=tmp_path)
    if done.returncode == 0:
        pytest.skip("this machine has a GPU")
    assert done.stdout.startswith("no GPU: ")


def test_a_place_that_cannot_be_written_is_a_clear_error(make_recording, tmp_path):
    audio = make_recording()
    (tmp_path / "file").touch()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x.json").write_text("{}")
    for words in (
        ("chunk", "manifest", audio, "--output", "file/m.csv"),
        ("chunk", "manifest", audio, "--output", "out"),
        ("chunk", "run", audio, "--output-dir", "file/wavs"),
        ("infer", "aggregate", "out", "--output", "file/t.csv"),
        ("chunk", "manifest", "none.wav"),
    ):
        done = badc(*words, cwd=tmp_path)
        assert done.returncode == 2, words
        assert done.stderr.startswith("badc: ")
        assert "Traceback" not in done.stderr


def test_a_manifest_outside_of_the_recordings_dataset_names_the_recording_by_its_full_path(make_recording, tmp_path):
    dataset = tmp_path / "dataset"
    (dataset / ".datalad").mkdir(parents=True)
    audio = make_recording().rename(dataset / "REC.wav")
    assert badc("chunk", "manifest", audio, "--output", tmp_path / "m.csv", cwd=tmp_path).returncode == 0
    assert str(audio) in (tmp_path / "m.csv").read_text()


def test_aggregate_refuses_a_configured_api_that_does_not_answer(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x.json").write_text('{"chunk_id": "x"}')
    done = subprocess.run(
        [sys.executable, "-m", "flows", "infer", "aggregate", "out"],
        cwd=tmp_path,
        env=os.environ | {"PREFECT_API_URL": "http://127.0.0.1:9/api"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "no Prefect server answers" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(params=["", "1"])
def badc_writing_to(request):
    """Return a function that runs `badc version` with this standard output, which it buffers or not."""

    def run(stdout):
        environment = os.environ | {"PYTHONUNBUFFERED": request.param}
        words = [sys.executable, "-m", "flows", "version"]
        return subprocess.run(words, env=environment, stdout=stdout, stderr=subprocess.PIPE, text=True)

    return run


def test_output_that_cannot_be_written_is_an_error(badc_writing_to):
    with Path("/dev/full").open("w") as full:
        done = badc_writing_to(full)
    assert done.returncode == 1
    assert done.stderr.startswith("badc: ")
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_has_had_enough_gets_no_message(badc_writing_to):
    reading, writing = os.pipe()
    os.close(reading)
    done = badc_writing_to(writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("module", ["main", "console", "options"])
def test_the_command_line_starts_without_settings_and_prefect(module: str) -> None:
    """Each of these takes longer to import than `badc --help` takes."""
    heavy = ("pydantic", "prefect", "distributed", "duckdb", "rich.console")
    code = f"import sys, flows.cli.{module}; print(*(name for name in {heavy} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
