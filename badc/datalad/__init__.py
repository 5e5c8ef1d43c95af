"""DataLad: the record of a run in the dataset's history, and the `datalad run` line that makes the same one.

Runs are computed without DataLad, many recordings at a time. `DataladRun` says what a command reads and writes; from it
come the printed line, the check that the dataset is clean there, and, after the command, the record that
`datalad rerun` understands. DataLad itself runs in child processes only, because it takes over logging and signal
handlers and needs seconds to start.
"""
