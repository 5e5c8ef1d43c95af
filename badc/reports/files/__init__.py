"""What other programs read: databases, DataFrames, export formats."""
