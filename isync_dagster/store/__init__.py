"""The disk: layout, Parquet, runs, id map, pending links, ledger, lease, audit log."""
