"""The folder of a review: clips, spectrograms, `sample.csv`, and the page to check them with."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from badc.errors import RequestError
from badc.recordings.audio import AudioError, AudioInfo
from badc.recordings.locate import audio_bases
from badc.reports.query.counts import choose
from badc.reports.query.expected import notes_on_expected
from badc.reports.query.tables import find_coverage, open_tables
from badc.reports.review.draw import Drawn, draw
from badc.reports.review.page import Picture, review_page
from badc.reports.review.settings import ClipFormat, ClipSettings, SampleSettings
from badc.reports.study.clips import (
    Passage,
    lossless_bytes,
    open_recording,
    read_passage,
    spectrogram,
    webp_bytes,
    why_unread,
)
from badc.reports.study.privacy import keep_private
from badc.system import atomic
from badc.system.paths import absolute, require_writable
from badc.system.texts import csv_writer
from badc.system.threads import in_threads

PAGE = "review.html"
SAMPLE = "sample.csv"
_FOLDERS = ("clips", "spectrograms", "sounds")
COLUMNS = (
    "clip",
    "label",
    "label_code",
    "label_name",
    "confidence",
    "recording_id",
    "start_ms",
    "end_ms",
    "station",
    "night",
    "local_time",
    "band_low",
    "band_high",
    "band_detections",
    "band_drawn",
    "audio",
    "spectrogram",
    "problem",
)


@dataclass(frozen=True, slots=True)
class Sample:
    """A review folder that was written."""

    folder: Path
    page: Path
    drawn: dict[str, int]  # detections by species
    unread: tuple[str, ...]  # a sentence for each drawn detection whose recording could not be read
    notes: tuple[str, ...]  # labels that do not occur, and what was left out for privacy


def make_sample(settings: SampleSettings, progress: Callable[[int, int], object] = lambda done, total: None) -> Sample:
    """Draw detections, and write their clips and the page to check them; `progress` gets the clips done and all.

    A recording that is missing or cannot be read is named, in `sample.csv` too, and the others go on.

    Raises
    ------
    RequestError
        If the table cannot be read, or the folder is not empty.
    """
    folder = new_folder(settings.folder)
    coverage = find_coverage(settings.parquet, settings.coverage)
    with open_tables(settings.parquet, coverage, settings.sites) as database:
        problems = choose(database, settings, settings.labels)
        problems += tuple(notes_on_expected(database))
        privacy = keep_private(database, settings, settings.pad_ms)
        drawn = draw(database, settings)
        labels = [row[0] for row in database.execute("SELECT DISTINCT label FROM detections ORDER BY 1").fetchall()]
    notes = [*problems, *privacy.problems, *([privacy.words] if privacy.words else [])]
    if not drawn:
        raise RequestError(
            "\n".join([f"{settings.parquet}: no detection with a confidence and a time to draw", *notes])
        )
    bases = audio_bases(settings.parquet, settings.audio_root)
    unread = write_review(folder, drawn, settings, bases, (labels, privacy.words), progress)
    species = Counter(one.sighting.label for one in drawn)
    return Sample(folder, folder / PAGE, dict(species), unread, tuple(notes))


def new_folder(wanted: Path) -> Path:
    """Return the folder of a review, absolute; RequestError if there is something in it."""
    folder = absolute(wanted)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RequestError(
            f"{folder}: there is something already, and a review may have verdicts in it; give --output-dir a new "
            "folder, or delete this one"
        )
    require_writable(folder, "folder of the review")
    return folder


def write_review(
    folder: Path,
    drawn: Sequence[Drawn],
    settings: ClipSettings,
    bases: Sequence[Path],
    told: tuple[Sequence[str], str],
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> tuple[str, ...]:
    """Write the clips of detections, and the page to check them; return a sentence for each that could not be read.

    The audio is looked for below `bases`, too. The page is `told` the labels that complete one that is typed, and what
    was left out for privacy.
    """
    labels, privacy = told
    with _whole(folder):
        made = _write_clips(folder, drawn, settings, bases, progress)
        _write_sample(folder / SAMPLE, drawn, made)
        page = review_page(folder.name, sample_id(drawn), drawn, made, labels, privacy)
        atomic.write_text(folder / PAGE, page)
    return tuple(
        f"{one.clip} {one.sighting.label}, {one.sighting.recording_id}: {picture}"
        for one, picture in zip(drawn, made, strict=True)
        if isinstance(picture, str)
    )


@contextlib.contextmanager
def _whole(folder: Path) -> Iterator[None]:
    """Make the folders of a review, and clear them if it cannot be finished: half of one would refuse the next."""
    try:
        with atomic.naming(folder):
            for name in _FOLDERS:
                (folder / name).mkdir(parents=True, exist_ok=True)
            yield
    except BaseException:
        for name in _FOLDERS:
            shutil.rmtree(folder / name, ignore_errors=True)
        (folder / SAMPLE).unlink(missing_ok=True)
        raise


def sample_id(drawn: Sequence[Drawn]) -> str:
    """Return what tells a sample from others: browsers keep the verdicts of all pages of a disk in one place."""
    what = "\n".join(f"{d.sighting.recording_id}\t{d.start_ms}\t{d.end_ms}\t{d.sighting.label}" for d in drawn)
    return hashlib.sha256(what.encode(errors="surrogatepass")).hexdigest()[:16]


def _write_clips(
    folder: Path,
    drawn: Sequence[Drawn],
    settings: ClipSettings,
    bases: Sequence[Path],
    progress: Callable[[int, int], object],
) -> list[Picture | str]:
    """Write the clips, a recording at a time; return what the page shows of each, or why it cannot be read."""
    groups: dict[tuple[str | None, str | None], list[int]] = {}
    for number, one in enumerate(drawn):
        groups.setdefault((one.sighting.source_path, one.sighting.dataset_root), []).append(number)

    def of_recording(numbers: list[int]) -> list[tuple[int, Picture | str]]:
        found: list[tuple[int, Picture | str]] = []
        opened: tuple[Path, AudioInfo] | None = None
        for number in numbers:
            sighting = drawn[number].sighting
            try:
                opened = opened or open_recording(sighting, bases)
                passage = read_passage(sighting, bases, settings.pad_ms, opened)
            except (AudioError, OSError) as error:
                found.append((number, why_unread(error, sighting, bases)))
            else:
                found.append((number, _write_clip(folder, drawn[number].clip, passage, settings.format)))
        return found

    made: dict[int, Picture | str] = {}
    for found in in_threads(of_recording, list(groups.values())):
        made.update(found)
        progress(len(made), len(drawn))
    return [made[number] for number in range(len(drawn))]


def _write_clip(folder: Path, clip: str, passage: Passage, form: ClipFormat) -> Picture:
    sound = lossless_bytes(passage, "flac")
    clip_file, picture_file = f"clips/{clip}.{form.value}", f"spectrograms/{clip}.webp"
    # Not atomically: thousands of syncs take longer than all else, and the page comes when all of them are there.
    (folder / clip_file).write_bytes(sound if form is ClipFormat.FLAC else lossless_bytes(passage, form.value))
    # The page, opened from a disk, may neither fetch a file nor filter the sound of one, but it may run a script.
    encoded = base64.b64encode(sound).decode()
    (folder / "sounds" / f"{clip}.js").write_text(f'badcSound("{clip}","{encoded}")\n')
    picture = spectrogram(passage)
    (folder / picture_file).write_bytes(webp_bytes(picture))
    peak = float(abs(passage.samples).max(initial=0.0))
    return Picture(clip_file, picture_file, passage.length_s, passage.marked_s, picture.top_hz, peak)


def _write_sample(path: Path, drawn: Sequence[Drawn], made: Sequence[Picture | str]) -> None:
    with atomic.replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv_writer(stream)
        writer.writerow(COLUMNS)
        for one, picture in zip(drawn, made, strict=True):
            s, stratum = one.sighting, one.stratum
            files = ("", "", picture) if isinstance(picture, str) else (picture.audio, picture.spectrogram, "")
            row = (
                one.clip,
                s.label,
                one.label_code or "",
                s.label_name or "",
                s.confidence,
                s.recording_id,
                one.start_ms,
                one.end_ms,
                s.station or "",
                one.night or "",
                "" if s.local_time is None else s.local_time.isoformat(timespec="milliseconds"),
                *(("",) * 4 if stratum is None else (stratum.low, stratum.high, stratum.detections, stratum.drawn)),
                *files,
            )
            writer.writerow(row)
