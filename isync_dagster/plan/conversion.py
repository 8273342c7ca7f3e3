"""Which field types may carry the values of which others; the rules are the schema's (`schema.conversion`)."""

from __future__ import annotations

from isync_dagster.schema.conversion import lost_values, narrowing, refusal

__all__ = ["lost_values", "narrowing", "refusal"]
