"""What `make fuzz` feeds with made-up files: each reader, and what is done with what it read.

A target is a function of the content of a file, and runs in a folder of its own, which `lay_out` has filled. Errors for
a person to read (`BadcError`) are what a wrong file is to end in; whatever else is raised is a fault.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import orjson
import soundfile as sf

from badc.chunks.cutting import plan_chunks, write_virtual_manifest
from badc.chunks.manifest import read_manifest, write_manifest
from badc.detections.aggregate import aggregate
from badc.detections.chunk_files import rows_of
from badc.detections.fingerprint import described, mixed
from badc.detections.hawkears_labels import detection_of, detections_at
from badc.detections.places import RecordingPlaces, Source
from badc.detections.result import ResultStatus, parse_detections, result_path, standing_of
from badc.detections.settings import AggregateSettings
from badc.errors import BadcError
from badc.inference.attempt import Attempt
from badc.inference.config_file import effective_configuration, load_run_config, save_run_config, settings_of_run
from badc.inference.ledger import RunLedger
from badc.inference.other_results import OtherResults
from badc.inference.plan import plan_inference
from badc.inference.settings import InferSettings
from badc.inference.worker import infer_chunks
from badc.recordings.start_times import RecordingTimes
from badc.reports.compare.truth import read_truth
from badc.reports.review.verdicts import read_verdicts
from badc.runners.hawkears.script import _split
from badc.telemetry.events import last_events, read_events
from badc.telemetry.monitor import Monitor
from badc.telemetry.summary import RunState, read_configuration, read_jobs, summary_path

_ID = "ST-1_20230509_055000"
_AUDIO = Path("audio") / f"{_ID}.wav"
_MANIFEST = Path("manifests") / f"{_ID}.csv"
_LOG = Path("run.jsonl")
_OUTPUTS = Path("out")
_HEADER = b"recording_id,chunk_id,source_path,start_ms,end_ms,overlap_ms,sha256,notes\n"


@dataclass(frozen=True, slots=True)
class Target:
    """A reader that takes files; `seeds` returns some that are right."""

    run: Callable[[bytes], None]
    seeds: Callable[[], Sequence[bytes]]


def lay_out() -> None:
    """Make, in the working directory, a small dataset with the results of a run over its two chunks."""
    for folder in (_AUDIO.parent, _MANIFEST.parent):
        folder.mkdir(exist_ok=True)
    sf.write(_AUDIO, np.zeros(16_000), 8000, subtype="PCM_16")
    write_virtual_manifest(plan_chunks(_AUDIO, 1.0), _MANIFEST, hash_chunks=False, include_existing=True)
    plan = plan_inference(_settings())
    ledger = RunLedger(plan)

    def report(attempt: Attempt) -> None:
        (ledger.started if attempt.ok is None else ledger.ended)(attempt, "cpu-0")

    infer_chunks(plan.todo, plan.order, report)
    ledger.finish(RunState.COMPLETED)


def _settings(**changes: object) -> InferSettings:
    fixed = {"manifest": _MANIFEST, "output_dir": _OUTPUTS, "telemetry_log": _LOG, "max_gpus": 0, "keep_going": True}
    return InferSettings(**{**fixed, **changes})  # type: ignore[arg-type]


def _written(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _manifest(content: bytes) -> None:
    path = _written(Path("manifests/fuzzed.csv"), content)
    chunks = read_manifest(path).chunks
    again = Path("manifests/again.csv")
    write_manifest(again, chunks)
    assert list(read_manifest(again).chunks) == list(chunks)
    plan_inference(_settings(manifest=path, output_dir=Path("none"), telemetry_log=Path("none.jsonl")))


def _telemetry(content: bytes) -> None:
    log = _written(Path("fuzzed.jsonl"), content)
    events = list(read_events(log))
    assert last_events(log, 3) == events[-3:]
    _written(summary_path(log), content)
    watched = Monitor(log, 5)
    watched.refresh()
    now_s = 1.7e9
    for worker in watched.state.workers.values():
        worker.is_silent(now_s), worker.recent(watched.trends_end_s(now_s))
    watched.left_s(now_s)


def _hawkears(content: bytes) -> None:
    chunk_id = f"{_ID}_chunk_0_1000"
    folder = Path(f"{chunk_id}_hawkears").absolute()
    table = _written(folder / "HawkEars_labels.csv", content)
    with contextlib.suppress(BadcError):
        detections_at(str(folder), chunk_id, Path("out/x.json"))
    with contextlib.suppress(UnicodeDecodeError):
        for rows in _split(table.read_text(encoding="utf-8-sig"), [frozenset({chunk_id, f"{chunk_id}.wav"})]):
            parse_detections([detection_of(row) for row in rows])


def _configuration(content: bytes) -> None:
    settings = load_run_config(_written(Path("fuzzed.toml"), content))
    settings.to_arguments()
    save_run_config(Path("again.toml"), settings)
    load_run_config(Path("again.toml"))
    read_manifest(settings.manifest)


def _result(content: bytes) -> None:
    chunk = read_manifest(_MANIFEST).chunks[0]
    path = _written(result_path(Path("fuzzed"), chunk), content)
    for runner in ("stub", "birdnet", "custom"):
        asked = {"runner": runner, "model_version": None, "min_confidence": 0.25, "channel": None}
        there = OtherResults(Path("fuzzed"), asked)
        there.add([standing_of(path, chunk, asked)])
        if there:
            there.summary(), there.refusal()
    columns, _ = rows_of(str(path))
    described(columns["settings"])
    mixed([(columns["settings"], ""), (asked, "")])
    source = Source(columns["recording_id"] or _ID, columns["source_path"], (columns["dataset_root"],))
    RecordingTimes([Path.cwd()]).of(source.recording_id, source.source_path, source.roots)
    RecordingPlaces(None, [source], None).describe([source])


def _aggregate(content: bytes) -> None:
    for chunk in read_manifest(_MANIFEST).chunks[:1]:
        _written(result_path(Path("tables"), chunk), content)
    made = aggregate(
        AggregateSettings(
            detections_dir=Path("tables"), manifest=(_MANIFEST,), output=Path("t.csv"), parquet=Path("t.parquet")
        )
    )
    made.describe()
    assert made.bad + made.chunks >= 1


def _resumed(content: bytes) -> None:
    log = _written(Path("earlier.jsonl"), content)
    summary = _written(summary_path(log), content)
    for path in (log, summary):
        with contextlib.suppress(BadcError):
            read_jobs(path)
            plan = plan_inference(_settings(resume_summary=path, telemetry_log=Path("resumed.jsonl")))
            RunLedger(plan).finish(RunState.COMPLETED)
            read_jobs(summary_path(plan.telemetry_log))
    found = read_configuration(summary)
    effective_configuration(settings_of_run(found.values, Path.cwd()))


def _verdicts(content: bytes) -> None:
    for name in ("fuzzed.csv", f"{_ID}.Table.1.selections.txt"):
        path = _written(Path("verdicts") / name, content)
        for read in (read_verdicts, lambda path: read_truth([path])):
            with contextlib.suppress(BadcError):
                read(path)


def _manifests() -> list[bytes]:
    return [
        _MANIFEST.read_bytes(),
        b"\xef\xbb\xbf" + _HEADER.replace(b"\n", b"\r\n") + f"{_ID},c,{_AUDIO},0,1000,,TODO_HASH,\r\n".encode(),
        b'source_path,end_ms,start_ms,chunk_id,recording_id,extra\n"a, b.wav",2000,0,"c ""1""",\xc3\xa9,"x\ny"\n',
    ]


