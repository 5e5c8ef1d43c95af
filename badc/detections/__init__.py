"""What a runner found in a chunk, and the tables made from it."""
