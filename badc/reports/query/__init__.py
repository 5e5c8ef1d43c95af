"""The tables as views in DuckDB, and the counts made from them."""
