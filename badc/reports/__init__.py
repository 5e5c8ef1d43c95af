"""Reports on detections: counts, rankings, rates, databases and pages from the tables of `badc.detections.aggregate`.

For notebooks and scripts, `badc.reports.frames.load_detections` reads a table of detections and
`badc.reports.frames.open_bundle` the database of a bundle, both as pandas DataFrames. Each command `badc report …` is
one function: `badc.reports.summary.summarise`, `badc.reports.quicklook.quicklook`,
`badc.reports.parquet_report.parquet_report`, `badc.reports.database.make_database`,
`badc.reports.bundle.make_bundle` and `badc.reports.rollup.roll_up`. For SQL of your own,
`badc.reports.tables.open_tables` gives the tables as views.
"""
