"""The Dagster layer: assets, checks, partitions, jobs, resources, executor."""
