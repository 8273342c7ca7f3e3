"""What the rules of a save need to know of the call that asked for it, wherever in the call they run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True)
class Request:
    """One call: `allow_duplicates` is its duplicate rule header, `base` its `/services/data/vNN.0`."""

    user_id: str | None = None
    allow_duplicates: bool = False
    base: str = "/services/data/v62.0"


_CURRENT: ContextVar[Request] = ContextVar("request", default=Request())  # noqa: B039  (immutable)


def current() -> Request:
    """The call that this thread works for; one without headers outside a call, as a Bulk job is."""
    return _CURRENT.get()


@contextmanager
def working_for(request: Request) -> Iterator[None]:
    """Make `request` the current one while the block runs."""
    token = _CURRENT.set(request)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def of_headers(headers: Mapping[str, str], *, user_id: str | None, base: str) -> Request:
    """The request of an HTTP call; header names in lower case.

    >>> of_headers({"sforce-duplicate-rule-header": "allowSave=true"}, user_id=None, base="").allow_duplicates
    True
    """
    rule = headers.get("sforce-duplicate-rule-header", "")
    return Request(user_id, re.search(r"allowSave\s*=\s*true", rule, re.IGNORECASE) is not None, base)
