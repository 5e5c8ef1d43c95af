"""The printed `datalad run` command, taken apart by a shell's rules; test_datalad_record lets DataLad run it."""

from __future__ import annotations

import fnmatch
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from badc.chunks.manifest import Chunk, write_manifest
from badc.datalad.run import DataladRun
from badc.errors import RequestError
from badc.inference.provenance import infer_run, run_command
from badc.inference.settings import InferSettings

MODEL = "code/a model.bin"
SUFFIXES = ("", ".summary.json", ".summary.json.workers.csv")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    for folder in (".datalad", "manifests", "audio"):
        (tmp_path / "ds" / folder).mkdir(parents=True)
    return tmp_path / "ds"


def manifest(dataset: Path, name: str = "REC", source: str | None = None) -> Path:
    path = dataset / "manifests" / f"{name}.csv"
    write_manifest(path, [Chunk(name, f"{name}_chunk_0_1000", source or f"audio/{name}.wav", 0, 1000)])
    return path


def parts(command: str) -> tuple[list[str], dict[str, list[str]], list[str]]:
    """Return the words before the options, the options' values, and the command that is run."""
    words = shlex.split(command)
    at = words.index("--")
    options: dict[str, list[str]] = {}
    given = iter(words[4:at])
    for name in given:
        options.setdefault(name, []).append(next(given))
    return words[:4], options, words[at + 1 :]


def test_the_command_is_one_line_with_paths_relative_to_the_dataset(dataset: Path) -> None:
    command = run_command(InferSettings(manifest=manifest(dataset), keep_going=True))
    assert "\n" not in command
    start, options, inner = parts(command)
    assert start == ["datalad", "-C", str(dataset), "run"]
    assert options == {
        "-m": ["Infer REC"],
        "--input": ["manifests/REC.csv", "audio/REC.wav"],
        "--output": ["artifacts/infer/REC/**", *(f"artifacts/telemetry/infer/REC.jsonl{end}" for end in SUFFIXES)],
    }
    assert inner[:4] == ["badc", "infer", "run", "manifests/REC.csv"]
    assert inner[inner.index("--output-dir") + 1] == "artifacts/infer"
    assert inner[inner.index("--telemetry-log") + 1] == "artifacts/telemetry/infer/REC.jsonl"
    assert "--keep-going" in inner


def test_hostile_names_come_back_whole(dataset: Path, hostile_id: str) -> None:
    command = run_command(InferSettings(manifest=manifest(dataset, hostile_id)))
    _, options, inner = parts(command)
    assert [word.replace("{{", "{").replace("}}", "}") for word in inner][3] == f"manifests/{hostile_id}.csv"
    assert options["-m"] == [f"Infer {hostile_id}"]
    audio, output = options["--input"][1], options["--output"][0]
    assert fnmatch.fnmatchcase(f"audio/{hostile_id}.wav", audio)
    assert fnmatch.fnmatchcase(f"artifacts/infer/{hostile_id}/x.json", output)
    assert not fnmatch.fnmatchcase("audio/1.wav", audio)


def test_a_shell_takes_the_command_apart_in_the_same_way(dataset: Path, tmp_path: Path, hostile_id: str) -> None:
    command = run_command(InferSettings(manifest=manifest(dataset, hostile_id)))
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin" / "datalad"
    fake.write_text('#!/bin/sh\nfor word in "$@"; do printf "%s\\0" "$word"; done\n')
    fake.chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        env={"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        timeout=60,
    )
    assert done.stdout.split("\0")[:-1] == shlex.split(command)[1:]
    assert not list(tmp_path.rglob("pwned"))


def test_braces_are_no_placeholders(dataset: Path) -> None:
    _, options, inner = parts(
        run_command(InferSettings(manifest=manifest(dataset, "{x}"), runner_cmd="detect --as {json}"))
    )
    assert "manifests/{{x}}.csv" in inner
    assert "detect --as {{json}}" in inner
    # In patterns, DataLad fills them in again when it runs a record: no braces would survive both times.
    assert options["--input"] == ["manifests/?x?.csv", "audio/?x?.wav"]
    assert options["-m"] == ["Infer {x}"]


@pytest.mark.parametrize(
    ("given", "printed", "inputs"),
    [
        ("python detect.py", "python code/detect.py", ["code/detect.py"]),
        ("./detect.py --model='a model.bin'", "code/detect.py '--model=code/a model.bin'", ["code/detect.py", MODEL]),
        ("python3  'none.py'", "python3  'none.py'", []),  # not a file: as it was given
        ("detect 'unfinished", "detect 'unfinished", []),
        ("python ../../outside.py", "python {tmp}/outside.py", []),
        ("python {tmp}/outside.py", "python {tmp}/outside.py", []),
        ("python {tmp}/ds/code/detect.py", "python code/detect.py", ["code/detect.py"]),
        ("python ../top.py", "python top.py", ["top.py"]),
        ("../top.py", "./top.py", ["top.py"]),  # a program's name without a slash is looked up elsewhere
        ("ls -l", "ls -l", []),
    ],
)
def test_files_of_a_custom_command_are_named_from_the_root(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, printed: str, inputs: list[str]
) -> None:
    (dataset / "code").mkdir()
    for name in ("code/detect.py", MODEL, "top.py", "../outside.py", "code/ls"):
        (dataset / name).touch()
    monkeypatch.chdir(dataset / "code")
    given, printed = (text.replace("{tmp}", str(tmp_path)) for text in (given, printed))
    run = infer_run(InferSettings(manifest=manifest(dataset), runner_cmd=given))
    assert run.command[run.command.index("--runner-cmd") + 1] == printed
    assert list(run.inputs[2:]) == inputs


