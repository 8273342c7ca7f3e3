"""Org compare: how the schema of a target differs from that of a source, and what that does to the rows."""

from isync_dagster.schema.compare.compare import Comparison, compare
from isync_dagster.schema.compare.model import (
    COLUMNS,
    ORDER,
    Answer,
    Answers,
    Ask,
    Difference,
    Kind,
    Pair,
    Question,
    Severity,
)

__all__ = [
    "COLUMNS",
    "ORDER",
    "Answer",
    "Answers",
    "Ask",
    "Comparison",
    "Difference",
    "Kind",
    "Pair",
    "Question",
    "Severity",
    "compare",
]
