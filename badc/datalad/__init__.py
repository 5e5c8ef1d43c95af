"""DataLad: the record of a run in the dataset's history, and the `datalad run` line that makes the same one.

What is computed is computed without DataLad, many recordings at a time. `DataladRun` says what a command reads and
writes; from it come the printed line, the check that the dataset is clean there, and, once the command has run, the
record that `datalad rerun` understands. DataLad itself is never imported here: it runs in child processes, because it
takes over logging and signal handlers and needs seconds to start.
"""
