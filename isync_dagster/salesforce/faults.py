"""From an answer that is not a success, or from no answer at all, to the branch of the error tree.

Three questions decide: did the call take effect (`refused` answers did not), may it be repeated, and whose
turn is it. Bodies come in five shapes (list, object, OAuth, Bulk 1, HTML); the errorCode decides, not the text.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import requests
from urllib3.exceptions import (
    ConnectTimeoutError,
    MaxRetryError,
    NewConnectionError,
    ProxyError,
)

from isync_dagster.errors import (
    ApiLimitError,
    AuthenticationError,
    IsyncError,
    OrgError,
    OrgsError,
    RequestError,
    TransientError,
    UnknownOutcome,
)
from isync_dagster.salesforce.outcome import Kind, classify

GATEWAY = frozenset({420, 429, 500, 502, 503, 504})

# These refuse the session for good: a new login gives the same answer again.
_NO_SESSION_HELPS = ("Connected app is not attached to Agent", "This session is not valid for use with the REST API")

_IN_DOUBT = "It is not known whether the call took effect: run the same again, that is found out first."


@dataclass(frozen=True)
class Fault:
    """What a refusal says: HTTP status, errorCode ('' where the body has none), message and fields."""

    status: int
    code: str
    message: str
    fields: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        code = self.code or f"HTTP {self.status}"
        fields = f" (fields: {', '.join(self.fields)})" if self.fields else ""
        return f"{code}: {self.message}{fields}"

    @property
    def session_expired(self) -> bool:
        """True where a new login may help."""
        if any(text in self.message for text in _NO_SESSION_HELPS):
            return False
        return self.status == 401 or self.code == "INVALID_SESSION_ID"

    @property
    def says_too_much(self) -> bool:
        """True where the org is asked for too much at the same time; a used-up allowance is another matter."""
        if self.code == "REQUEST_LIMIT_EXCEEDED":
            return "TotalRequests" not in self.message
        return self.status in (420, 429, 503) or self.code in ("SERVER_UNAVAILABLE", "TOO_MANY_JOBS")


class SessionExpired(Exception):
    """The access token used is not valid any more: a signal inside this package, never seen outside."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.text)
        self.fault = fault


def read_fault(status: int, body: bytes, content_type: str = "") -> Fault:
    """The fault that a body of any shape describes."""
    text = body.decode("utf-8", "replace").strip()
    try:
        answer: Any = json.loads(text) if text else None
    except ValueError:
        kind = "an HTML page" if "html" in content_type.lower() or text[:1] == "<" else "no JSON"
        return Fault(status, "", f"{kind} came back: {' '.join(text.split())[:200]}")
    if isinstance(answer, list):
        if not answer or not isinstance(answer[0], dict):
            return Fault(status, "", f"{json.dumps(answer)[:200]}")
        first = answer[0]
        others = [item for item in answer[1:] if isinstance(item, dict)]
        message = "; ".join(str(item.get("message", "")) for item in (first, *others))
        return Fault(status, str(first.get("errorCode") or first.get("statusCode") or ""), message, _fields(first))
    if isinstance(answer, dict):
        code = answer.get("errorCode") or answer.get("exceptionCode") or answer.get("error") or ""
        message = answer.get("message") or answer.get("exceptionMessage") or answer.get("error_description") or ""
        return Fault(status, str(code), str(message), _fields(answer))
    return Fault(status, "", "the answer has no text" if answer is None else str(answer)[:200])


def _fields(item: dict[str, Any]) -> tuple[str, ...]:
    found = item.get("fields")
    return tuple(str(name) for name in found) if isinstance(found, list) else ()


def refusal(fault: Fault, *, where: str, repeatable: bool, allowance: tuple[int, int] | None = None) -> OrgError:
    """The error for a refusal; TransientError only where the call did not take effect or may be repeated.

    `allowance` is the (used, max) of the Sforce-Limit-Info header, which tells a used-up allowance from a
    crowd of calls where the message is in another language.
    """
    detail = {"code": fault.code, "status": fault.status, "fields": fault.fields, "where": where}
    message = f"{where}: {fault.text}"
    if fault.code == "REQUEST_LIMIT_EXCEEDED":
        used_up = "TotalRequests" in fault.message or (
            "Concurrent" not in fault.message and (allowance is None or allowance[0] >= allowance[1])
        )
        if used_up:
            return ApiLimitError(f"{message}. Resume when the org's 24-hour allowance recovers", **detail)
        return TransientError(f"{message}. Fewer calls at a time help (concurrency in orgs.yaml)", **detail)
    if fault.status == 401:
        return AuthenticationError(f"{message}. Check the org's entry in orgs.yaml and the user's rights", **detail)
    if fault.status in (404, 410) and fault.code in ("", "GONE", "UNSUPPORTED_API_VERSION"):
        return RequestError(f"{message}. Is the API version or the instance URL wrong?", **detail)
    # A body with one of these codes says that Salesforce turned the call away before doing anything.
    if fault.code == "SERVER_UNAVAILABLE" or fault.status in (420, 429):
        return TransientError(message, **detail)
    if fault.status in GATEWAY:
        if repeatable:
            return TransientError(message, **detail)
        return UnknownOutcome(f"{message.rstrip('. ')}. {_IN_DOUBT}", **detail)
    if repeatable and classify(fault.code).kind is Kind.TRANSIENT:
        return TransientError(message, **detail)
    advice = classify(fault.code)
    hint = f". {advice.text}" if fault.code and advice.kind is not Kind.UNKNOWN else ""
    return RequestError((message.rstrip(". ") if hint else message) + hint, **detail)


def no_answer(error: requests.RequestException, *, where: str, repeatable: bool) -> IsyncError:
    """The error for a call that got no (whole) answer; UnknownOutcome unless nothing was sent or it is repeatable."""
    reason = _reason(error)
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        return OrgsError(
            f"{where}: the certificate of the server is not trusted; set ca_file in orgs.yaml if it is your own"
        )
    if repeatable or not was_sent(error):
        return TransientError(f"{where}: {reason}", where=where, code="")
    return UnknownOutcome(
        f"{where}: the call went out and no answer came ({reason}). {_IN_DOUBT}",
        where=where,
    )


def was_sent(error: requests.RequestException) -> bool:
    """False where it is certain that no byte of the request reached Salesforce."""
    if isinstance(error, requests.ConnectTimeout | requests.exceptions.InvalidURL | requests.exceptions.ProxyError):
        return False
    cause = error.args[0] if error.args else None
    if isinstance(cause, MaxRetryError):
        cause = cause.reason
    if isinstance(error, requests.exceptions.SSLError):
        # only a refused certificate is sure to be the handshake: a cut connection shows as SSLError too
        return "CERTIFICATE_VERIFY_FAILED" not in str(cause)
    return not isinstance(cause, NewConnectionError | ConnectTimeoutError | ProxyError)


def _reason(error: requests.RequestException) -> str:
    cause: Any = error.args[0] if error.args else error
    if isinstance(cause, MaxRetryError):
        cause = cause.reason
    text = " ".join(str(cause).split())
    return text.rsplit("object at 0x", 1)[-1].split(">: ", 1)[-1][:200] or type(error).__name__
