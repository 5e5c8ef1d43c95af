"""Detection histories for occupancy models, and when and where species were found."""
