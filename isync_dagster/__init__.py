"""Salesforce org-to-org data migration as Dagster assets."""

import os

# Polars' allocator reads it as it is loaded. What a pass has freed goes back to the system in a fifth of a second: several
# passes run side by side, and what each keeps for its next one adds up (measured: a fifth of the peak at a million records).
os.environ.setdefault("_RJEM_MALLOC_CONF", "background_thread:true,dirty_decay_ms:200,muzzy_decay_ms:0")

__version__ = "0.1.0"
