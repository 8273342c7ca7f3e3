"""One HTTP call and its reply, as the resources of a local org see them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from isync_dagster.local_org.auth import Session
    from isync_dagster.local_org.local_org import LocalOrg
    from isync_dagster.local_org.service import Service

JSON: Final = "application/json;charset=UTF-8"


class ApiError(Exception):
    """A refusal of a call: HTTP status, Salesforce error code, message, and field names where there are any."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        fields: list[str] | None = None,
        *,
        duplicates: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.duplicates = duplicates
        self.status = status
        self.code = code
        self.message = message
        self.fields = fields

    def body(self) -> list[dict[str, Any]]:
        """The error as REST resources answer it."""
        entry: dict[str, Any] = {"message": self.message, "errorCode": self.code}
        if self.duplicates is not None:
            # The key is misspelt by the platform itself.
            return [{"duplicateResut": self.duplicates, **entry}]
        if self.fields is not None:
            entry["fields"] = self.fields
        return [entry]


def not_found() -> ApiError:
    """The answer for an object or path that is not there."""
    return ApiError(404, "NOT_FOUND", "The requested resource does not exist")


@dataclass
class Reply:
    """What goes back: a JSON value, text, bytes or a file (deleted after it was sent if `passing`)."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = JSON
    file: Path | None = None
    passing: bool = False


@dataclass
class Call:
    """One authenticated request; `path` holds the named groups of the route."""

    service: Service
    method: str
    url_path: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    session: Session | None = None
    upload: Path | None = None

    @property
    def org(self) -> LocalOrg:
        """The org that is called."""
        return self.service.org

    @property
    def version(self) -> str:
        """The API version of the path, such as `62.0`."""
        return self.path.get("v") or "59.0"

    @property
    def base(self) -> str:
        """`/services/data/v62.0`."""
        return f"/services/data/v{self.version}"

    def json(self) -> Any:
        """The body as JSON, numbers with a point as Decimal; the platform's parser error where it is none."""
        try:
            return json.loads(self.body, parse_float=Decimal, parse_constant=_no_number)
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ApiError(400, "JSON_PARSER_ERROR", _parser_message(error)) from error

    def json_object(self) -> dict[str, Any]:
        """The body as a JSON object."""
        found = self.json()
        if not isinstance(found, dict):
            message = "The HTTP entity body is required, but this request has no entity body."
            raise ApiError(400, "JSON_PARSER_ERROR", message)
        return found


def objects(given: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """The list of objects under a key of a body; the platform's parser error where it is anything else."""
    found = given.get(key)
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise ApiError(400, "JSON_PARSER_ERROR", f"The request needs a list of objects as {key}")
    return found


def attributes_of(record: Mapping[str, Any]) -> dict[str, str]:
    """The texts of a record's `attributes` (`type`, `referenceId`); what is no text is left out."""
    found = record.get("attributes")
    return {key: item for key, item in found.items() if isinstance(item, str)} if isinstance(found, dict) else {}


def _no_number(text: str) -> Any:
    raise json.JSONDecodeError(f"was expecting a value, not {text}", text, 0)


def _parser_message(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        text = error.doc[error.pos : error.pos + 1]
        if not text:
            return f"Unexpected end-of-input at [line:{error.lineno}, column:{error.colno}]"
        return (
            f"Unexpected character ('{text}' (code {ord(text)})): {error.msg} "
            f"at [line:{error.lineno}, column:{error.colno}]"
        )
    return "Invalid UTF-8 in the request body"


Handler = Callable[[Call], Reply]


@dataclass(frozen=True)
class Route:
    """A path pattern, the handler of each method, and whether a PUT body goes to a file instead of memory."""

    pattern: re.Pattern[str]
    handlers: Mapping[str, Handler]
    open: bool = False
    to_file: bool = False


def route(pattern: str, *, open: bool = False, to_file: bool = False, **handlers: Handler) -> Route:
    """A route under `/services/data/vNN.0` if the pattern starts with `~`; case does not matter in paths.

    >>> route("~/sobjects", GET=lambda call: Reply()).pattern.pattern
    '^/services/data/v(?P<v>\\\\d+\\\\.\\\\d)/sobjects/?$'
    """
    full = pattern.replace("~", r"/services/data/v(?P<v>\d+\.\d)", 1) if pattern.startswith("~") else pattern
    return Route(re.compile(f"^{full}/?$", re.IGNORECASE), handlers, open, to_file)


def dumps(value: Any, *, pretty: bool) -> bytes:
    """JSON as the platform prints it: compact, or two spaces with ` : ` and `[ ]` for empties."""
    if not pretty:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    text = json.dumps(value, indent=2, separators=(",", " : "), ensure_ascii=False)
    return re.sub(r"(?m)(^|: )\[\](,?)$", r"\1[ ]\2", re.sub(r"(?m)(^|: )\{\}(,?)$", r"\1{ }\2", text)).encode()
