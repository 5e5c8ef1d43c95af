"""Reports on detections: counts, rankings, rates, databases and pages from the tables of `badc.detections.aggregate`.

For notebooks and scripts, `badc.reports.files.frames.load_detections` reads a table of detections and
`badc.reports.files.frames.open_bundle` the database of a bundle, both as pandas DataFrames. Each command `badc report
…` is one function: `badc.reports.rankings.summary.summarise`, `badc.reports.rankings.quicklook.quicklook`,
`badc.reports.rankings.overview.parquet_report`, `badc.reports.files.database.make_database`,
`badc.reports.bundle.make_bundle` and `badc.reports.rankings.rollup.roll_up`. For your own SQL,
`badc.reports.query.tables.open_tables` gives the tables as views.
"""
