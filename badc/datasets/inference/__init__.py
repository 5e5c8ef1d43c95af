"""The inference of a whole dataset: its recordings, its commands and scripts, its records and reports."""
