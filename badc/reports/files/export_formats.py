"""The lines of the files that other tools read.

DuckDB makes the pieces of a line that depend on the detection alone, which is many times faster than Python; the pieces
that depend on the audio file are inserted here.

Sources: Raven's selection tables and BirdNET's CSV as BirdNET-Analyzer writes them (`generate_raven_table`,
`generate_csv` in `birdnet_analyzer/analyze/utils.py`); label tracks as in Audacity's manual, "Importing and Exporting
Labels".
"""

from __future__ import annotations

import csv
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from badc.recordings.audio import AudioError, probe
from badc.reports.settings import ExportFormat

RAVEN_COLUMNS = (
    "Selection",
    "View",
    "Channel",
    "Begin Time (s)",
    "End Time (s)",
    "Low Freq (Hz)",
    "High Freq (Hz)",
    "Common Name",
    "Species Code",
    "Confidence",
    "Begin File",
    "Begin Path",
    "File Offset (s)",
)
BIRDNET_COLUMNS = ("Start (s)", "End (s)", "Scientific name", "Common name", "Confidence", "File")
WILDTRAX_COLUMNS = ("location", "recording_date_time", "species_code")
# A selection needs frequencies, which detections lack: the whole range of the classifier, as in BirdNET-Analyzer.
_HIGHEST_HZ = 15_000


def _field(text: str) -> str:
    """Return SQL for a text without characters that would end a field or a line: these formats cannot quote."""
    return rf"trim(regexp_replace({text}, '[\x00-\x1f\x7f-\x{{9f}}\x{{2028}}\x{{2029}}]+', ' ', 'g'))"


def _quoted(text: str) -> str:
    """Return SQL for a CSV field (RFC 4180), empty for null."""
    return (
        f"CASE WHEN {text} IS NULL THEN '' WHEN regexp_matches({text}, '[\",\\r\\n]') "
        f"THEN '\"' || replace({text}, '\"', '\"\"') || '\"' ELSE {text} END"
    )


def _seconds(ms: str) -> str:
    return f"printf('%.6f', {ms} / 1000)"


_CONFIDENCE = "coalesce(printf('%.4f', confidence), '')"
# The first text that looks like `Genus species`, else the label, as BirdNET-Analyzer does for classifiers that have
# only one name.
_IS_SCIENTIFIC = "regexp_full_match({0}, '[A-Z][a-z]+ [a-z][a-z-]+( [a-z-]+)?')"
_SCIENTIFIC = (
    "CASE "
    + " ".join(f"WHEN {_IS_SCIENTIFIC.format(text)} THEN {text}" for text in ("label_code", "label_name", "label"))
    + " ELSE label END"
)
# A label of one word may be a code, which says less to a reader than the name.
_SPOKEN = "CASE WHEN label LIKE '% %' THEN label ELSE coalesce(label_name, label) END"
_COMMON = f"coalesce(nullif(label_name, {_SCIENTIFIC}), label)"


class SourceFile:
    """An audio file as other tools should find it; `path` is None if the table does not give it.

    `written` returns a text as it is written into a field.
    """

    def __init__(self, path: Path | None, written: Callable[[str], str] = str) -> None:
        self._path = path
        self.path = "" if path is None else written(str(path))
        self.name = "" if path is None else written(path.name)

    @cached_property
    def fields(self) -> str:
        """Name and path, as two fields of a selection table."""
        return "\t".join(" ".join(text.split()) if not text.isprintable() else text for text in (self.name, self.path))

    @cached_property
    def quoted_path(self) -> str:
        """The path, as a field of a CSV."""
        line = _Line()
        csv.writer(line, lineterminator="").writerow((self.path, ""))
        return line.text[:-1]

    @cached_property
    def highest_hz(self) -> int:
        """The highest frequency of a selection: at most half the sample rate, if the file can be read."""
        try:
            return min(probe(self._path or Path(), salvage=True).rate // 2, _HIGHEST_HZ)
        except (AudioError, OSError, ValueError):
            return _HIGHEST_HZ


class LineFormat(ABC):
    """One kind of file."""

    suffix: ClassVar[str]  # follows the recording's id, or the table's name, in the file's name
    header: ClassVar[str]
    pieces: ClassVar[tuple[str, ...]]  # SQL for texts, over a detection, `source_start_ms` and `source_end_ms`

    @abstractmethod
    def line(self, number: int, pieces: Sequence[str], source: SourceFile) -> str:
        """Return the line of a detection; `number` counts the file's lines from 1."""


class Raven(LineFormat):
    """A selection table for Raven: tab separated, a header, UTF-8."""

    suffix = ".selections.txt"
    header = "\t".join(RAVEN_COLUMNS) + "\n"
    pieces = (
        f"'Spectrogram 1\t1\t' || {_seconds('absolute_time_ms')} || '\t' || {_seconds('absolute_end_ms')} || '\t0\t'",
        f"'\t' || {_field(_SPOKEN)} || '\t' || {_field('coalesce(label_code, label)')} || '\t' || {_CONFIDENCE} "
        "|| '\t'",
        f"'\t' || {_seconds('source_start_ms')}",
    )

    def line(self, number: int, pieces: Sequence[str], source: SourceFile) -> str:
        """Return a selection."""
        times, texts, offset = pieces
        return f"{number}\t{times}{source.highest_hz}{texts}{source.fields}{offset}\n"


class Audacity(LineFormat):
    """A label track for Audacity: start, end and text; the confidence stands in brackets after the label."""

    suffix = ".labels.txt"
    header = ""
    pieces = (
        f"{_seconds('absolute_time_ms')} || '\t' || {_seconds('absolute_end_ms')} || '\t' || {_field('label')} "
        "|| coalesce(printf(' (%.3f)', confidence), '')",
    )

    def line(self, number: int, pieces: Sequence[str], source: SourceFile) -> str:
        """Return a label."""
        return f"{pieces[0]}\n"


class Birdnet(LineFormat):
    """A CSV with the columns of BirdNET-Analyzer, then those by which WildTrax identifies place and time."""

    suffix = ".BirdNET.results.csv"
    header = ",".join((*BIRDNET_COLUMNS, *WILDTRAX_COLUMNS)) + "\n"
    pieces = (
        f"(source_start_ms / 1000)::VARCHAR || ',' || (source_end_ms / 1000)::VARCHAR || ',' || {_quoted(_SCIENTIFIC)} "
        f"|| ',' || {_quoted(_COMMON)} || ',' || {_CONFIDENCE} || ','",
        f"',' || {_quoted('station')} || ',' || coalesce(strftime(recorded_at, '%Y-%m-%d %H:%M:%S'), '') || ',' "
        f"|| {_quoted('label_code')}",
    )

    def line(self, number: int, pieces: Sequence[str], source: SourceFile) -> str:
        """Return a row."""
        return f"{pieces[0]}{source.quoted_path}{pieces[1]}\n"


FORMATS: dict[ExportFormat, LineFormat] = {
    ExportFormat.RAVEN: Raven(),
    ExportFormat.AUDACITY: Audacity(),
    ExportFormat.BIRDNET: Birdnet(),
}


class _Line:
    """Keeps what a CSV writer writes."""

    text = ""

    def write(self, text: str) -> None:
        self.text = text
