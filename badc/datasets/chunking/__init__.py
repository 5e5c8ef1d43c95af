"""The chunking of a whole dataset."""
