"""The HTML page of a study."""
