"""Values of a query: text with its escapes, numbers, dates, and the relative dates as half-open day ranges."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal

ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "'": "'", '"': '"', "\\": "\\", "_": "_", "%": "%"}
ID_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"


def text_value(source: str) -> str | None:
    r"""The text that a literal means; a backslash before any other character is refused with None.

    >>> text_value(r"O\'Neil\n")
    "O'Neil\n"
    """
    if "\\" not in source:
        return source
    answer, at = [], 0
    while at < len(source):
        character = source[at]
        if character != "\\":
            answer.append(character)
            at += 1
        elif source[at + 1] == "u" and re.fullmatch(r"[0-9a-fA-F]{4}", source[at + 2 : at + 6]):
            answer.append(chr(int(source[at + 2 : at + 6], 16)))
            at += 6
        else:
            meant = ESCAPES.get(source[at + 1].lower())
            if meant is None:
                return None
            answer.append(meant)
            at += 2
    return "".join(answer)


def like_pattern(source: str) -> str | None:
    r"""The SQL LIKE pattern (escape character backslash) of a SOQL LIKE literal.

    >>> like_pattern(r"100\%\'%")
    "100\\%'%"
    """
    answer, at = [], 0
    while at < len(source):
        character = source[at]
        if character == "\\" and source[at + 1] in "_%\\":
            answer.append(source[at : at + 2])
            at += 2
        elif character == "\\":
            size = 6 if source[at + 1] == "u" else 2
            meant = text_value(source[at : at + size])
            if meant is None:
                return None
            answer.append(meant)
            at += size
        else:
            answer.append(character)
            at += 1
    return "".join(answer)


def to18(record_id: str) -> str | None:
    """The 18-character form of an id of 15 or 18 characters, None for anything else.

    >>> to18("0015500001QdQWa"), to18("0015500001QdQWaAAN"), to18("abc")
    ('0015500001QdQWaAAN', '0015500001QdQWaAAN', None)
    """
    if len(record_id) not in (15, 18) or not (record_id.isascii() and record_id.isalnum()):
        return None
    if len(record_id) == 18:
        return record_id
    suffix = "".join(
        ID_ALPHABET[
            sum(1 << place for place, character in enumerate(record_id[start : start + 5]) if "A" <= character <= "Z")
        ]
        for start in (0, 5, 10)
    )
    return record_id + suffix


def number_value(source: str) -> Decimal:
    """A number as written, without an exponent."""
    return Decimal(format(Decimal(source), "f"))


def datetime_value(source: str) -> datetime | None:
    """A datetime literal as naive UTC; None where there is no such day or hour."""
    try:
        return datetime.fromisoformat(source.upper()).astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None


def date_value(source: str) -> date | None:
    """A date literal; None where there is no such day."""
    try:
        return date.fromisoformat(source)
    except ValueError:
        return None


def time_value(source: str) -> time | None:
    """A time literal (`12:30:00.000Z`); None where there is no such time."""
    try:
        return time.fromisoformat(source.upper().removesuffix("Z"))
    except ValueError:
        return None


def day_start(day: date, zone: tzinfo) -> datetime:
    """Midnight of a day in the user's time zone, as naive UTC."""
    try:
        return datetime.combine(day, time(), zone).astimezone(UTC).replace(tzinfo=None)
    except OverflowError:
        return datetime.combine(day, time())


def day_range(source: str, today: date, fiscal_start: int = 1) -> tuple[date, date]:
    """The first day of a relative date and the day after its last; weeks start on Sunday.

    >>> day_range("LAST_N_DAYS:2", date(2024, 3, 15))
    (datetime.date(2024, 3, 13), datetime.date(2024, 3, 16))
    >>> day_range("this_quarter", date(2024, 3, 15))
    (datetime.date(2024, 1, 1), datetime.date(2024, 4, 1))
    """
    name, _, count = (part.strip().upper() for part in source.partition(":"))
    if name in ("YESTERDAY", "TODAY", "TOMORROW"):
        first = _add(today, "DAY", ("YESTERDAY", "TODAY", "TOMORROW").index(name) - 1)
        return first, _add(first, "DAY", 1)
    if name in ("LAST_90_DAYS", "NEXT_90_DAYS"):
        name, count = f"{name[:4]}_N_DAYS", "90"
    number = int(count or 0)
    if name.endswith("_AGO"):
        unit = name.removeprefix("N_").removesuffix("_AGO").removesuffix("S")
        return _units(today, unit, -number, 1 - number, fiscal_start)
    direction, _, rest = name.partition("_")
    if not rest.startswith("N_"):
        first_unit = {"LAST": -1, "THIS": 0, "NEXT": 1}[direction]
        return _units(today, rest, first_unit, first_unit + 1, fiscal_start)
    unit = rest.removeprefix("N_").removesuffix("S")
    if direction == "NEXT":
        return _units(today, unit, 1, number + 1, fiscal_start)
    # The last n days include today; longer units end where the current one begins.
    return _units(today, unit, -number, 1 if unit == "DAY" else 0, fiscal_start)


def _units(today: date, unit: str, first: int, after: int, fiscal_start: int) -> tuple[date, date]:
    fiscal = unit.startswith("FISCAL_")
    plain = unit.removeprefix("FISCAL_")
    # A fiscal calendar is the plain one moved by some months.
    shift = (fiscal_start - 1) if fiscal else 0
    start = FLOORS[plain](_add(today, "MONTH", -shift, keep_day=False) if shift else today)
    start = _add(start, "MONTH", shift) if shift else start
    return _add(start, plain, first), _add(start, plain, after)


FLOORS: dict[str, Callable[[date], date]] = {
    "DAY": lambda day: day,
    "WEEK": lambda day: day - timedelta(days=(day.weekday() + 1) % 7),
    "MONTH": lambda day: day.replace(day=1),
    "QUARTER": lambda day: date(day.year, (day.month - 1) // 3 * 3 + 1, 1),
    "YEAR": lambda day: date(day.year, 1, 1),
}


def _add(day: date, unit: str, count: int, *, keep_day: bool = True) -> date:
    """A day moved by a number of units; what would leave the calendar stays at its edge."""
    try:
        if unit in ("DAY", "WEEK"):
            return day + timedelta(days=count * (7 if unit == "WEEK" else 1))
        months = day.year * 12 + day.month - 1 + count * {"MONTH": 1, "QUARTER": 3, "YEAR": 12}[unit]
        return date(months // 12, months % 12 + 1, day.day if keep_day else 1)
    except (OverflowError, ValueError):
        return date.min if count < 0 else date.max
