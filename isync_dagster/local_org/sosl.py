"""SOSL as far as data tools use it: FIND, IN, RETURNING with fields, WHERE, ORDER BY and LIMIT, and the search itself.

Words are matched as the platform's index does: whole, without regard to case, `*` and `?` standing for the rest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from isync_dagster.local_org.org_schema import column_type, quote
from isync_dagster.local_org.storage import Storage
from isync_dagster.local_org.web import ApiError
from isync_dagster.schema.model import TEXT_TYPES, SObject

MOST: Final = 2000  # records that one search gives, over all objects
GROUPS: Final = ("ALL", "NAME", "EMAIL", "PHONE", "SIDEBAR")
_FIND = re.compile(r"\s*FIND\s*\{(?P<text>(?:\\.|[^}\\])*)\}", re.IGNORECASE)
_IN = re.compile(r"\s*IN\s+(?P<group>\w+)\s+FIELDS\b", re.IGNORECASE)
_RETURNING = re.compile(r"\s*RETURNING\b", re.IGNORECASE)
_LIMIT = re.compile(r"\s*LIMIT\s+(?P<limit>\d+)\s*$", re.IGNORECASE)


@dataclass(frozen=True)
class Returning:
    """One object to give back: its fields, and what follows them (WHERE, ORDER BY, LIMIT) as SOQL."""

    object: str
    fields: tuple[str, ...] = ("Id",)
    rest: str = ""


@dataclass(frozen=True)
class Search:
    """A search as it was asked for."""

    text: str
    group: str = "ALL"
    returning: tuple[Returning, ...] = ()
    limit: int = MOST


def _malformed(message: str) -> ApiError:
    return ApiError(400, "MALFORMED_SEARCH", message)


def read_sosl(text: str) -> Search:
    """A SOSL statement read; MALFORMED_SEARCH where it is none."""
    found = _FIND.match(text)
    if found is None:
        raise _malformed("No search term found. The search term must be enclosed in braces.")
    rest = text[found.end() :]
    group = "ALL"
    if named := _IN.match(rest):
        group, rest = named["group"].upper(), rest[named.end() :]
        if group not in GROUPS:
            raise _malformed(f"unexpected token: {named['group']}")
    limit = MOST
    returning: tuple[Returning, ...] = ()
    if start := _RETURNING.match(rest):
        parts, rest = _split(rest[start.end() :])
        returning = tuple(_returning(part) for part in parts)
    if last := _LIMIT.match(rest):
        limit, rest = min(int(last["limit"]), MOST), ""
    if rest.strip():
        raise _malformed(f"unexpected token: {rest.split()[0]}")
    return Search(re.sub(r"\\(.)", r"\1", found["text"]), group, returning, limit)


def _split(text: str) -> tuple[list[str], str]:
    """The comma-separated objects with their parentheses, and what follows them."""
    parts: list[str] = []
    depth, start, quoted = 0, 0, False
    for at, char in enumerate(text):
        if char == "'" and text[at - 1] != "\\":
            quoted = not quoted
        elif quoted:
            continue
        elif char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
        elif char == "," and depth == 0:
            parts.append(text[start:at].strip())
            start = at + 1
        elif depth == 0 and re.match(r"\sLIMIT\s", text[at:], re.IGNORECASE):
            return [*parts, text[start:at].strip()], text[at:]
    if depth:
        raise _malformed("expecting a right parentheses, found '<EOF>'")
    return [*parts, text[start:].strip()], ""


def _returning(part: str) -> Returning:
    found = re.fullmatch(r"(\w+)\s*(?:\((.*)\))?", part, re.DOTALL)
    if found is None:
        raise _malformed(f"unexpected token: {part or '<EOF>'}")
    inner = (found[2] or "").strip()
    cut = re.search(r"\b(WHERE|ORDER\s+BY|LIMIT|OFFSET)\b", inner, re.IGNORECASE)
    names = inner[: cut.start()] if cut else inner
    fields = tuple(name.strip() for name in names.split(",") if name.strip()) or ("Id",)
    return Returning(found[1], fields, inner[cut.start() :] if cut else "")


def pattern_of(text: str) -> list[str]:
    """Regular expressions that a record's text has all to match: one a word, or one a quoted phrase.

    >>> pattern_of('joe* "big deal"')
    ['\\\\bjoe\\\\w*', '\\\\bbig\\\\W+deal\\\\b']
    """
    found: list[str] = []
    for phrase, word in re.findall(r'"([^"]*)"|([^\s"]+)', text):
        if word.upper() in ("AND", "OR", "NOT"):
            continue
        words = re.findall(r"[\w*?]+", phrase or word)
        if not words:
            continue
        inner = r"\W+".join(re.escape(item).replace(r"\*", r"\w*").replace(r"\?", r"\w") for item in words)
        found.append(rf"\b{inner}" + ("" if inner.endswith(r"\w*") else r"\b"))
    return found


def matching_ids(storage: Storage, sobject: SObject, search: Search) -> list[str]:
    """The ids of an object's records that match, newest last; at most 2,000, which is the platform's bound too."""
    columns = [quote(name) for name in _searched(sobject, search.group)]
    patterns = pattern_of(search.text)
    if not columns or not patterns:
        return []
    text = f"concat_ws(' ', {', '.join(columns)})"
    joined = " OR " if re.search(r"\bOR\b", search.text) else " AND "
    tests = joined.join(f"regexp_matches({text}, ?, 'i')" for _ in patterns)
    rows = storage.rows(
        f'SELECT "Id" FROM {quote(sobject.name)} WHERE NOT "IsDeleted" AND ({tests}) ORDER BY "Id" LIMIT {MOST}',
        list(patterns),
    )
    return [str(row[0]) for row in rows]


def _searched(sobject: SObject, group: str) -> list[str]:
    """The fields that a group of fields stands for."""
    names: list[str] = []
    for field in sobject.fields:
        if column_type(field) is None or field.type not in TEXT_TYPES:
            continue
        kind = {"EMAIL": field.type == "email", "PHONE": field.type == "phone", "NAME": field.name_field}
        if kind.get(group, True):
            names.append(field.name)
    return names
