"""Planning a run, with all that it refuses, and what a worker does with its chunks."""

from __future__ import annotations

import csv
import json
import os
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from badc.chunks.manifest import Chunk
from badc.detections.aggregate import aggregate
from badc.detections.result import result_path
from badc.detections.settings import AggregateSettings
from badc.errors import RequestError
from badc.inference.attempt import Attempt
from badc.inference.plan import InferPlan, plan_inference, workers_wanted
from badc.inference.settings import InferSettings
from badc.inference.worker import infer_chunks

pytestmark = pytest.mark.usefixtures("_fresh_runner")


def refusal(**settings: Any) -> str:
    with pytest.raises(RequestError) as caught:
        plan_inference(InferSettings(**settings))
    return str(caught.value)


def run(plan: InferPlan) -> list[Attempt]:
    return infer_chunks(plan.todo, plan.order, lambda attempt: None)


def test_a_good_request_plans_every_chunk_and_writes_nothing(plan: Callable[..., InferPlan], tmp_path: Path) -> None:
    made = plan(seconds=3)
    assert [planned.key for planned in made.todo] == ["REC_chunk_0_1000", "REC_chunk_1000_2000", "REC_chunk_2000_3000"]
    assert [planned.audio.start_frame for planned in made.todo if planned.audio] == [0, 8000, 16000]
    assert made.recordings == {"REC"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audio", "manifests"]


def test_what_is_made_of_a_datasets_chunks_goes_into_it(
    make_recording: Callable[..., Path], csv_file: Callable[..., Path], tmp_path: Path
) -> None:
    """The chunks lie in a dataset, and the manifest does not."""
    here = make_recording()
    (tmp_path / "ds" / ".datalad").mkdir(parents=True)
    inside = tmp_path / "ds" / "audio" / "REC.wav"
    inside.parent.mkdir()
    shutil.copy(here, inside)
    rows = [("REC", f"REC_chunk_{start}_{start + 1000}", inside, start, start + 1000, 0, "", "") for start in (0, 1000)]
    made = plan_inference(InferSettings(manifest=csv_file(rows)))
    assert made.order.output_dir == tmp_path / "ds" / "artifacts" / "infer"
    assert made.telemetry_log.parent == tmp_path / "ds" / "artifacts" / "telemetry"
    assert made.order.dataset_root == tmp_path / "ds"
    mixed = [*rows, ("OTHER", "OTHER_chunk_0_1000", here, 0, 1000, 0, "", "")]
    made = plan_inference(InferSettings(manifest=csv_file(mixed)))
    assert made.order.output_dir == Path.cwd() / "artifacts" / "infer"


def test_a_manifest_without_chunks_plans_nothing(csv_file: Callable[..., Path]) -> None:
    made = plan_inference(InferSettings(manifest=csv_file([])))
    assert (list(made.todo), list(made.done), list(made.unusable)) == ([], [], [])


def test_a_bad_manifest_is_refused(csv_file: Callable[..., Path]) -> None:
    assert ":2: " in refusal(manifest=csv_file([("R", "../x", "a.wav", 0, 1)]))


def broken(kind: str, path: Path, whole: Path) -> None:
    data = whole.read_bytes()
    match kind:
        case "empty":
            path.touch()
        case "not audio":
            path.write_text("this is no audio at all\n" * 50)
        case "truncated":
            path.write_bytes(data[: len(data) // 2])
        case "dangling link":
            path.symlink_to(".git/annex/objects/XX/YY/MD5E-s1--a.wav/MD5E-s1--a.wav")
        case "annex pointer":
            path.write_text("/annex/objects/MD5E-s480044--0123456789abcdef0123456789abcdef.wav\n")
        case "folder":
            path.mkdir()


KINDS = ("missing", "empty", "not audio", "truncated", "dangling link", "annex pointer", "folder")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_audio_that_cannot_be_used_is_found_before_the_run(
    kind: str, suffix: str, tmp_path: Path, make_audio: Callable[..., Path], csv_file: Callable[..., Path]
) -> None:
    whole, bad = make_audio(f"good.{suffix}", seconds=4), tmp_path / f"bad.{suffix}"
    broken(kind, bad, whole)
    path = csv_file(
        [
            ("good", "g", whole.name, 0, 1000),
            ("bad", "b1", bad.name, 2000, 3000),
            ("bad", "b2", bad.name, 3000, 4000),
        ]
    )
    message = refusal(manifest=path)
    assert "2 of 3 chunks" in message
    assert str(bad) in message
    assert "--keep-going" in message
    if kind in ("dangling link", "annex pointer"):
        assert "is not here; `datalad -C " in message

    made = plan_inference(InferSettings(manifest=path, keep_going=True))
    assert [planned.key for planned in made.todo] == ["g"]
    assert [planned.key for planned, _ in made.unusable] == ["b1", "b2"]
    assert all(str(bad) in reason for _, reason in made.unusable)


def test_one_broken_file_is_named_once_and_only_the_first_twenty(csv_file: Callable[..., Path]) -> None:
    rows = [(f"R{n}", f"c{n}_{m}", f"none{n}.wav", m, m + 1) for n in range(30) for m in range(3)]
    lines = refusal(manifest=csv_file(rows)).splitlines()
    assert "90 of 90 chunks" in lines[0]
    assert len(lines) == 22
    assert "10 more" in lines[-1]


def test_a_file_that_is_neither_recording_nor_chunk_is_refused_with_both_lengths(
    make_audio: Callable[..., Path], csv_file: Callable[..., Path]
) -> None:
    make_audio("a.wav", seconds=1.5)
    message = refusal(manifest=csv_file([("R", "c", "a.wav", 2000, 3000)]))
    assert "1500 ms" in message
    assert "1000 ms" in message


def test_the_file_of_one_chunk_is_read_from_its_start(
    make_audio: Callable[..., Path], csv_file: Callable[..., Path]
) -> None:
    make_audio("c.wav", seconds=1)
    (planned,) = plan_inference(InferSettings(manifest=csv_file([("R", "c", "c.wav", 5000, 6000)]))).todo
    assert planned.audio is not None
    assert (planned.audio.start_frame, planned.audio.frames, planned.audio.whole_file) == (0, 8000, True)


def test_an_output_folder_below_a_file_is_refused(plan: Callable[..., InferPlan], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match=r"output folder cannot be made.*file is not a folder"):
        plan(output_dir=tmp_path / "file" / "out")


def test_an_output_folder_that_cannot_be_written_is_refused(plan: Callable[..., InferPlan]) -> None:
    with pytest.raises(RequestError, match=r"/proc/out: the output folder cannot be written"):
        plan(output_dir="/proc/out")


def test_a_telemetry_folder_that_cannot_be_written_is_refused(plan: Callable[..., InferPlan]) -> None:
    with pytest.raises(RequestError, match="the telemetry folder cannot be written"):
        plan(telemetry_log="/proc/run.jsonl")


def test_a_telemetry_log_that_is_a_folder_is_refused(plan: Callable[..., InferPlan], tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="--telemetry-log is a folder"):
        plan(telemetry_log=tmp_path)


def test_a_missing_species_list_is_refused_before_the_run(plan: Callable[..., InferPlan]) -> None:
    pytest.importorskip("ai_edge_litert")
    with pytest.raises(RequestError, match=r"none\.txt"):
        plan(use_birdnet=True, species_list="none.txt")


def test_the_stub_writes_files_that_say_so(plan: Callable[..., InferPlan]) -> None:
    made = plan(seconds=2)
    reports: list[Attempt] = []
    ended = infer_chunks(made.todo, made.order, reports.append)
    assert [attempt.ok for attempt in reports] == [None, True, None, True]
    assert reports[1] == ended[0]
    assert reports[0].token == reports[1].token != reports[2].token
    document = json.loads(result_path(made.order.output_dir, made.todo[0].chunk).read_bytes())
    assert (document["status"], document["runner"], document["detections"]) == ("stub", "stub", [])
    assert document["chunk"] == {"start_ms": 0, "end_ms": 1000, "overlap_ms": 0, "sha256": None, "notes": ""}


def test_a_custom_command_runs_on_every_chunk(plan: Callable[..., InferPlan], fake: Callable[..., str]) -> None:
    made = plan(seconds=2, runner_cmd=fake("detector"))
    for attempt, planned in zip(run(made), made.todo, strict=True):
        assert attempt.ok, attempt.details
        assert attempt.details["output"].endswith(f"REC/{planned.key}.json")
        document = json.loads(result_path(made.order.output_dir, planned.chunk).read_bytes())
        assert document["runner"] == "custom"
        assert document["detections"][0]["label"] == "noise"


def test_a_failed_chunk_does_not_keep_the_others_from_running(
    plan: Callable[..., InferPlan], fake: Callable[..., str]
) -> None:
    made = plan(seconds=3, runner_cmd=fake("detector", "--only", "_1000_", "--then", "garbage"))
    ended = run(made)
    assert [attempt.ok for attempt in ended] == [True, False, True]
    assert "invalid output" in ended[1].details["error"]
    assert not result_path(made.order.output_dir, made.todo[1].chunk).exists()


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("/no/such/command", "cannot be started: No such file"),
        ("sh -c 'open", "cannot be split into words"),
        ("''", "cannot be started"),
        (" ", "--runner-cmd is empty"),
        ("false", "ended with exit code 1"),
    ],
)
def test_a_useless_command_fails_its_attempts_with_the_reason(
    plan: Callable[..., InferPlan], command: str, reason: str
) -> None:
    (attempt,) = run(plan(seconds=1, runner_cmd=command))
    assert attempt.ok is False
    assert reason in attempt.details["error"]


def test_the_end_of_what_a_command_printed_is_kept(
    plan: Callable[..., InferPlan], script: Callable[..., list[str]]
) -> None:
    words = script(
        r"""
        import os, sys
        os.write(1, b"x" * 9000 + b"last\xff")
        os.write(2, b"bad \xfe\n")
        sys.exit(7)
        """
    )
    (attempt,) = run(plan(seconds=1, runner_cmd=shlex.join(words)))
    assert attempt.details["stdout"].endswith("last\ufffd")
    assert len(attempt.details["stdout"]) == 500
    assert attempt.details["stderr"] == "bad \ufffd\n"
    assert attempt.details["returncode"] == 7


def test_hostile_ids_get_files_of_their_own_and_nothing_else(
    plan: Callable[..., InferPlan], script: Callable[..., list[str]], hostile_id: str, tmp_path: Path
) -> None:
    words = script("import sys; open(sys.argv[4], 'w').write('{\"detections\": []}')")
    made = plan(f"{hostile_id}.wav", seconds=1, runner_cmd=shlex.join(words))
    (attempt,) = run(made)
    assert attempt.ok, attempt.details
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert files == [tmp_path / "out" / hostile_id / f"{hostile_id}_chunk_0_1000.json"]
    assert not (tmp_path / "pwned").exists()


def test_audio_that_vanishes_during_the_run_fails_its_chunk(plan: Callable[..., InferPlan], tmp_path: Path) -> None:
    made = plan(seconds=1)
    (tmp_path / "audio" / "REC.wav").unlink()
    (attempt,) = run(made)
    assert attempt.ok is False
    assert "no such audio file" in attempt.details["error"]


def test_an_output_that_cannot_be_written_fails_its_chunk(plan: Callable[..., InferPlan], tmp_path: Path) -> None:
    made = plan(seconds=2)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "REC").touch()
    for attempt in run(made):
        assert attempt.ok is False
        assert str(tmp_path / "out" / "REC") in attempt.details["error"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["REC"]


def test_an_output_over_a_link_replaces_the_link_not_its_target(plan: Callable[..., InferPlan], tmp_path: Path) -> None:
    made = plan(seconds=1)
    stored = tmp_path / "annexed"
    stored.write_text("old content")
    path = result_path(made.order.output_dir, made.todo[0].chunk)
    path.parent.mkdir(parents=True)
    path.symlink_to(stored)
    run(made)
    assert stored.read_text() == "old content"
    assert not path.is_symlink()


def test_inside_a_dataset_paths_are_relative_to_its_root(
    make_audio: Callable[..., Path], csv_file: Callable[..., Path], tmp_path: Path
) -> None:
    make_audio("ds/audio/REC.wav", seconds=1)
    (tmp_path / "ds" / ".datalad").mkdir()
    made = plan_inference(InferSettings(manifest=csv_file([("REC", "c", "audio/REC.wav", 0, 1000)], name="ds/REC.csv")))
    (attempt,) = run(made)
    assert attempt.details["output"] == "artifacts/infer/REC/c.json" == made.output_of(made.todo[0].chunk)
    document = json.loads((tmp_path / "ds" / attempt.details["output"]).read_bytes())
    assert document["dataset_root"] == str(tmp_path / "ds")
    assert document["source_path"] == "audio/REC.wav"


def test_names_like_annex_keys_are_names_like_any_other(
    make_audio: Callable[..., Path], csv_file: Callable[..., Path], tmp_path: Path
) -> None:
    """A recording so named, and a chunk WAV of one that is."""
    key = "MD5E-s123--0cc175b9c0f1b6a831c399e269772661"
    make_audio(f"ds/audio/{key}.wav", seconds=2)
    make_audio(f"ds/artifacts/chunks/REC/{key}_chunk_1000_2000.wav", seconds=1)
    (tmp_path / "ds" / ".datalad").mkdir()
    rows = [
        (key, f"{key}_chunk_0_1000", f"audio/{key}.wav", 0, 1000),
        ("REC", f"{key}_chunk_1000_2000", f"artifacts/chunks/REC/{key}_chunk_1000_2000.wav", 1000, 2000),
    ]
    made = plan_inference(InferSettings(manifest=csv_file(rows, name="ds/REC.csv")))
    assert [planned.audio.start_frame for planned in made.todo if planned.audio] == [0, 0], "a WAV begins at its start"
    assert [attempt.details["output"] for attempt in run(made)] == [
        f"artifacts/infer/{key}/{key}_chunk_0_1000.json",
        f"artifacts/infer/REC/{key}_chunk_1000_2000.json",
    ]
    table = tmp_path / "all.csv"
    aggregate(AggregateSettings(detections_dir=made.order.output_dir, output=table))
    with table.with_name("all_coverage.csv").open() as stream:
        found = [(row["recording_id"], row["chunk_id"]) for row in csv.DictReader(stream)]
    assert found == [(key, f"{key}_chunk_0_1000"), ("REC", f"{key}_chunk_1000_2000")]


def test_the_runner_is_made_once_for_all_chunks(plan: Callable[..., InferPlan]) -> None:
    opened: list[object] = []
    made = plan(seconds=3)

    class Spec(type(made.order.runner)):  # type: ignore[misc]
        def open(self, place: Any) -> Any:
            opened.append(place)
            return super().open(place)

    order = replace(made.order, runner=Spec())
    infer_chunks(made.todo, order, lambda attempt: None)
    infer_chunks(made.todo, order, lambda attempt: None)
    assert len(opened) == 1


def test_a_bug_in_a_runner_fails_its_chunk_only(plan: Callable[..., InferPlan]) -> None:
    made = plan(seconds=2)

    class Buggy:
        name = "stub"
        takes_batches = False

        def open(self, place: Any) -> Any:
            return self

        def detect(self, chunk: Chunk, audio: object) -> Any:
            raise ZeroDivisionError("by design")

        def close(self) -> None:
            pass

    ended = infer_chunks(made.todo, replace(made.order, runner=Buggy()), lambda attempt: None)
    assert [attempt.details["error"] for attempt in ended] == ["ZeroDivisionError: by design"] * 2


@pytest.mark.parametrize(
    ("max_gpus", "cpu_workers", "gpus", "wanted"),
    [
        (None, 0, 0, (0, 1)),
        (None, 0, 2, (2, 0)),
        (None, 3, 2, (2, 3)),
        (1, 0, 2, (1, 0)),
        (5, 0, 2, (2, 0)),
        (0, 0, 2, (0, 1)),
        (0, 4, 2, (0, 4)),
        (None, None, 2, (2, 0)),
        (None, None, 0, (0, 7)),
        (0, None, 2, (0, 7)),
    ],
)
def test_without_a_gpu_there_is_at_least_one_cpu_worker(
    max_gpus: int | None,
    cpu_workers: int | None,
    gpus: int,
    wanted: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8))
    settings = InferSettings(manifest=Path("m.csv"), max_gpus=max_gpus, cpu_workers=cpu_workers)
    assert workers_wanted(settings, gpus) == wanted
    assert workers_wanted(settings, gpus, 3) == (wanted[0], 3 if cpu_workers is None and wanted[1] else wanted[1])
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(1))
    assert sum(workers_wanted(settings, gpus)) >= 1
