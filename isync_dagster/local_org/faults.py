"""Trouble that single calls meet: a short list of rules, each met by some calls.

As JSON (`POST /__local_org/faults`) and in the `calls` of a scenario file a rule is the same object: `kind`, `path`
(a regular expression searched in method + path, such as `POST .*/jobs/ingest`) and what the kind needs.
"""

from __future__ import annotations

import difflib
import re
import threading
from collections.abc import Iterable
from random import Random
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator

from isync_dagster.errors import ConfigError

Kind = Literal[
    "expire_session", "drop_before", "drop_after", "status", "delay", "truncate", "read_only", "kill",
]  # fmt: skip
Moment = Literal["before", "after", "before_commit", "in_commit", "after_commit"]
KINDS: Final[tuple[str, ...]] = get_args(Kind)
READ_ONLY: Final = "The organization is in read-only mode for maintenance"
# Calls that change nothing though they are no GET: logins, queries by job, and the control side.
_READS: Final = re.compile(r"^(GET|HEAD) |/oauth2/|/services/soap/|/jobs/query|/__local_org", re.IGNORECASE)


class Fault(BaseModel):
    """One rule; `times` and `after` count down while it is in force."""

    model_config = ConfigDict(extra="forbid", validate_assignment=False)

    kind: Annotated[Kind, Field(description=(
        "expire_session ends every session; drop_before and drop_after cut the connection before or after the call "
        "took effect; status answers with an error instead of doing the call; delay waits first; truncate breaks the "
        "body of the answer off; read_only refuses calls that write, as an org under maintenance; kill ends the "
        "server's process by SIGKILL."))]  # fmt: skip
    path: Annotated[str, Field(description="Regular expression searched in `METHOD /path`.")] = ".*"
    times: Annotated[int | None, Field(ge=0, description="How often it is met; null: always.")] = 1
    after: Annotated[int, Field(ge=0, description="Matching calls to let pass first.")] = 0
    every: Annotated[int, Field(ge=1, description="Then only each n-th matching call meets it.")] = 1
    share: Annotated[float, Field(ge=0, le=1, description="Then only this share of the calls, by the seed.")] = 1.0
    status: Annotated[int, Field(ge=400, le=599, description="status: the HTTP status.")] = 503
    code: Annotated[str, Field(description="status: the errorCode.")] = "SERVER_UNAVAILABLE"
    message: Annotated[str, Field(description="status: the message.")] = "Server Unavailable"
    html: Annotated[bool, Field(description="status: an HTML page as gateways send it, not JSON.")] = False
    seconds: Annotated[float, Field(ge=0, description="delay: at least so long.")] = 0.0
    jitter: Annotated[float, Field(ge=0, description="delay: up to so much longer, by the seed.")] = 0.0
    bytes: Annotated[int, Field(ge=0, description="truncate: what is sent of the body.")] = 0
    moment: Annotated[Moment, Field(description=(
        "kill: before or after the call took effect; or before, in or after a commit that follows the call."
    ))] = "before"  # fmt: skip
    commits: Annotated[int, Field(ge=1, description="kill: the how manieth commit after the call.")] = 1
    _met: int = PrivateAttr(0)
    _seen: int = PrivateAttr(0)

    @field_validator("path")
    @classmethod
    def _is_pattern(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"the path is no regular expression: {error}") from error
        return value

    @classmethod
    def read(cls, values: dict[str, Any]) -> Fault:
        """A rule from JSON; ConfigError where it says something unknown."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError("A fault: " + "; ".join(explain(cls, item) for item in error.errors()) + ".") from error

    @property
    def met(self) -> int:
        """How often it was met."""
        return self._met

    def wait(self, seed: int) -> float:
        """Seconds that this meeting of a `delay` takes."""
        return self.seconds + self.jitter * Random(f"{seed} wait {self.path} {self._met}").random()

    def meets(self, text: str, seed: int) -> bool:
        """Whether a call meets the rule, which counts it."""
        if self.times == 0 or not re.search(self.path, text, re.IGNORECASE):
            return False
        if not concerns(self.kind, text):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        self._seen += 1
        if (self._seen - 1) % self.every:
            return False
        if self.share < 1 and Random(f"{seed} share {self.path} {self._seen}").random() >= self.share:
            return False
        if self.times is not None:
            self.times -= 1
        self._met += 1
        return True


def concerns(kind: str, text: str) -> bool:
    """Whether a call `METHOD /path` can meet this kind at all: `read_only` lets what only reads pass."""
    return kind != "read_only" or not _READS.search(text)


def explain(model: type[BaseModel], item: Any) -> str:
    """A finding of pydantic as one says it: where, what, and the nearest known key."""
    where = ".".join(str(step) for step in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"{where}: there is no such key{nearest(str(item['loc'][-1]), model.model_fields)}"
    if item["type"] == "literal_error" and where.endswith("kind"):
        return f"{where}: a fault is one of {', '.join(KINDS)}, not {item['input']!r}"
    message = str(item.get("ctx", {}).get("error", item["msg"])) if item["type"] == "value_error" else item["msg"]
    return f"{where}: {message}"


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown word.

    >>> nearest("lock", ["locks", "calls"]), nearest("zz", ["locks", "calls"])
    (': did you mean locks?', '; known are calls, locks')
    """
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1)
    return f": did you mean {close[0]}?" if close else f"; known are {', '.join(names)}"


class Faults:
    """The rules in force, met in the order in which they were set."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Fault] = []
        self.seed = 0

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
            return [{**rule.model_dump(), "met": rule.met} for rule in self._rules]

    def meet(self, method: str, path: str) -> list[Fault]:
        """The rules that this call meets, counted down."""
        if not self._rules:
            return []
        with self._lock:
            return [rule for rule in self._rules if rule.meets(f"{method} {path}", self.seed)]
