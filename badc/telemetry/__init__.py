"""What a run writes as it runs, and how it is watched."""