def test_programs_of_a_runner_are_named_from_the_root(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (tmp_path / "HawkEars", dataset / "weights"):
        folder.mkdir()
    monkeypatch.chdir(dataset / "manifests")
    settings = InferSettings(
        manifest=manifest(dataset),
        use_hawkears=True,
        hawkears_root=Path("../../HawkEars"),
        hawkears_data=Path("../weights"),
        hawkears_python=Path("python3"),
    )
    inner = infer_run(settings).command
    given = {name: inner[inner.index(f"--hawkears-{name}") + 1] for name in ("root", "data", "python")}
    assert given == {"root": str(tmp_path / "HawkEars"), "data": "weights", "python": "python3"}


def test_what_holds_today_only_is_not_in_a_command_to_run_again(dataset: Path) -> None:
    (dataset / "old.jsonl").touch()
    settings = InferSettings(
        manifest=manifest(dataset), resume_summary=dataset / "old.jsonl", scheduler="tcp://node7:8786", keep_going=True
    )
    assert {"--resume-summary", "--scheduler", "--keep-going"} <= set(infer_run(settings).command)
    again = infer_run(settings, rerunnable=True)
    assert not {"--resume-summary", "--scheduler"} & set(again.command)
    assert "--keep-going" in again.command
    assert "old.jsonl" not in again.inputs


def test_a_pattern_that_starts_with_a_dash_is_no_option(dataset: Path) -> None:
    run = DataladRun(dataset, "m", ("true",), ("-x.wav",), output_folders=("-out",))
    assert parts(run.line())[1] == {"-m": ["m"], "--input": ["./-x.wav"], "--output": ["./-out/**"]}


def test_what_lies_behind_a_link_is_refused(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (dataset / "fast").symlink_to(tmp_path / "scratch")
    for folder in ("fast", "fast/out"):
        with pytest.raises(RequestError, match=r"--output-dir lies behind the link .*/ds/fast, "):
            run_command(InferSettings(manifest=manifest(dataset), output_dir=dataset / folder))
    # A file may be a link: locked files of git-annex are.
    (dataset / "audio" / "REC.wav").symlink_to("../.git/annex/objects/gone")
    assert run_command(InferSettings(manifest=manifest(dataset), output_dir=dataset / "out"))


def test_a_line_break_in_a_name_is_refused(dataset: Path) -> None:
    with pytest.raises(RequestError, match="has a line break, which DataLad cannot save"):
        run_command(InferSettings(manifest=manifest(dataset, "two\nlines")))


def test_what_a_run_reads_besides_is_an_input(dataset: Path) -> None:
    for name in ("species.txt", "old.jsonl"):
        (dataset / name).touch()
    settings = InferSettings(
        manifest=manifest(dataset),
        use_birdnet=True,
        species_list=dataset / "species.txt",
        resume_summary=dataset / "old.jsonl",
    )
    _, options, inner = parts(run_command(settings))
    assert set(options["--input"][2:]) == {"species.txt", "old.jsonl"}
    assert inner[inner.index("--species-list") + 1] == "species.txt"


def test_every_recording_of_the_manifest_is_an_input_and_an_output(dataset: Path) -> None:
    path = dataset / "manifests" / "all.csv"
    write_manifest(path, [Chunk(r, f"{r}_{n}", f"audio/{r}.wav", n, n + 1) for r in "AB" for n in range(3)])
    _, options, _ = parts(run_command(InferSettings(manifest=path)))
    assert options["--input"][1:] == ["audio/A.wav", "audio/B.wav"]
    assert options["--output"][:2] == ["artifacts/infer/A/**", "artifacts/infer/B/**"]


def test_the_working_directory_makes_no_difference(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run_command(InferSettings(manifest=manifest(dataset), output_dir=dataset / "out"))
    monkeypatch.chdir(dataset / "manifests")
    assert run_command(InferSettings(manifest=Path("REC.csv"), output_dir=Path("../out"))) == first


@pytest.mark.parametrize(
    ("outside", "what"),
    [
        ({"output_dir": "/elsewhere"}, "--output-dir"),
        ({"telemetry_log": "/elsewhere.jsonl"}, "--telemetry-log"),
        ({"resume_summary": "/elsewhere.jsonl"}, "--resume-summary"),
    ],
)
def test_what_lies_outside_of_the_dataset_is_refused(dataset: Path, outside: dict[str, Any], what: str) -> None:
    with pytest.raises(RequestError, match=rf"/elsewhere.*{what} lies outside"):
        run_command(InferSettings(manifest=manifest(dataset), **outside))


def test_audio_outside_of_the_dataset_is_refused(dataset: Path) -> None:
    with pytest.raises(RequestError, match="the audio lies outside"):
        run_command(InferSettings(manifest=manifest(dataset, source="/mnt/audio/REC.wav")))


def test_outside_of_a_dataset_there_is_no_command(csv_file: Callable[..., Path]) -> None:
    with pytest.raises(RequestError, match="lies in no DataLad dataset"):
        run_command(InferSettings(manifest=csv_file([])))


def test_nothing_is_made(dataset: Path) -> None:
    path = manifest(dataset)
    before = sorted(dataset.rglob("*"))
    run_command(InferSettings(manifest=path))
    assert sorted(dataset.rglob("*")) == before
