"""CSV answers streamed to files and proved whole while they arrive.

A body is whole when its framing says so, its last record ends, no quote is open, and it holds as many records
as Sforce-NumberOfRecords says. Anything less is TransientError, and the page is fetched again from its start.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import requests

from isync_dagster.errors import TransientError
from isync_dagster.salesforce.calls import Call, OrgCalls
from isync_dagster.salesforce.meter import active_meters

_CHUNK = 1 << 20
_PASSED_OVER = bytes(set(range(256)) - set(b'"\n'))


@dataclass(frozen=True)
class Download:
    """A CSV file on disk: data rows (the header is not one), bytes, and the answer's headers."""

    path: Path
    rows: int
    bytes: int
    headers: Mapping[str, str]


class RecordCounter:
    """Counts CSV records in a byte stream: line ends outside quotes, without looking at cells one by one.

    >>> counter = RecordCounter()
    >>> for piece in (b'"Id","N', b'ame"', bytes([10]), b'"1","two', bytes([10]), b'lines"', bytes([10])):
    ...     counter.add(piece)
    >>> counter.records, counter.complete
    (2, True)
    """

    def __init__(self) -> None:
        self._quoted = False
        self._ended = True
        self._records = 0
        self.bytes = 0

    def add(self, piece: bytes) -> None:
        """Take the next bytes of the stream."""
        if not piece:
            return
        # Of the text only what counts; two quotes with nothing between them that counts leave the state as it is.
        parts = piece.translate(None, _PASSED_OVER).replace(b'""', b"").split(b'"')
        outside = parts[1::2] if self._quoted else parts[::2]
        self._records += b"".join(outside).count(b"\n")
        # an odd number of quotes flips the state; a doubled quote inside a value flips it twice
        self._quoted ^= len(parts) % 2 == 0
        self._ended = piece[-1:] == b"\n" and not self._quoted
        self.bytes += len(piece)

    @property
    def records(self) -> int:
        """Records so far, an unterminated last one included."""
        return self._records + (0 if self._ended else 1)

    @property
    def complete(self) -> bool:
        """True where the stream ends with the end of a record."""
        return self._ended

    @property
    def open_quote(self) -> bool:
        """True where the stream ends inside a quoted value."""
        return self._quoted


def download_csv(
    org: OrgCalls, path: str, to: Path, *, params: Mapping[str, str] | None = None, expected: int | None = None
) -> Download:
    """Fetch a CSV resource into `to`, whole or not at all; again from its start while that may help.

    `expected` is a number of data rows known from elsewhere. A 204 means that the result is not ready: it is
    asked for again like anything transient.
    """
    call = Call("GET", org.path(path), params=params, headers={"Accept": "text/csv"}, repeatable=True, stream=True)
    return org.tuning.repeat(lambda: _attempt(org, call, to, expected))


def _attempt(org: OrgCalls, call: Call, to: Path, expected: int | None) -> Download:
    found: list[Download] = []
    part = to.with_name(to.name + ".part")

    def save(answer: requests.Response) -> None:
        if answer.status_code == 204:
            raise TransientError(f"org '{org.alias}': {call.path} is not ready", code="NOT_READY", status=204)
        with part.open("wb") as file:
            counter = _copy(answer, file)
        rows = verify(counter, answer.headers, expected, f"org '{org.alias}': {call.path}")
        found.append(Download(to, rows, counter.bytes, answer.headers))
        for meter in active_meters():
            meter.add_bytes(received=counter.bytes)

    try:
        org.stream(call, save)
        part.replace(to)
    finally:
        part.unlink(missing_ok=True)
    return found[0]


def _copy(answer: requests.Response, file: IO[bytes]) -> RecordCounter:
    counter = RecordCounter()
    pieces: Iterable[bytes] = answer.iter_content(_CHUNK)
    for piece in pieces:
        # NUL bytes occur in the wild; they are no text, and CSV readers stumble over them
        clean = piece.replace(b"\0", b"") if b"\0" in piece else piece
        counter.add(clean)
        file.write(clean)
    return counter


def verify(counter: RecordCounter, headers: Mapping[str, str], expected: int | None, where: str) -> int:
    """The data rows of a body that is whole; TransientError says what is missing."""
    rows = max(counter.records - 1, 0)
    if counter.open_quote:
        raise TransientError(f"{where}: the answer ends inside a value after {rows:,} rows (cut off)")
    framed = "Content-Length" in headers or "chunked" in headers.get("Transfer-Encoding", "").lower()
    if not counter.complete and not framed:
        raise TransientError(f"{where}: the answer ends inside a record after {rows:,} rows (cut off)")
    said = headers.get("Sforce-NumberOfRecords", "")
    for source, number in (("Sforce-NumberOfRecords", int(said) if said.isdigit() else None), ("the job", expected)):
        if number is not None and number != rows:
            raise TransientError(f"{where}: {rows:,} rows came, {source} says {number:,}")
    return rows
