"""The inference of a whole dataset: which recordings it takes, its commands and scripts, its records and reports."""
