"""Trouble on request: a short list of rules that a test sets, each met by some calls.

Rules are JSON objects: `path` (a regular expression searched in method + path, such as `POST .*/jobs/ingest`),
`kind`, `times` (how often; absent: always), `after` (calls to let pass first) and what the kind needs:
`expire_session`, `drop_before` / `drop_after` (the connection breaks before or after the call took effect),
`status` (`status`, `code`, `message`), `delay` (`seconds`), `truncate` (the body breaks off after `bytes`).
"""

from __future__ import annotations

import re
import threading
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from isync_dagster.errors import ConfigError

KINDS: Final = ("expire_session", "drop_before", "drop_after", "status", "delay", "truncate")


@dataclass
class Fault:
    """One rule; `times` and `after` count down."""

    kind: str
    path: str = ".*"
    times: int | None = 1
    after: int = 0
    status: int = 503
    code: str = "SERVER_UNAVAILABLE"
    message: str = "Server Unavailable"
    seconds: float = 0.0
    bytes: int = 0
    met: int = 0

    @classmethod
    def read(cls, values: dict[str, Any]) -> Fault:
        """A rule from JSON; ConfigError where it says something unknown."""
        known = {item.name for item in fields(cls)} - {"met"}
        unknown = set(values) - known
        if unknown:
            raise ConfigError(
                f"Unknown key of a fault: {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}."
            )
        if values.get("kind") not in KINDS:
            raise ConfigError(f"A fault is one of {', '.join(KINDS)}, not {values.get('kind')!r}.")
        fault = cls(**{**values, "seconds": float(values.get("seconds", 0))})
        try:
            re.compile(fault.path)
        except re.error as error:
            raise ConfigError(f"The fault's path is no regular expression: {error}.") from error
        return fault


class Faults:
    """The rules in force, met in the order in which they were set."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Fault] = []

    def set(self, rules: list[Fault]) -> None:
        """Replace all rules."""
        with self._lock:
            self._rules = rules

    def add(self, rule: Fault) -> None:
        """Add a rule at the end."""
        with self._lock:
            self._rules.append(rule)

    def as_json(self) -> list[dict[str, Any]]:
        """The rules as JSON, with how often each was met."""
        with self._lock:
            return [asdict(rule) for rule in self._rules]

    def meet(self, method: str, path: str) -> list[Fault]:
        """The rules that this call meets, counted down."""
        if not self._rules:
            return []
        text = f"{method} {path}"
        found: list[Fault] = []
        with self._lock:
            for rule in self._rules:
                if rule.times == 0 or not re.search(rule.path, text, re.IGNORECASE):
                    continue
                if rule.after > 0:
                    rule.after -= 1
                    continue
                if rule.times is not None:
                    rule.times -= 1
                rule.met += 1
                found.append(rule)
        return found