def _events() -> list[bytes]:
    end = orjson.loads(_LOG.read_bytes().splitlines()[-1])
    reading = {"index": 0, "utilization": 50, "memory_used_mb": 100, "memory_total_mb": 80_000}
    end |= {"worker": "gpu-0", "gpu_index": 0, "gpu_name": "NVIDIA H100"}
    end["details"] |= {"gpu_metrics": {"before": reading, "after": reading, "peak": reading, "mean": reading}}
    failed = end | {"status": "failure", "details": {"attempt": 1, "error": "no", "backoff_s": 2.0, "returncode": 1}}
    return [_LOG.read_bytes(), orjson.dumps(end) + b"\n" + orjson.dumps(failed) + b'\n{"chunk_id": "half', b"\n"]


def _results() -> list[bytes]:
    chunk = read_manifest(_MANIFEST).chunks[0]
    stub = orjson.loads(result_path(_OUTPUTS, chunk).read_bytes())
    detection = {"timestamp_ms": 0, "end_ms": 900, "label": "HETH", "label_code": "HETH", "label_name": "Hermit Thrush"}
    settings = {"runner": "birdnet", "model_version": "v2.4", "min_confidence": 0.1, "species": ["A b", "C d"]}
    made = stub | {
        "status": ResultStatus.OK.value,
        "runner": "birdnet",
        "model_version": "v2.4",
        "detections": [detection | {"confidence": 0.5}, {"label": "x", "meta": {"kept": [1, None]}}],
        "settings": settings | {"channel": "all", "choose_channel": True, "overlap_s": 0, "audio": None},
    }
    older = {name: value for name, value in made.items() if name not in ("settings", "fingerprint", "chunk")}
    return [orjson.dumps(document) for document in (stub, made, older | {"hawkears_output": f"{_ID}_hawkears"})]


