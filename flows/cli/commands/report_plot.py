"""`badc report plot`: the charts of a table of detections as PNG files."""

from __future__ import annotations

import sys

from badc.reports.settings import PlotSettings
from flows.cli.options import options_of


@options_of(PlotSettings)
def plot(settings: PlotSettings) -> int:
    """Draw a table of detections as PNG files.

    hours: labels by hour of the day, with effort and daylight. dates: stations by date. timeline: one recording.
    confidence: a histogram per label. spectrogram: the strongest detection of each label, read from its recording.
    Exit codes: 0; 1 something could not be drawn (the rest was); 2 the request is wrong.
    """
    from badc.reports.plots import write_plots

    made = write_plots(
        settings.parquet,
        settings.output_dir or settings.parquet.parent,
        settings.kinds,
        coverage=settings.coverage,
        sites=settings.sites,
        choice=settings,
        labels=settings.labels,
        recording_id=settings.recording,
        top=settings.top,
        audio_root=settings.audio_root,
        privacy=settings,
    )
    for note in made.notes:
        print(f"badc: {note}", file=sys.stderr)
    for path in made.written:
        print(path)
    for problem in made.problems:
        print(f"badc: {problem}", file=sys.stderr)
    return 1 if made.problems else 0
