"""`badc report export`: detections in the formats of other tools."""

from __future__ import annotations

import sys

from badc.errors import numbered
from badc.reports.settings import ExportSettings
from flows.cli.options import options_of


@options_of(ExportSettings)
def export(settings: ExportSettings) -> int:
    """Write detections as Raven selection tables, Audacity label tracks, or a CSV for Kaleidoscope or BirdNET's users.

    Raven's Species Code is the classifier's code, or with --names the one that you ask for.
    Exit codes: 0; 2 the request is wrong.
    """
    from badc.reports.files.export import export as write_files

    made = write_files(settings)
    for note in made.notes:
        print(f"badc: {note}", file=sys.stderr)
    print(f"{numbered(made.detections, 'detection')} in {numbered(made.files, 'file')}")
    print(made.folder)
    if made.without_times:
        print(
            f"badc: {numbered(made.without_times, 'detection')} without times in the recording left out; "
            "`badc infer aggregate --manifest` fills them in where it can",
            file=sys.stderr,
        )
    if not made.detections:
        print("WARNING: no detection has these labels and this confidence", file=sys.stderr)
    return 0
