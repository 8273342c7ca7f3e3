"""Salesforce org-to-org data migration as Dagster assets."""

import os

# Polars' allocator reads it as it is loaded. What a pass has freed goes back to the system in a fifth of a second: several
# passes run side by side, and what each keeps for its next one adds up (measured: a fifth of the peak at a million records).
os.environ.setdefault("_RJEM_MALLOC_CONF", "background_thread:true,dirty_decay_ms:200,muzzy_decay_ms:0")
# What Polars' streaming engine holds besides: of both sides of a join it takes up to ten million rows before it chooses which
# one to keep, and of a file some dozens of row groups ahead (measured: 750 MB where a slice of 70,000 rows looks up its parents
# among five million, 150 to 190 MB with these). Of a file in an object store few row groups ahead are enough, too.
os.environ.setdefault("POLARS_JOIN_SAMPLE_LIMIT", "50000")
os.environ.setdefault("POLARS_ROW_GROUP_PREFETCH_SIZE", "4")

__version__ = "0.1.0"
