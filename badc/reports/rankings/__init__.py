"""What was found most: summaries, quicklooks, overviews and leaderboards."""
