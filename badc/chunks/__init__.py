"""A recording cut into chunks: the manifest, the cutting, what was cut before, and whose it is."""
