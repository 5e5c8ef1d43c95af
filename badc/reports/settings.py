"""The settings of the commands `badc report …`, and their defaults."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from badc.recordings.names import id_problem
from badc.reports.naming import NamesSettings
from badc.reports.query.event_settings import EventSettings
from badc.reports.which_table import Table, asked_for, needed
from badc.settings.model import ARGUMENT, Settings, turned_off_by
from badc.species.range_model import DEFAULT_MIN_OCCURRENCE
from badc.system.choices import Choice, chosen


class Group(Choice):
    """What `badc report summary` can group by."""

    LABEL = "label"
    RECORDING = "recording_id"
    STATION = "station"
    STUDY_AREA = "study_area"
    HOUR = "hour"
    DATE = "date"
    NIGHT = "night"


def _words(values: object) -> tuple[str, ...]:
    """Split values at commas, except inside double quotes; each word once."""
    lines = (values,) if isinstance(values, str) else tuple(values)  # type: ignore[arg-type]
    rows = csv.reader((line.replace("\n", " ") for line in lines), skipinitialspace=True)
    words = [word.strip() for row in rows for word in row]
    return tuple(dict.fromkeys(word for word in words if word))


MinConfidence = Annotated[float, Field(ge=0, le=1, description="Leave out detections below this confidence.")]
Labels = Annotated[
    tuple[str, ...],
    BeforeValidator(_words),
    Field(
        description="Only these labels, by label, code or name, in any case. Separate several by commas, or repeat "
        "the option; put one that has a comma in double quotes."
    ),
]


class ChoiceSettings(Settings):
    """Which detections count, in every report."""

    min_confidence: MinConfidence = 0.0
    thresholds: Annotated[
        Path | None,
        Field(
            description="CSV with a threshold for each species, label,min_confidence, as `badc review report` writes "
            "it; species without one have --min-confidence."
        ),
    ] = None
    min_occurrence: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="Mark detections as unexpected whose species is less likely than this at its station and time "
            "of year, in tables that know it (`badc infer aggregate --sites`).",
        ),
    ] = DEFAULT_MIN_OCCURRENCE
    expected: Annotated[
        Path | None,
        Field(
            description="CSV of the species to expect, label[,study_area]: they are never unexpected; others are, in "
            "the study areas that it names."
        ),
    ] = None
    drop_unexpected: Annotated[bool, Field(description="Leave out unexpected detections, and say how many.")] = False


EVERYTHING = ChoiceSettings()


class PrivacySettings(Settings):
    """Whether people may be heard in clips; see `badc.reports.study.privacy`."""

    include_speech: Annotated[
        bool,
        Field(description="Also make clips in which people may be heard: those near detections of human sounds."),
    ] = False
    private_labels: Annotated[
        tuple[str, ...],
        BeforeValidator(_words),
        Field(
            description="Further labels near which no clip is made, by label, code or name, beside BirdNET's Human "
            "vocal, Human non-vocal and Human whistle."
        ),
    ] = ()


CAREFUL = PrivacySettings()


class CsvSettings(Settings):
    """What the reports share that write CSVs."""

    for_spreadsheets: Annotated[
        bool,
        Field(
            description="Put an apostrophe before texts in CSVs that a spreadsheet would run as a formula: those that "
            "begin with =, +, - or @ and are no numbers."
        ),
    ] = False


class ReportSettings(ChoiceSettings):
    """What all reports of one table of detections share."""

    parquet: Table = needed()
    coverage: Annotated[
        Path | None,
        Field(description="Table of coverage. Default: *_coverage.parquet beside the table of detections."),
    ] = None
    sites: Annotated[
        Path | None,
        Field(
            description="CSV of the stations: station,latitude,longitude and, optionally, study_area,timezone,clock."
        ),
    ] = None


class SummarySettings(CsvSettings, NamesSettings, EventSettings, ReportSettings):
    """Settings of `badc report summary`."""

    group_by: Annotated[
        tuple[str, ...],
        BeforeValidator(_words),
        Field(
            description=f"What to count by: {', '.join(Group)}. Separate several by commas, or repeat the option. "
            "Default: label."
        ),
    ] = ()
    labels: Labels = ()
    complete: Annotated[
        bool,
        Field(
            description="Also list, with 0, each label where and when audio was analysed and it was not detected. "
            "Groups without labels always have what was silent."
        ),
    ] = False
    output: Annotated[Path | None, Field(description="Write all groups to this CSV.")] = None
    limit: Annotated[int, Field(ge=0, description="Print at most this many groups; 0 prints all.")] = 20

    @field_validator("group_by")
    @classmethod
    def _check_groups(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        return chosen(Group, words)

    @property
    def groups(self) -> tuple[Group, ...]:
        """What to count by; by default, labels."""
        return tuple(Group(word) for word in self.group_by) or (Group.LABEL,)


TopLabels = Annotated[int, Field(ge=1, description="Show at most this many labels; the CSVs have all.")]
TopRecordings = Annotated[int, Field(ge=1, description="Show at most this many recordings; the CSVs have all.")]
BucketMinutes = Annotated[
    int, Field(ge=1, description="Length of the timeline's steps in minutes, counted from the recording's start.")
]


class QuicklookSettings(CsvSettings, EventSettings, ReportSettings):
    """Settings of `badc report quicklook`."""

    top_labels: TopLabels = 10
    top_recordings: TopRecordings = 5
    output_dir: Annotated[
        Path | None, Field(description="Write labels.csv, recordings.csv and chunks.csv to this folder.")
    ] = None


class ParquetReportSettings(CsvSettings, EventSettings, ReportSettings):
    """Settings of `badc report parquet`."""

    top_labels: TopLabels = 20
    top_recordings: TopRecordings = 10
    bucket_minutes: BucketMinutes = 60
    output_dir: Annotated[
        Path | None,
        Field(description="Write labels.csv, recordings.csv, timeline.csv and summary.json to this folder."),
    ] = None


class DatabaseSettings(CsvSettings, EventSettings, ReportSettings):
    """Settings of `badc report duckdb`."""

    database: Annotated[
        Path,
        BeforeValidator(asked_for),
        Field(description="The DuckDB database to write; an older one is replaced. Needed."),
    ] = needed()
    bucket_minutes: BucketMinutes = 60
    top_labels: TopLabels = 15
    top_recordings: TopRecordings = 10
    export_dir: Annotated[
        Path | None,
        Field(description="Write label_summary.csv, recording_summary.csv and timeline.csv to this folder."),
    ] = None


class PageSettings(PrivacySettings, EventSettings, ReportSettings):
    """Settings of `badc report page`, which are those of the page in a bundle."""

    output_dir: Annotated[
        Path | None, Field(description="Folder for all files. Default: the folder of the table of detections.")
    ] = None
    run_prefix: Annotated[
        str | None, Field(description="Start of all file and folder names. Default: the table's own name.")
    ] = None
    no_plots: Annotated[
        bool, Field(description="Leave out the page's charts as PNG files; `badc report plot` draws them at any time.")
    ] = False
    no_clips: Annotated[bool, Field(description="Make a small page, without audio clips and their spectrograms.")] = (
        False
    )
    audio_root: Annotated[
        Path | None,
        Field(description="Folder that the recordings' relative paths start from, for the clips of the page."),
    ] = None
    title: Annotated[str | None, Field(description="Title of the page. Default: the table's own name.")] = None
    min_effort: Annotated[
        float,
        Field(
            ge=0,
            description="Hours of analysed audio that an hour of the day or a station needs to be called the busiest.",
        ),
    ] = 1.0

    @field_validator("run_prefix")
    @classmethod
    def _check_prefix(cls, prefix: str | None) -> str | None:
        if prefix is not None and (problem := id_problem(prefix)):
            raise ValueError(problem)
        return prefix

    @property
    def prefix(self) -> str:
        """The start of all file and folder names."""
        return self.run_prefix or self.parquet.stem

    @property
    def folder(self) -> Path:
        """The folder for all files."""
        return self.output_dir or self.parquet.parent


class BundleSettings(CsvSettings, PageSettings):
    """Settings of `badc report bundle`."""

    no_quicklook: Annotated[
        bool, Field(description="Leave out PREFIX_quicklook.", json_schema_extra=turned_off_by("--quicklook"))
    ] = False
    no_parquet_report: Annotated[
        bool, Field(description="Leave out PREFIX_parquet_report.", json_schema_extra=turned_off_by("--parquet-report"))
    ] = False
    no_duckdb_report: Annotated[
        bool,
        Field(
            description="Leave out PREFIX.duckdb and PREFIX_duckdb_exports.",
            json_schema_extra=turned_off_by("--duckdb-report"),
        ),
    ] = False
    no_html: Annotated[bool, Field(description="Leave out PREFIX_report.html and its plots.")] = False
    bucket_minutes: BucketMinutes = 60


class RollupSettings(CsvSettings, EventSettings, ChoiceSettings):
    """Settings of `badc report aggregate-dir`."""

    folder: Annotated[
        Path,
        Field(description="Folder with tables of detections (*.parquet) at any depth.", json_schema_extra=ARGUMENT),
    ]
    limit: Annotated[int, Field(ge=1, description="Show at most this many labels, recordings and stations.")] = 10
    export_dir: Annotated[
        Path | None,
        Field(description="Write label_summary.csv, recording_summary.csv and station_summary.csv to this folder."),
    ] = None


class ExportFormat(Choice):
    """The formats of `badc report export`."""

    RAVEN = "raven"
    AUDACITY = "audacity"
    BIRDNET = "birdnet"
    KALEIDOSCOPE = "kaleidoscope"


class ExportSettings(CsvSettings, NamesSettings, ChoiceSettings):
    """Settings of one export of detections (`badc report export`)."""

    parquet: Table = needed()
    format: Annotated[
        ExportFormat,
        BeforeValidator(asked_for),
        Field(
            description="raven: a selection table per recording. audacity: a label track per recording. birdnet: one "
            "CSV with the columns of BirdNET-Analyzer. kaleidoscope: one CSV for Kaleidoscope. Needed."
        ),
    ] = needed()
    combined: Annotated[
        bool,
        Field(
            description="raven: also one selection table of all recordings, and the list of their files, to open first."
        ),
    ] = False
    output_dir: Annotated[
        Path | None,
        Field(description="Folder for the files. Default: beside the table, named after it and the format."),
    ] = None
    labels: Labels = ()

    @model_validator(mode="after")
    def _check_combined(self) -> Self:
        if self.combined and self.format is not ExportFormat.RAVEN:
            raise ValueError(f"--combined is for --format raven; {self.format.value} has no combined table of its own")
        return self


class PlotKind(Choice):
    """The plots of `badc report plot`."""

    HOURS = "hours"
    DATES = "dates"
    TIMELINE = "timeline"
    CONFIDENCE = "confidence"
    SPECTROGRAM = "spectrogram"


# Without spectrograms, which need the recordings.
DEFAULT_KINDS = (PlotKind.HOURS, PlotKind.DATES, PlotKind.TIMELINE, PlotKind.CONFIDENCE)


class PlotSettings(PrivacySettings, ReportSettings):
    """Settings of `badc report plot`."""

    kind: Annotated[
        tuple[str, ...],
        BeforeValidator(_words),
        Field(
            description=f"What to draw: {', '.join(PlotKind)}. Separate several by commas, or repeat the option. "
            f"Default: {', '.join(DEFAULT_KINDS)}."
        ),
    ] = ()
    labels: Labels = ()
    recording: Annotated[
        str | None, Field(description="Recording of the timeline, by its id. Default: the one with the most labels.")
    ] = None
    top: Annotated[
        int | None, Field(ge=1, description="Draw at most this many labels, the most frequent ones.", le=40)
    ] = None
    output_dir: Annotated[
        Path | None, Field(description="Folder for the PNG files. Default: the folder of the table of detections.")
    ] = None
    audio_root: Annotated[
        Path | None,
        Field(description="Folder that the recordings' relative paths start from, for the spectrograms."),
    ] = None

    @field_validator("kind")
    @classmethod
    def _check_kinds(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        return chosen(PlotKind, words)

    @property
    def kinds(self) -> tuple[PlotKind, ...]:
        """What to draw; by default, all but spectrograms."""
        return tuple(PlotKind(word) for word in self.kind) or DEFAULT_KINDS
