"""The tables as views in DuckDB, and what is counted in them."""
