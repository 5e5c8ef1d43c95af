"""One audio file: its name, its start, its samples, and where it is."""
