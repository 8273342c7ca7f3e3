"""The nodes of a formula: literals, references, calls and operators, each with its place in the text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant: `kind` is text, number, boolean or null; `text` its value as written, unescaped."""

    kind: str
    text: str
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Reference:
    """A field path: `Name`, `Account.Owner.Name`, `$User.Id`, `Owner:User.Email`."""

    path: tuple[str, ...]
    offset: int = 0

    @property
    def text(self) -> str:
        """The path as people write it."""
        return ".".join(self.path)


@dataclass(frozen=True, slots=True)
class Call:
    """A function with its arguments; `name` in capitals."""

    name: str
    arguments: tuple[Node, ...]
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Operation:
    """An operator between two values, or before one (`left` is None)."""

    sign: str
    left: Node | None
    right: Node
    offset: int = 0


Node: TypeAlias = Literal | Reference | Call | Operation
