"""The closed vocabularies of the columns that start with `_`, as Polars enums."""

from __future__ import annotations

import polars as pl

LINK_STATES = pl.Enum(["linked", "pending", "defaulted", "dropped", "kept", "failed", "empty"])
"""What became of one lookup of one record (`_link.F`): exactly one of these, the second law."""

DECISIONS = pl.Enum(["insert", "update", "identical", "existing", "skipped", "blocked", "dropped"])
"""What the load is to do with a row (`_decision`); null until it is decided."""

MATCHED_BY = pl.Enum(["id map", "migration key", "match key"])
"""How the target record of a row was found (`_matched_by`); null where there is none."""


def link(state: str) -> pl.Expr:
    """A link state as a literal."""
    return pl.lit(state, dtype=LINK_STATES)


def decision(name: str) -> pl.Expr:
    """A decision as a literal."""
    return pl.lit(name, dtype=DECISIONS)
