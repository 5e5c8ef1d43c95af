"""Reports on 20 million detections: time and memory, beside the same counts in pandas."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

DETECTIONS = 20_000_000
CHUNKS_PER_RECORDING = 60
CHUNKS = 1_200_000
_CHUNK_MS = 60_000


def measure(scratch: Path) -> str:
    """Make tables of 20 million detections, and run each report, and pandas, in a process of its own."""
    parquet = scratch / "detections.parquet"
    _write(parquet)
    rows = []
    for name in (*_REPORTS, *_IN_PANDAS):
        print(f"measuring: reports: {name}", file=sys.stderr, flush=True)
        seconds, mib = _run(name, parquet, scratch / "out")
        rows.append(f"| {name} | {seconds:.1f} | {mib:,.0f} MiB |")
    size_mib = parquet.stat().st_size / 2**20
    return (
        "## Reports\n\n"
        f"`python -m tests.bench reports`: {DETECTIONS:,} synthetic detections of 150 labels in "
        f"{CHUNKS // CHUNKS_PER_RECORDING:,} recordings of an hour at 200 stations, {CHUNKS:,} chunks; a Parquet file "
        f"of {size_mib:,.0f} MiB. Each row is a process of its own, the start of Python included; the memory is the "
        "largest that it had. Reports write their CSVs; pandas reads only the columns that it needs, and writes the "
        "same CSVs.\n\n"
        "| what | seconds | memory |\n|---|---|---|\n" + "\n".join(rows)
    )


def _write(parquet: Path) -> None:
    """Write the tables as `badc infer aggregate` would: sorted, with all columns."""
    import duckdb

    from badc.detections.tables import coverage_path

    database = duckdb.connect(config={"memory_limit": "2GB", "temp_directory": str(parquet.parent / "spill")})
    database.execute(
        f"""
        CREATE VIEW chunks AS
        SELECT format('ST-{{:03d}}', r % 200) AS station,
          TIMESTAMP '2023-05-01 00:00:00' + to_hours(r // 200 * 7) AS recorded_at,
          station || strftime(recorded_at, '_%Y%m%d_%H%M%S') AS recording_id,
          c * {_CHUNK_MS} AS chunk_start_ms, chunk_start_ms + {_CHUNK_MS} AS chunk_end_ms,
          format('{{}}_chunk_{{}}_{{}}', recording_id, chunk_start_ms, chunk_end_ms) AS chunk_id,
          r * {CHUNKS_PER_RECORDING} + c AS number
        FROM range({CHUNKS // CHUNKS_PER_RECORDING}) recordings(r), range({CHUNKS_PER_RECORDING}) places(c)
        """
    )
    # Few labels have most of the detections, as in the field.
    database.execute(
        f"""
        COPY (
          WITH numbers AS (SELECT i, i * {CHUNKS} // {DETECTIONS} AS number, hash(i) AS h FROM range({DETECTIONS}) t(i))
          SELECT recording_id, chunk_id, chunk_start_ms, chunk_end_ms, h % 57 * 1000 AS timestamp_ms,
            chunk_start_ms + timestamp_ms AS absolute_time_ms, timestamp_ms + 3000 AS end_ms,
            chunk_start_ms + end_ms AS absolute_end_ms,
            format('Bird species {{:03d}}', CAST(floor(150 * pow(h % 100003 / 100003, 3)) AS INTEGER)) AS label,
            'B' || right(label, 3) AS label_code, label AS label_name,
            0.1 + 0.9 * (h % 9973) / 9973 AS confidence, 'ok' AS status, 'birdnet' AS runner,
            'BirdNET 2.4' AS model_version, CAST(NULL AS VARCHAR) AS chunk_sha256,
            'audio/' || recording_id || '.wav' AS source_path, '/data/study' AS dataset_root, station, recorded_at,
            recorded_at + to_milliseconds(absolute_time_ms) AS detected_at
          FROM numbers JOIN chunks USING (number) ORDER BY recording_id, chunk_start_ms, timestamp_ms, label)
        TO '{parquet}' (COMPRESSION zstd)
        """
    )
    database.execute(
        f"""
        COPY (
          SELECT recording_id, chunk_id, chunk_start_ms AS start_ms, chunk_end_ms AS end_ms, 'ok' AS status,
            'birdnet' AS runner, {DETECTIONS // CHUNKS} AS detections, station, recorded_at
          FROM chunks ORDER BY recording_id, start_ms)
        TO '{coverage_path(parquet)}' (COMPRESSION zstd)
        """
    )


def _run(name: str, parquet: Path, out: Path) -> tuple[float, float]:
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.reports", name, str(parquet), str(out)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return time.perf_counter() - begin, float(done.stdout.splitlines()[-1])


def _summary(*groups: str) -> Callable[[Path, Path], None]:
    def report(parquet: Path, out: Path) -> None:
        from badc.reports.rankings.summary import summarise
        from badc.reports.settings import SummarySettings

        made = summarise(SummarySettings(parquet=parquet, group_by=groups, output=out / "summary.csv"))
        assert made.groups.rows

    return report


def _quicklook(parquet: Path, out: Path) -> None:
    from badc.reports.rankings.quicklook import quicklook
    from badc.reports.settings import QuicklookSettings

    assert quicklook(QuicklookSettings(parquet=parquet, output_dir=out)).labels.total == 150


def _parquet(parquet: Path, out: Path) -> None:
    from badc.reports.rankings.overview import parquet_report
    from badc.reports.settings import ParquetReportSettings

    made = parquet_report(ParquetReportSettings(parquet=parquet, output_dir=out, bucket_minutes=5))
    assert made.figures.detections == DETECTIONS


def _duckdb(parquet: Path, out: Path) -> None:
    from badc.reports.files.database import make_database
    from badc.reports.settings import DatabaseSettings

    made = make_database(DatabaseSettings(parquet=parquet, database=out / "made.duckdb", export_dir=out))
    assert made.detections == DETECTIONS


def _bundle(parquet: Path, out: Path) -> None:
    from badc.reports.bundle import make_bundle
    from badc.reports.settings import BundleSettings

    # Without clips: there is no audio behind these detections.
    assert make_bundle(BundleSettings(parquet=parquet, output_dir=out, no_clips=True)).figures.labels == 150


def _aggregate_dir(parquet: Path, out: Path) -> None:
    from badc.reports.rankings.rollup import roll_up
    from badc.reports.settings import RollupSettings

    assert roll_up(RollupSettings(folder=parquet.parent, export_dir=out)).detections == DETECTIONS


def _history(*visit: str) -> Callable[[Path, Path], None]:
    def report(parquet: Path, out: Path) -> None:
        from badc.reports.history.history import write_history
        from badc.reports.history.settings import HistorySettings

        more: dict[str, object] = {}
        if len(visit) > 1:
            places = [f"ST-{n:03d},{50 + n / 20},{-120 + n / 10},America/Edmonton" for n in range(200)]
            sites = out / "sites.csv"
            sites.write_text("\n".join(["station,latitude,longitude,timezone", *places]) + "\n")
            more = {"relative_to": visit[1], "sites": sites}
        made = write_history(HistorySettings(parquet=parquet, output_dir=out / "history", visit=visit[0], **more))
        assert (made.species.total, made.stations) == (150, 200)

    return report


def _phenology(parquet: Path, out: Path) -> None:
    from badc.reports.history.phenology import write_phenology
    from badc.reports.history.settings import PhenologySettings

    assert write_phenology(PhenologySettings(parquet=parquet, output_dir=out / "phenology")).species.total == 150


def _pandas_quicklook(parquet: Path, out: Path) -> None:
    import pandas as pd

    columns = ["label", "label_name", "recording_id", "station", "chunk_id", "chunk_start_ms", "confidence"]
    frame = pd.read_parquet(parquet, columns=columns)
    hours = _pandas_hours(parquet)
    rated = {"detections": ("confidence", "size"), "avg_confidence": ("confidence", "mean")}
    highest = {"max_confidence": ("confidence", "max")}
    labels = frame.groupby("label").agg(**rated, **highest, recordings=("recording_id", "nunique"))
    labels["detections_per_hour"] = labels["detections"] / hours.sum()
    recordings = frame.groupby(["recording_id", "station"]).agg(**rated, **highest, labels=("label", "nunique"))
    recordings = recordings.join(hours.groupby("recording_id").sum())
    recordings["detections_per_hour"] = recordings["detections"] / recordings["hours"]
    chunks = frame.groupby(["recording_id", "chunk_id", "chunk_start_ms"]).agg(**rated, **highest)
    for name, table in {"labels": labels, "recordings": recordings, "chunks": chunks}.items():
        table.to_csv(out / f"{name}.csv")
    assert len(labels) == 150


def _pandas_summary(parquet: Path, out: Path) -> None:
    import pandas as pd

    frame = pd.read_parquet(parquet, columns=["label", "recording_id", "confidence", "detected_at"])
    hours = _pandas_hours(parquet)
    groups = frame.groupby(["label", frame["detected_at"].dt.hour.rename("hour")])
    table = groups.agg(
        detections=("confidence", "size"),
        avg_confidence=("confidence", "mean"),
        max_confidence=("confidence", "max"),
        recordings=("recording_id", "nunique"),
    )
    table = table.join(hours.groupby("hour").sum())
    table["detections_per_hour"] = table["detections"] / table["hours"]
    table.sort_values("detections", ascending=False).to_csv(out / "summary.csv")
    assert table["detections"].sum() == DETECTIONS


def _pandas_hours(parquet: Path):
    """Hours analysed by recording and hour of the day; no chunk here crosses the full hour or overlaps another."""
    import pandas as pd

    from badc.detections.tables import coverage_path

    coverage = pd.read_parquet(
        coverage_path(parquet), columns=["recording_id", "start_ms", "end_ms", "status", "recorded_at"]
    )
    coverage = coverage[coverage["status"].isin(["ok", "no_detections"])]
    start = coverage["recorded_at"] + pd.to_timedelta(coverage["start_ms"], unit="ms")
    length = ((coverage["end_ms"] - coverage["start_ms"]) / 3.6e6).rename("hours")
    return length.groupby([coverage["recording_id"], start.dt.hour.rename("hour")]).sum()


_REPORTS: dict[str, Callable[[Path, Path], None]] = {
    "`report summary`": _summary(),
    "`report summary --group-by label,hour`": _summary("label", "hour"),
    "`report quicklook`": _quicklook,
    "`report parquet`": _parquet,
    "`report duckdb`": _duckdb,
    "`report bundle --no-clips`": _bundle,
    "`report aggregate-dir`": _aggregate_dir,
    "`report history`": _history("night"),
    "`report history --visit hour --relative-to sun`": _history("hour", "sun"),
    "`report phenology`": _phenology,
}
_IN_PANDAS: dict[str, Callable[[Path, Path], None]] = {
    "pandas, the tables of `quicklook`": _pandas_quicklook,
    "pandas, that of `summary --group-by label,hour`": _pandas_summary,
}


def _in_this_process(name: str, parquet: Path, out: Path) -> None:
    out.mkdir(exist_ok=True)
    (_REPORTS | _IN_PANDAS)[name](parquet, out)
    # Not getrusage: its maximum outlives exec, so a large parent's would count.
    status = Path("/proc/self/status").read_text()
    print(int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024)


if __name__ == "__main__":
    _in_this_process(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