def _labels() -> list[bytes]:
    header = b"filename,start_time,end_time,class_name,class_code,score\n"
    row = f"{_ID}_chunk_0_1000.wav,0.0,1.0,Hermit Thrush,HETH,0.91\n".encode()
    return [header, header + row + row.replace(b"0.91", b'"0.5"'), b"\xef\xbb\xbf" + header + row]


def _configurations() -> list[bytes]:
    runner = f'[runner]\nmanifest = "{_MANIFEST}"\nmax_gpus = 0\ncpu_workers = 2\nmax_retries = 3\nkeep_going = true\n'
    return [
        f'{runner}output_dir = "out"\ntelemetry_log = "run.jsonl"\nchunk_timeout = 60.5\n'.encode(),
        f'{runner}use_birdnet = true\nmin_confidence = 0.1\n[paths]\ndataset_root = "."\n'.encode(),
        f'{runner}use_hawkears = true\n[hawkears]\nextra_args = ["--x", "1"]\nmin_score = 0.7\nlow_band = false\n'
        'include = "out"\nregion = "CA-AB"\n[blocks]\nrunner = "mine"\n'.encode(),
        f'{runner}runner_cmd = "detector --input {{input}}"\nchunks_per_task = "auto"\n'.encode(),
    ]


def _earlier() -> list[bytes]:
    return [_LOG.read_bytes(), summary_path(_LOG).read_bytes(), *_events()[1:]]


def _checked() -> list[bytes]:
    return [
        b"clip,verdict,other_label,reviewer,checked_at\na.wav,y,,Ann,2026-01-01\nb.wav,n,Wren,,\nc.wav,?,,,\n",
        f"recording_id,label,start_ms,confidence,verdict\n{_ID},Hermit Thrush,1000,0.7,yes\n".encode(),
        b"Selection\tBegin Time (s)\tEnd Time (s)\tBegin File\tFile Offset (s)\tCommon Name\tVerdict\n"
        b"1\t0.5\t1,5\ta.wav\t0.5\tHermit Thrush\ty\n",
        b"0.000000\t1.000000\tHermit Thrush (0.712) = n: Swainson's Thrush\n\\\t100\t200\n2\t3\tWren\n",
        f"recording,start_s,end_s,label\n{_ID},0.5,1.5,Wren\n".encode(),
        b"location,recording_date_time,species_code,detection_time,tag_duration,task_method,task_duration\n"
        b"ST-1,2023-05-09 05:50:00,HETH,1.5,2,1SPT,60\n",
    ]


TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        "manifest": Target(_manifest, _manifests),
        "telemetry": Target(_telemetry, _events),
        "hawkears": Target(_hawkears, _labels),
        "configuration": Target(_configuration, _configurations),
        "result": Target(_result, _results),
        "aggregate": Target(_aggregate, _results),
        "resume": Target(_resumed, _earlier),
        "verdicts": Target(_verdicts, _checked),
    }
)
