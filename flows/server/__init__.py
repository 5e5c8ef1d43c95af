"""The Prefect server: a private one for a run, a shared one for a lab, and their upkeep."""
