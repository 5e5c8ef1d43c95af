"""The lines of the files that other tools read.

DuckDB makes the pieces of a line that depend on the detection alone, which is many times faster than Python; the pieces
that depend on the audio file are inserted here.

Sources: Raven's selection tables, BirdNET's CSV and Kaleidoscope's CSV as BirdNET-Analyzer writes them
(`generate_raven_table`, `combine_raven_tables`, `generate_csv` and `generate_kaleidoscope` in
`birdnet_analyzer/analyze/utils.py`); `AUTO ID` and `MANUAL ID` as Kaleidoscope Pro names them in its own CSVs; label
tracks as in Audacity's manual, "Importing and Exporting Labels".
"""

from __future__ import annotations

import csv
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from badc.recordings.audio import AudioError, AudioInfo, probe
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
KALEIDOSCOPE_COLUMNS = (
    *("INDIR", "FOLDER", "IN FILE", "OFFSET", "DURATION", "scientific_name", "common_name", "confidence"),
    *("DATE", "TIME", "AUTO ID", "MANUAL ID"),
)
WILDTRAX_COLUMNS = ("location", "recording_date_time", "species_code")
RAVENS_LIST = ".list.txt"  # the end of the name of a list of audio files, which Raven opens as one sound
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
_TOLD_SCIENTIFIC = (
    "CASE "
    + " ".join(f"WHEN {_IS_SCIENTIFIC.format(text)} THEN {text}" for text in ("label_code", "label_name", "label"))
    + " ELSE label END"
)
_SCIENTIFIC = f"coalesce(species_scientific, {_TOLD_SCIENTIFIC})"
# A label of one word may be a code, which says less to a reader than the name.
_SPOKEN = "coalesce(species_common, CASE WHEN label LIKE '% %' THEN label ELSE coalesce(label_name, label) END)"
_COMMON = f"coalesce(species_common, nullif(label_name, {_TOLD_SCIENTIFIC}), label)"
_CODE = "coalesce(species_name, label_code, label)"
_ONE_NAME = "coalesce(species_name, label)"


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
        csv.writer(line).writerow((self.path, ""))
        return line.text.removesuffix(",\r\n")

    @cached_property
    def quoted_places(self) -> str:
        """The folder of the file's folder, the name of that folder and the file's name, as fields of a CSV."""
        line = _Line()
        folder = Path(self.path).parent
        csv.writer(line).writerow((folder.parent, folder.name, self.name) if self.path else ("",) * 3)
        return line.text.removesuffix("\r\n")

    @property
    def highest_hz(self) -> int:
        """The highest frequency of a selection: at most half the sample rate, if the file can be read."""
        return _HIGHEST_HZ if self._info is None else min(self._info.rate // 2, _HIGHEST_HZ)

    @property
    def length_ms(self) -> int | None:
        """The length of the file, None if it cannot be read."""
        return None if self._info is None else self._info.duration_ms

    @cached_property
    def _info(self) -> AudioInfo | None:
        try:
            return probe(self._path or Path(), salvage=True)
        except (AudioError, OSError, ValueError):
            return None


class LineFormat(ABC):
    """One kind of file."""

    suffix: ClassVar[str]  # follows the recording's id, or the table's name, in the file's name
    header: ClassVar[str]
    one_file: ClassVar[bool] = False  # of all recordings, rather than one each
    # SQL for texts, over a detection of `badc.reports.naming.name_species`, `source_start_ms`, `source_end_ms` and
    # `source_length_ms`.
    pieces: ClassVar[tuple[str, ...]]

    @abstractmethod
    def line(self, number: int, pieces: Sequence[Any], source: SourceFile) -> str:
        """Return the line of a detection; `number` counts the file's lines from 1."""


class Raven(LineFormat):
    """A selection table for Raven: tab separated, a header, UTF-8."""

    suffix = ".selections.txt"
    header = "\t".join(RAVEN_COLUMNS) + "\n"
    pieces = (
        f"'Spectrogram 1\t1\t' || {_seconds('absolute_time_ms')} || '\t' || {_seconds('absolute_end_ms')} || '\t0\t'",
        f"'\t' || {_field(_SPOKEN)} || '\t' || {_field(_CODE)} || '\t' || {_CONFIDENCE} || '\t'",
        f"'\t' || {_seconds('source_start_ms')}",
    )

    def line(self, number: int, pieces: Sequence[str], source: SourceFile) -> str:
        """Return a selection."""
        times, texts, offset = pieces
        return f"{number}\t{times}{source.highest_hz}{texts}{source.fields}{offset}\n"


class RavenCombined(LineFormat):
    """A selection table of many files, which Raven opens as one sound: times count from the start of the first file.

    A file's length is that of the file or, where it is not on this machine, of what was analysed of it.
    """

    suffix = ".selections.txt"
    header = Raven.header
    pieces = (*Raven.pieces[1:], "source_start_ms", "source_end_ms", "source_length_ms")

    def __init__(self) -> None:
        self.files: list[SourceFile] = []
        self._begins_ms = 0
        self._length_ms = 0

    def line(self, number: int, pieces: Sequence[Any], source: SourceFile) -> str:
        """Return a selection; those of a file come together."""
        texts, offset, start_ms, end_ms, length_ms = pieces
        if not self.files or self.files[-1] is not source:
            self.files.append(source)
            self._begins_ms += self._length_ms
            self._length_ms = length_ms if source.length_ms is None else source.length_ms
        times = "\t".join(f"{(self._begins_ms + at_ms) / 1000:.6f}" for at_ms in (start_ms, end_ms))
        return f"{number}\tSpectrogram 1\t1\t{times}\t0\t{source.highest_hz}{texts}{source.fields}{offset}\n"


class Audacity(LineFormat):
    """A label track for Audacity: start, end and text; the confidence stands in brackets after the label."""

    suffix = ".labels.txt"
    header = ""
    pieces = (
        f"{_seconds('absolute_time_ms')} || '\t' || {_seconds('absolute_end_ms')} || '\t' || {_field(_ONE_NAME)} "
        "|| coalesce(printf(' (%.3f)', confidence), '')",
    )

    def line(self, number: int, pieces: Sequence[str], source: SourceFile) -> str:
        """Return a label."""
        return f"{pieces[0]}\n"


class Birdnet(LineFormat):
    """A CSV with the columns of BirdNET-Analyzer, then those by which WildTrax identifies place and time."""

    suffix = ".BirdNET.results.csv"
    one_file = True
    header = ",".join((*BIRDNET_COLUMNS, *WILDTRAX_COLUMNS)) + "\n"
    pieces = (
        f"(source_start_ms / 1000)::VARCHAR || ',' || (source_end_ms / 1000)::VARCHAR || ',' || {_quoted(_SCIENTIFIC)} "
        f"|| ',' || {_quoted(_COMMON)} || ',' || {_CONFIDENCE} || ','",
        f"',' || {_quoted('station')} || ',' || coalesce(strftime(recorded_at, '%Y-%m-%d %H:%M:%S'), '') || ',' "
        f"|| {_quoted('coalesce(species_name, label_code)')}",
    )

    def line(self, number: int, pieces: Sequence[str], source: SourceFile) -> str:
        """Return a row."""
        return f"{pieces[0]}{source.quoted_path}{pieces[1]}\n"


class Kaleidoscope(LineFormat):
    """A CSV that Kaleidoscope opens to look through detections: `MANUAL ID` is empty, for the viewer to fill."""

    suffix = ".kaleidoscope.csv"
    one_file = True
    header = ",".join(KALEIDOSCOPE_COLUMNS) + "\n"
    pieces = (
        f"',' || (source_start_ms / 1000)::VARCHAR || ',' || ((source_end_ms - source_start_ms) / 1000)::VARCHAR "
        f"|| ',' || {_quoted(_SCIENTIFIC)} || ',' || {_quoted(_COMMON)} || ',' || {_CONFIDENCE} || ',' "
        "|| coalesce(strftime(detected_at, '%Y-%m-%d,%H:%M:%S'), ',') || ',' "
        f"|| {_quoted(_ONE_NAME)} || ','",
    )

    def line(self, number: int, pieces: Sequence[str], source: SourceFile) -> str:
        """Return a row."""
        return f"{source.quoted_places}{pieces[0]}\n"


FORMATS: dict[ExportFormat, LineFormat] = {
    ExportFormat.RAVEN: Raven(),
    ExportFormat.AUDACITY: Audacity(),
    ExportFormat.BIRDNET: Birdnet(),
    ExportFormat.KALEIDOSCOPE: Kaleidoscope(),
}


class _Line:
    """Keeps what a CSV writer writes."""

    text = ""

    def write(self, text: str) -> None:
        self.text = text
