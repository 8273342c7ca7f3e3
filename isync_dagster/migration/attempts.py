"""The attempts at the chunks of one object and step: their place in the ledger, and the files beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from isync_dagster.errors import LedgerConflict
from isync_dagster.store.ledger import Entry, Ledger


class Attempts:
    """The ledger of one object and step, in which a transition that another worker recorded first raises."""

    def __init__(self, ledger: Ledger, object: str) -> None:
        self.ledger = ledger
        self.object = object

    def last(self, number: int) -> Entry:
        """The newest entry of a chunk; raises `LedgerConflict` where it was never planned."""
        entry = self.ledger.last(number)
        if entry is None:
            raise LedgerConflict(f"Ledger of {self.object}: chunk {number} was never planned.")
        return entry

    def plan(self, number: int, attempt: int, rows: pl.LazyFrame, payload: dict[str, Any]) -> None:
        """Write the rows of an attempt and record it as planned."""
        self._won(self.ledger.plan(number, attempt, rows, payload), number, "planned")

    def record(self, number: int, attempt: int, state: str, payload: Mapping[str, Any]) -> None:
        """Record a transition; raises `LedgerConflict` where another worker was first."""
        self._won(self.ledger.record(number, attempt, state, payload), number, state)

    def _won(self, first: bool, number: int, state: str) -> None:
        if not first:
            raise LedgerConflict(
                f"{self.object}, chunk {number}: another worker recorded {state!r} first. Two runs work on the same "
                "partition; let the other one finish, then materialize again."
            )

    def answers_path(self, number: int, attempt: int) -> Any:
        """Answers of the collections calls."""
        return self.ledger.results_path(number, attempt, "answers")

    def known_path(self, number: int, attempt: int) -> Any:
        """Outcomes of the rows that paired, while others are still to be settled."""
        return self.ledger.results_path(number, attempt, "known")

    def ids_path(self, number: int, attempt: int) -> Any:
        """Target ids that were returned and pair with no row."""
        return self.ledger.results_path(number, attempt, "unpaired")

    def outcome_path(self, number: int, attempt: int) -> Any:
        """The outcome of every row of the attempt (`OUTCOME_SCHEMA`)."""
        return self.ledger.results_path(number, attempt, "outcome")

    def settle_folder(self, number: int, attempt: int) -> Any:
        """Where what is read to settle the attempt lies."""
        return self.outcome_path(number, attempt).parent / f"settle-{attempt:03d}"


def cells(names: Sequence[str]) -> list[str]:
    """The columns that are sent: those that are fields."""
    return [name for name in names if not name.startswith("_")]
