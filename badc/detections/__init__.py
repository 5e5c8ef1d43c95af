"""What a runner found in a chunk, and the tables of it."""
