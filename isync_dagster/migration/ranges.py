"""Huge objects in ranges of record ids: each a query job of its own, read and resumed by itself.

A range is what lies above one id and not above the next; the first has no lower end and the last no upper one, so that
together they hold every row whatever ids there are. Where they are cut is found by counting: ids of one org grow with
time, but by pods, so that they lie in clusters.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from upath import UPath

from isync_dagster.errors import RequestError, TransientError
from isync_dagster.migration.model import SyncJob
from isync_dagster.salesforce.org import Org
from isync_dagster.store import files

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
"""Ids are numbers of these digits, in this order; the last three of 18 are a checksum."""
ID_DIGITS = 15
CUTS = 4
"""How often a cut is looked for, for each range that is wanted: ids may lie very unevenly."""


@dataclass(frozen=True)
class Range:
    """The rows with `above < Id <= upto`; None is no bound. `rows` of them were counted."""

    above: str | None
    upto: str | None
    rows: int

    def within(self, where: str) -> str:
        """The condition that admits the rows of `where` in this range."""
        return _both(where, self.above, self.upto)


@dataclass(frozen=True)
class Part:
    """What reading a range, or all of them, brought."""

    rows: int
    bytes: int
    ranges: int = 1


def in_ranges(
    job: SyncJob,
    org: Org,
    object: str,
    where: str,
    folder: UPath,
    read: Callable[[str, str, int], tuple[int, int]],
) -> Part | None:
    """Read the rows of `object` that `where` admits in ranges of at most `split_rows` rows, some at the same time.

    `read(where, tag, rows)` reads one of them into files that have `tag` in their names, and gives rows and bytes; it goes
    on where it was cut off. None where the org cannot range over the object's ids: it is read as a whole. The ranges are
    kept in `folder`, each is noted when it is complete. Raises `TransientError` where rows are missing.
    """
    ranges = _chosen(job, org, object, where, folder)
    if ranges is None:
        return None

    def one(number: int) -> Part:
        note = folder / f"range-{number:05d}.json"
        done = files.read_json(note)
        if done is not None:
            return Part(**done)
        condition = ranges[number].within(where)
        rows, size = read(condition, f"{number:05d}-", ranges[number].rows)
        if rows < ranges[number].rows:
            _missing(org, object, condition, rows)
        part = Part(rows, size)
        files.write_json(note, asdict(part))
        return part

    parts = _side_by_side(one, len(ranges), job.options.parallel_ranges, object)
    rows = sum(part.rows for part in parts)
    if rows < sum(item.rows for item in ranges):
        _missing(org, object, where, rows)
    return Part(rows, sum(part.bytes for part in parts), len(parts))


def has_ranges(folder: UPath) -> bool:
    """True where a read of the folder was begun in ranges."""
    return files.exists(folder / "ranges.json")


def choose(org: Org, object: str, where: str, most: int) -> list[Range]:
    """Ranges of the rows of `object` that `where` admits, in order, about `most` rows each, none empty.

    Costs a count, two ends and three calls a cut. A range is larger than `most` only where no cut could be found.
    """
    total = org.count(object, where or None)
    if not total:
        return []
    ends = _end(org, object, where, None, None, "ASC"), _end(org, object, where, None, None, "DESC")
    tries = CUTS * -(-total // most)
    todo: list[tuple[str, str, int]] = [(*ends, total)]
    found: list[tuple[str, int]] = []
    while todo:
        first, last, rows = todo.pop()
        if rows <= most or tries <= 0 or _number(last) == _number(first):
            found.append((last, rows))
            continue
        tries -= 1
        wanted = -(-rows // most)
        middle = _text(_number(first) + (_number(last) - _number(first)) * (wanted // 2) // wanted)
        # Nothing of these rows is below `first` or above `last`.
        left = min(org.count(object, _both(where, None, middle, least=first)), rows)
        if left < rows:
            above = _end(org, object, where, middle, last, "ASC")
            todo.append((above, last, rows - left))
        if left:
            todo.append((first, _end(org, object, where, None, middle, "DESC", least=first), left))
    found = _merged(found, most)
    lower: list[str | None] = [None, *(last for last, _ in found[:-1])]
    return [
        Range(above, None if place == len(found) - 1 else last, rows)
        for place, (above, (last, rows)) in enumerate(zip(lower, found, strict=True))
    ]


def _merged(found: list[tuple[str, int]], most: int) -> list[tuple[str, int]]:
    """Neighbours together as long as they are no more than `most` rows: what lies far apart makes small ranges."""
    merged: list[tuple[str, int]] = []
    for last, rows in found:
        if merged and merged[-1][1] + rows <= most:
            merged[-1] = (last, merged[-1][1] + rows)
        else:
            merged.append((last, rows))
    return merged


def _chosen(job: SyncJob, org: Org, object: str, where: str, folder: UPath) -> list[Range] | None:
    """The ranges of a read: those that an earlier process chose, else new ones, written down before anything is read."""
    path = folder / "ranges.json"
    kept = files.read_json(path)
    if kept is None or kept["where"] != where:
        try:
            ranges = choose(org, object, where, job.options.split_rows)
        except RequestError:
            # Not every object can be filtered or ordered by its Id; one job reads it as well.
            return None
        _clear(folder)
        kept = {"where": where, "ranges": [asdict(item) for item in ranges]}
        files.write_json(path, kept)
    return [Range(**item) for item in kept["ranges"]]


def _clear(folder: UPath) -> None:
    for name in files.names(folder):
        if name.startswith(("part-", "range-", "cursor")):
            files.remove(folder / name)


def _missing(org: Org, object: str, where: str, rows: int) -> None:
    """Raise `TransientError` where the org still counts more: rows may have been deleted since they were counted."""
    counted = org.count(object, where or None)
    if rows < counted:
        raise TransientError(
            f"{object} of {org.alias}: {counted:,} rows are counted, {rows:,} came ({where or 'all'}). Materialize again: "
            "the ranges that are complete are kept."
        )


def _side_by_side(one: Callable[[int], Part], count: int, parallel: int, name: str) -> list[Part]:
    """`one(0)` … `one(count - 1)`, some at a time; after a failure none is begun, and the first one is raised."""
    failed = threading.Event()

    def unless_failed(number: int) -> Part | None:
        if failed.is_set():
            return None
        try:
            return one(number)
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(parallel, thread_name_prefix=f"{name}-ranges") as pool:
        running = [pool.submit(contextvars.copy_context().run, unless_failed, number) for number in range(count)]
    # Raises the first failure in the order of the ranges; without one, each has its part.
    return [part for future in running if (part := future.result()) is not None]


def _end(
    org: Org, object: str, where: str, above: str | None, upto: str | None, way: str, least: str | None = None
) -> str:
    """The first (`ASC`) or last (`DESC`) id between two bounds; TransientError where there is none any more."""
    condition = _both(where, above, upto, least=least)
    predicate = f" WHERE {condition}" if condition else ""
    found = org.query(f"SELECT Id FROM {object}{predicate} ORDER BY Id {way} LIMIT 1")
    if found.is_empty():
        raise TransientError(f"{object} of {org.alias}: rows were deleted while they were counted; counted anew")
    return str(found["Id"][0])


def _both(where: str, above: str | None, upto: str | None, least: str | None = None) -> str:
    def parts() -> Iterator[str]:
        if where:
            yield f"({where})" if above or upto or least else where
        if least:
            yield f"Id >= '{least}'"
        if above:
            yield f"Id > '{above}'"
        if upto:
            yield f"Id <= '{upto}'"

    return " AND ".join(parts())


def _number(record_id: str) -> int:
    number = 0
    for digit in record_id[:ID_DIGITS]:
        number = number * len(DIGITS) + DIGITS.index(digit)
    return number


def _text(number: int) -> str:
    digits = []
    for _place in range(ID_DIGITS):
        number, digit = divmod(number, len(DIGITS))
        digits.append(DIGITS[digit])
    return "".join(reversed(digits))
