"""It has no OccurrencePickleProvider, as another version might not."""
