"""Many recordings: which a dataset has, how they are chunked and analysed, here or on a cluster."""
