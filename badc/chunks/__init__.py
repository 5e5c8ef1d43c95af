"""Recordings cut into chunks: the manifest, the cutting, its status, and which recording owns a file."""
