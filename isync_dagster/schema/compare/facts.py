"""Severities from the data at hand: what is asked of the rows, and what an answer (or none) makes of a difference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from isync_dagster.schema.compare.model import Answers, Ask, Question, Severity


class Facts:
    """The answers that are known; whatever is asked is noted in `asked`, answered or not."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self.asked: dict[Question, None] = {}

    def count(self, object: str, field: str, ask: Ask, limit: int = 0, names: Iterable[str] = ()) -> int | None:
        """The number that answers a question; None where it is not known."""
        found = self._get(Question(object, field, ask, limit, tuple(names)))
        return found if isinstance(found, int) else None

    def values(self, object: str, field: str, names: Iterable[str]) -> Mapping[str, int] | None:
        """Value -> rows of a field; a value that is not in it is in no row. None where it is not known."""
        found = self._get(Question(object, field, Ask.VALUES, names=tuple(names)))
        return found if isinstance(found, Mapping) else None

    def _get(self, question: Question) -> int | Mapping[str, int] | None:
        self.asked[question] = None
        return self._answers.get(question)


def by_rows(rows: int | None, worst: Severity) -> Severity:
    """The worst while rows are touched or not counted, cosmetic where none is.

    >>> by_rows(0, Severity.BLOCKS).value, by_rows(None, Severity.BLOCKS).value
    ('cosmetic', 'blocks')
    """
    return Severity.COSMETIC if rows == 0 else worst


def counted(rows: int | None) -> str:
    """The beginning of an advice: how many rows are touched.

    >>> counted(1200), counted(None)
    ('1,200 rows. ', 'Rows not counted. ')
    """
    if rows is None:
        return "Rows not counted. "
    return "No row. " if not rows else "1 row. " if rows == 1 else f"{rows:,} rows. "
