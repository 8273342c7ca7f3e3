"""What is wrong with a formula, in the words of Salesforce's formula editor."""

from __future__ import annotations


class FormulaError(Exception):
    """A formula that cannot be compiled; `offset` is the place in its text, `unknown` the function nobody knows."""

    def __init__(self, message: str, offset: int = 0, unknown: str | None = None) -> None:
        super().__init__(message, offset, unknown)
        self.message = message
        self.offset = offset
        self.unknown = unknown

    def __str__(self) -> str:
        return self.message
